"""What committed runs of a dataset know, for a run that goes on from there."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.dataset.layout import REMOVED_KINDS, RunNotFoundError
from image_features.pipeline.dataset.records import Run, check_whole, committed_runs, unreplaced
from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.shards.known_index import KnownFile

_LOG = logging.getLogger(__name__)
_KINDS = (INDEX_KIND, REMOVED_KINDS[True])


def all_runs(dataset: str) -> list[Run]:
    """The committed runs of a dataset, none if it is new.

    Raises:
      ValueError: one cannot be read.
    """
    try:
        return committed_runs(dataset)
    except RunNotFoundError:
        return []


def merged_into(runs: Sequence[Run], new: Run) -> Run | None:
    """The run that one of a new one's name was merged into, if any was.

    Raises:
      ValueError: that was of another model or preprocessing.
    """
    for run in runs:
        if new.run_id in run.replaces:
            if run.made_by != new.made_by:
                raise ValueError(
                    f"the run {new.run_id} was merged into {run.directory}, with another model or "
                    "preprocessing; choose another --run_id"
                )
            return run
    return None


def going_on(runs: Sequence[Run], new: Run) -> list[Run]:
    """Those of a dataset's runs that a new one can go on from, the latest first.

    Args:
      runs: All of them.
      new: The new run, which may be among them: its `run_id`, `model`, `preprocessing` and
        `columns`, as run.json will have them.

    Raises:
      ValueError: rows of the new run would have a column of another type than theirs.
    """
    found = [
        run for run in unreplaced(runs) if run.run_id != new.run_id and run.made_by == new.made_by
    ]
    columns = {column.name: column for column in new.columns}
    for run in found:
        for column in run.columns:
            # The latest run that has it tells: no type fits two that differ.
            ours = columns.pop(column.name, column)
            if not ours.holds_as(column):
                raise ValueError(
                    f"the column {column.name!r} holds {column} in {run.directory} and {ours} in "
                    f"the input; say --column_types={column.name}:{column}"
                )
    return found


def removed_before(runs: Sequence[Run]) -> int:
    """How many of the rows of runs, the latest first, the last input did not name already."""
    if not runs or runs[0].files(REMOVED_KINDS[True]):
        return 0  # They are no rows any more.
    if runs[0].replaces or runs[0].files(REMOVED_KINDS[False]):
        return int(runs[0].record["counts"]["rows_removed"])
    # Of rows that were tried again, which says nothing of others; or of a whole input.
    return int(runs[0].record["guards"].get("removed_before", 0))


def known_files(runs: Sequence[Run]) -> tuple[KnownFile, ...]:
    """The indexes and tombstones of runs, the latest first.

    Raises:
      ValueError: one of them is not there.
    """
    check_whole(runs, _KINDS)
    files = []
    for age, run in enumerate(runs):
        if run.rows and not run.files(INDEX_KIND):
            _LOG.warning(
                "The run %s has no index, as of an earlier version: its images are new.",
                run.run_id,
            )
        files += [
            KnownFile(FileSystems.join(run.directory, entry["name"]), kind, age, entry["rows"])
            for kind in _KINDS
            for entry in run.files(kind)
            if entry["rows"]
        ]
    return tuple(files)
