"""The committed runs of a dataset that an incremental run goes on from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.errors import RunNotFoundError
from image_features.pipeline.dataset.file_list import FileList
from image_features.pipeline.dataset.layout import REMOVED, TOMBSTONES
from image_features.pipeline.dataset.lost_files import check_whole
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dataset.run import Run, committed_runs, unreplaced
from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.shards.known_files import KnownFiles

_LOG = logging.getLogger(__name__)
_KINDS = (INDEX_KIND, TOMBSTONES)


def all_runs(dataset: str) -> list[Run]:
    """Returns the committed runs of a dataset, the latest first; none if the dataset is new.

    Raises:
      ValueError: a run cannot be read.
    """
    try:
        return committed_runs(dataset)
    except RunNotFoundError:
        return []


def merged_into(runs: Sequence[Run], run_id: str, provenance: Provenance) -> Run | None:
    """Finds the run that an earlier one with a new run's name was merged into.

    Args:
      runs: Every run of the dataset.
      run_id: The name of the new run.
      provenance: The sources of the new run's features.

    Raises:
      ValueError: the merged run is of another model or preprocessing.
    """
    for run in runs:
        if run_id in run.replaces:
            if not run.provenance.is_comparable(provenance):
                raise ValueError(
                    f"the run {run_id} was merged into {run.directory}, with another model or "
                    "preprocessing; choose another --run_id"
                )
            return run
    return None


def current_beside(runs: Sequence[Run], run_id: str) -> list[Run]:
    """Returns those of a dataset's runs that are current beside a new one, the latest first.

    Args:
      runs: Every run of the dataset.
      run_id: The name of the new run, which may be among them.
    """
    return [run for run in unreplaced(runs) if run.run_id != run_id]


def removed_before(runs: Sequence[Run]) -> int:
    """Returns how many rows of the runs, the latest first, the last input did not name already."""
    if not runs or runs[0].files(TOMBSTONES):
        return 0  # These rows are hidden by tombstones.
    if runs[0].replaces or runs[0].files(REMOVED):
        return runs[0].counts.rows_removed
    # A retry or a full run lists no removals, so the number that its guards recorded is used again.
    return runs[0].removed_before


def known_files(runs: Sequence[Run]) -> KnownFiles:
    """Returns the indexes and tombstones of runs, the latest first.

    Raises:
      ValueError: a run has lost one of these files.
    """
    check_whole(runs, _KINDS)
    files = []
    for age, run in enumerate(runs):
        if run.rows and not run.files(INDEX_KIND):
            _LOG.warning(
                "The run %s has no index, as of an earlier version: its images are new.",
                run.run_id,
            )
        files += [files_of(run, age, kind) for kind in _KINDS]
    return KnownFiles.joined(files)


def files_of(run: Run, age: int, kind: str) -> KnownFiles:
    """Returns those of a run's files of a kind that have rows; of an index also its shard."""
    import pyarrow.compute as pc

    def paths(listed: FileList) -> Any:
        beginning = FileSystems.join(run.directory, "x")[:-1]
        return pc.binary_join_element_wise(beginning, listed.table["name"], "")

    listed, shards = run.files(kind), run.files()
    columns = {name: listed.table[name] for name in ("rows", "sha256")}
    columns |= {"path": paths(listed), "kind": kind, "age": age}
    if kind == INDEX_KIND and len(listed) == len(shards):
        columns |= {"shard": paths(shards), "compressed": run.compressed}
    table = KnownFiles.of_columns(columns).table
    return KnownFiles.of_table(table.filter(pc.greater(table["rows"], 0)))
