"""CommitExport, the check that makes exported rows a whole, and the file that says so."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from image_features.errors import CommitError, ImageFeaturesError
from image_features.pipeline.commit.descriptions import versions
from image_features.pipeline.commit.publish import complete, opening, publish
from image_features.pipeline.commit.tidy_up import remove_leftovers, remove_strays
from image_features.pipeline.config import ExportConfig
from image_features.pipeline.dataset.counts import RunCounts
from image_features.transforms.exports.target import REMOVED_KEYS, TABLE, VECTORS, Target
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import remove_tree

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ExportTally:
    """PCollections of one int each, the counts that the graph made beside what it wrote.

    Attributes:
      chosen: The number of rows that were to be written.
      replaced: The number of rows that were left.
      removed: The number of keys whose rows are gone.
      current: The number of rows that the dataset has.
      added: The number of rows to be written that the target had no row of the same key for.
    """

    chosen: Any
    replaced: Any
    removed: Any
    current: Any
    added: Any


class CommitExport(beam.PTransform):
    """Checks that no row was lost or invented, then has the target finish and writes .export.json.

    Args:
      run: The export to commit.
      target: Where its rows went.
      rows: The number of rows in all runs.
      rows_before: The number of rows that the target has.
      tally: What the graph has counted.
    """

    def __init__(
        self,
        *,
        run: ExportConfig,
        target: Target,
        rows: int,
        rows_before: int,
        tally: ExportTally,
    ) -> None:
        super().__init__()
        self._run = run
        self._target = target
        self._rows = rows
        self._rows_before = rows_before
        self._tally = tally

    def expand(self, written: Any) -> Any:
        tally = {
            field.name: AsSingleton(getattr(self._tally, field.name))
            for field in dataclasses.fields(self._tally)
        }
        return (
            written
            | "GatherWritten" >> beam.combiners.ToList()
            | "WriteExportFile"
            >> beam.Map(
                commit_export,
                run=self._run,
                target=self._target,
                rows=self._rows,
                rows_before=self._rows_before,
                **tally,
            )
            | "RemoveStaging" >> beam.Map(_tidy_up, self._run)
        )


def commit_export(
    written: Sequence[ShardFile],
    *,
    run: ExportConfig,
    target: Target,
    rows: int,
    rows_before: int,
    chosen: int,
    replaced: int,
    removed: int,
    current: int,
    added: int,
) -> dict[str, Any]:
    """Checks what was written, and commits it.

    Args:
      written: What the target has taken.
      run: The export.
      target: Where its rows went.
      rows: The number of rows in all runs.
      rows_before: The number of rows that the target has.
      chosen: The number of rows that were to be written.
      replaced: The number of rows that were left.
      removed: The number of keys whose rows are gone.
      current: The number of rows that the dataset has.
      added: The number of rows to be written that the target had no row of the same key for.

    Returns:
      The content of .export.json, which is an earlier attempt's if one got that far.

    Raises:
      CommitError: rows do not add up, or the target is not as it should be.
    """
    files = sorted(written, key=lambda file: (file.kind != VECTORS, file.name))
    taken = sum(file.rows for file in files if file.kind == VECTORS)
    gone = sum(file.rows for file in files if file.kind == REMOVED_KEYS)
    if (chosen + replaced, taken, gone) != (rows, chosen, removed):
        raise CommitError(
            f"Of {rows} rows {chosen} were to be exported and {replaced} not, {taken} were "
            f"written; of {removed} keys to remove {gone} were. That does not add up; the export "
            "is not committed."
        )
    if rows_before + added - removed != current:
        raise CommitError(
            f"The target has {rows_before} rows; with {added} new ones and without {removed} it "
            f"would not have the dataset's {current}. Runs have come in another order than they "
            "were exported in: export without --since=last. The export is not committed."
        )
    counts = RunCounts(rows, replaced, chosen, chosen, 0, rows_removed=removed)
    record = {
        **opening(run, counts),
        "guards": {},
        **run.recipe,
        "rows": current,
        "versions": versions(),
        "files": None,
    }
    listed = [file for file in files if file.name and not file.name.startswith(TABLE)]
    try:
        if run.store is None:
            remove_strays(run.layout, files)
            target.finish(files, record)
            return publish(run, record, listed)
        record["files"] = [file.to_json() for file in listed]
        return _publish_in_store(run, record, target, files)
    except ImageFeaturesError:
        raise
    except ValueError as error:
        raise CommitError(f"The export is not committed: {error}") from error


def _publish_in_store(
    run: ExportConfig, record: dict[str, Any], target: Target, files: Sequence[ShardFile]
) -> dict[str, Any]:
    """Commits an export to a database, which keeps the record; a bundle may do so again."""
    committed = run.committed()
    if committed is None:
        complete(record, run, RunCounts.from_json(record["counts"]), {})
        target.finish(files, record)
        committed = run.committed()
    if committed is None:
        raise CommitError(f"{record['target']} does not tell of the export that it has taken.")
    return dict(committed.record)


def _tidy_up(record: dict[str, Any], run: ExportConfig) -> dict[str, Any]:
    """Removes what attempts have left; of an export to a database nothing stays in the dataset."""
    if run.store is None:
        return remove_leftovers(record, run.layout)
    try:
        remove_tree(run.layout.directory)
        if "://" not in run.layout.dataset:
            with contextlib.suppress(OSError):  # Exports to other databases may be on their way.
                os.rmdir(run.layout.dataset)
    except Exception as error:  # The export is committed, and tidiness must not undo that.
        _LOG.warning("Could not tidy up %s: %s", run.layout.directory, error)
    return record
