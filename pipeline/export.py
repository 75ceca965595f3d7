"""The export of a dataset: its rows, each image's latest once, become what other programs read."""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam

from image_features.pipeline.commit.commit_export import CommitExport, ExportTally
from image_features.pipeline.config import ExportConfig
from image_features.transforms.exports.target import Target
from image_features.transforms.merge_rows import Merge, MergeRows
from image_features.transforms.runtime.progress import write_total


@dataclasses.dataclass(frozen=True)
class Exporting:
    """A job that exports a dataset, or what has changed in it.

    Attributes:
      run: The configuration.
      merge: The files of the runs.
      target: Where the rows go.
      rows: The number of rows in all runs.
      rows_before: The number of rows that the target has, where only changes are exported.
      num_shards: The number of shards that rows are gathered in.
    """

    run: ExportConfig
    merge: Merge
    target: Target
    rows: int
    rows_before: int
    num_shards: int

    def build(self, pipeline: beam.Pipeline) -> Any:
        """Adds the export to a pipeline; returns the PCollection of its one commit."""
        merged = pipeline | "ReadRows" >> MergeRows(
            merge=self.merge.kept_in(self.run.layout.staging),
            num_shards=self.num_shards,
            error_shards=self.num_shards,
            vectors=(),
        )
        tally = ExportTally(
            chosen=merged.chosen | "TellTotal" >> beam.Map(_tell_total, self.run.layout.staging),
            replaced=merged.replaced,
            removed=merged.removed | "CountRemoved" >> beam.combiners.Count.Globally(),
            current=merged.current,
            added=merged.added,
        )
        return self.target.write(merged) | "CommitExport" >> CommitExport(
            run=self.run,
            target=self.target,
            rows=self.rows,
            rows_before=self.rows_before,
            tally=tally,
        )


def _tell_total(rows: int, staging: str) -> int:
    write_total(staging, rows)
    return rows
