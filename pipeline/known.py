"""What committed runs of a dataset know, for a run that goes on from there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from pipeline.layout import REMOVED_KINDS, RunNotFoundError
from pipeline.rows import Run, check_whole, current_runs
from transforms.index import INDEX_KIND
from transforms.known_index import KnownFile

_LOG = logging.getLogger(__name__)
_KINDS = (INDEX_KIND, REMOVED_KINDS[True])


def earlier_runs(dataset: str, run_id: str, record: dict[str, Any]) -> list[Run]:
    """The runs that a new one can go on from, the latest first.

    Args:
      dataset: The directory of runs.
      run_id: The new run, which may be among them.
      record: Its `model` and `preprocessing`, as run.json will have them.
    """
    try:
        runs = current_runs(dataset)
    except RunNotFoundError:
        return []
    made_by = Run(dataset, record).made_by
    return [run for run in runs if run.record["run_id"] != run_id and run.made_by == made_by]


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
                run.record["run_id"],
            )
        files += [
            KnownFile(FileSystems.join(run.directory, entry["name"]), kind, age, entry["rows"])
            for kind in _KINDS
            for entry in run.files(kind)
            if entry["rows"]
        ]
    return tuple(files)
