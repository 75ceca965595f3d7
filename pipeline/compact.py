"""The merging of a dataset's runs into one, in which the latest row of each image wins."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from image_features.pipeline.commit.commit_merge import CommitMerge, Lineage
from image_features.pipeline.config import Guards, RunConfig
from image_features.pipeline.dataset.known_runs import files_of, known_files, removed_before
from image_features.pipeline.dataset.layout import RunLayout
from image_features.pipeline.dataset.lost_files import check_whole
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import merged_columns
from image_features.transforms.assign_shards import ShardPolicy, error_shards
from image_features.transforms.merge_rows import Merge, MergeRows
from image_features.transforms.shards.known_files import KnownFiles
from image_features.transforms.shards.write_shards import WriteShards

# A shard may hold up to this many times the rows that were asked for, so that the shards of the
# largest run need not be divided.
_LARGER = 2


@dataclasses.dataclass(frozen=True)
class Compaction:
    """A run that merges earlier ones.

    Attributes:
      run: The configuration that every kind of run has.
      merge: The files of the runs that are merged.
      lineage: The runs that are merged.
    """

    run: RunConfig
    merge: Merge
    lineage: Lineage

    def build(self, pipeline: beam.Pipeline) -> Any:
        """Adds the merging to a pipeline; returns the PCollection of its one commit."""
        layout = self.run.layout
        num_shards = self.run.shards.feature_shards(0)
        merged = pipeline | "MergeRows" >> MergeRows(
            merge=self.merge.kept_in(layout.staging),
            num_shards=num_shards,
            error_shards=error_shards(num_shards),
            vectors=self.run.provenance.vectors,
        )
        feature_shards = merged.features | "WriteFeatureShards" >> WriteShards(
            naming=layout.features, num_shards=num_shards
        )
        errors_shards = merged.errors | "WriteErrors" >> WriteShards(
            naming=layout.errors, num_shards=error_shards(num_shards)
        )
        return (
            (feature_shards, errors_shards)
            | "CollectShards" >> beam.Flatten()
            | "CommitMerge"
            >> CommitMerge(
                run=self.run,
                lineage=self.lineage,
                chosen=merged.chosen,
                replaced=merged.replaced,
                health=merged.health,
            )
        )


def compaction_of(
    runs: Sequence[Run], layout: RunLayout, num_shards: int, started: str
) -> Compaction:
    """Plans the merging of runs, as if the latest of them had extracted every row.

    Args:
      runs: The runs to merge, the latest first; each has an index, and readers see them together.
      layout: The paths of the new run.
      num_shards: The number of its feature shards.
      started: The time of the launch, ISO 8601, UTC.

    Raises:
      ValueError: a run has lost a file.
    """
    check_whole(runs, ("features", "errors"))
    inputs = dict.fromkeys(location for run in runs for location in run.provenance.inputs)
    latest = runs[0].provenance
    return Compaction(
        run=RunConfig(
            layout=layout,
            started=started,
            shards=ShardPolicy(num_shards),
            provenance=Provenance(
                tuple(inputs),
                tuple(merged_columns(runs)),
                latest.models,
                latest.decode,
                latest.max_fetch_bytes,
            ),
            # The rows that failed were judged when they were extracted.
            guards=Guards(max_error_rate=1.0),
        ),
        merge=merge_of(runs),
        lineage=_lineage_of(runs),
    )


def merge_of(runs: Sequence[Run]) -> Merge:
    """Returns the files of runs, the latest first, as merging takes them."""
    errors = [files_of(run, age, "errors") for age, run in enumerate(runs)]
    return Merge(known_files(runs), KnownFiles.joined(errors))


def _lineage_of(runs: Sequence[Run]) -> Lineage:
    replaces: dict[str, str] = {}
    for run in runs:
        replaces |= run.replaces
    return Lineage(
        run_ids=tuple(run.run_id for run in runs),
        replaces=replaces | {run.run_id: run.finished for run in runs},
        as_of=max(run.as_of for run in runs),
        rows=sum(run.rows for run in runs),
        removed=removed_before(runs),
    )


def fingerprint_of(runs: Sequence[Run], num_shards: int, compression: str) -> str:
    """Returns a hash of what is merged and how, 16 hexadecimal digits."""
    made = [[run.run_id, run.fingerprint, run.as_of] for run in runs]
    text = json.dumps(["compact", made, num_shards, compression])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shards_of(runs: Sequence[Run], rows_per_shard: int) -> int:
    """Returns a number of shards with which the largest run's shards need not be mixed.

    That is the number of the largest run's shards, doubled as often as it takes: each of its
    shards is then divided among few.
    """
    rows = sum(run.rows for run in runs)
    count = max(1, len(max(runs, key=lambda run: run.rows).files()))
    while rows > _LARGER * rows_per_shard * count:
        count *= 2
    return count
