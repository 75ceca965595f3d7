"""What committed runs of a dataset know, for a run that goes on from there."""

from __future__ import annotations

import logging
from typing import Any

from apache_beam.io.filesystems import FileSystems

from pipeline.layout import REMOVED_KINDS, RunNotFoundError
from pipeline.rows import Run, current_runs
from transforms.index import INDEX_KIND
from transforms.known import KnownFile

_LOG = logging.getLogger(__name__)
_KINDS = (INDEX_KIND, REMOVED_KINDS[True])


def known_files(dataset: str, run_id: str, record: dict[str, Any]) -> tuple[KnownFile, ...]:
    """The indexes and tombstones of the runs that a new one can go on from.

    Args:
      dataset: The directory of runs.
      run_id: The new run, which may be among them.
      record: Its `model` and `preprocessing`, as run.json will have them.
    """
    try:
        runs = current_runs(dataset)
    except RunNotFoundError:
        return ()
    like = Run(dataset, record)
    files = []
    for age, run in enumerate(run for run in runs if run.record["run_id"] != run_id):
        if run.made_by != like.made_by:
            continue
        entries = [entry for kind in _KINDS for entry in run.files(kind)]
        if run.rows and not run.files(INDEX_KIND):
            _LOG.warning(
                "The run %s has no index, as of an earlier version: its images are new.",
                run.record["run_id"],
            )
        files += [
            KnownFile(
                FileSystems.join(run.directory, entry["name"]), entry["kind"], age, entry["rows"]
            )
            for entry in entries
            if entry["rows"]
        ]
    return tuple(files)
