"""The merging of a dataset's runs into one, in which the last of them wins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from image_features.models.engines import PreparedModel
from image_features.models.identity import ModelIdentity
from image_features.pipeline.commit.commit_run import CommitMerge
from image_features.pipeline.config import ExtractConfig, Merging
from image_features.pipeline.dataset.known_runs import known_files, removed_before
from image_features.pipeline.dataset.layout import RunLayout, as_of
from image_features.pipeline.dataset.records import Run, check_whole, merged_columns
from image_features.transforms.assign_shards import ShardPolicy, error_shards
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.merge_rows import Merge, MergedShard, MergeRows
from image_features.transforms.read_manifest import ManifestSpec, Source
from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.shards.known_index import KnownFile
from image_features.transforms.shards.write_shards import WriteShards

# A shard may be so many times as large as asked for, so that the largest run's need not be divided.
_LARGER = 2


def build(pipeline: beam.Pipeline, config: ExtractConfig) -> Any:
    """Adds the merging to a pipeline; returns the PCollection of its one commit."""
    assert config.merging is not None
    num_shards = config.shards.feature_shards(0)
    errors = error_shards(num_shards)
    merged = pipeline | "MergeRows" >> MergeRows(
        merge=config.merging.merge,
        num_shards=num_shards,
        error_shards=errors,
        num_features=config.model.num_features,
    )
    feature_shards = merged.features | "WriteFeatureShards" >> WriteShards(
        naming=config.layout.features, num_shards=num_shards
    )
    errors_shards = merged.errors | "WriteErrors" >> WriteShards(
        naming=config.layout.errors, num_shards=errors
    )
    return (
        (feature_shards, errors_shards)
        | "CollectShards" >> beam.Flatten()
        | "CommitMerge"
        >> CommitMerge(
            config=config, chosen=merged.chosen, replaced=merged.replaced, health=merged.health
        )
    )


def merging_of(runs: Sequence[Run]) -> Merging:
    """All that there is to merge.

    Args:
      runs: The latest first; each has an index, and their vectors can be compared.

    Raises:
      ValueError: a file of theirs is not there.
    """
    check_whole(runs, ("features", "errors"))
    shards, errors = {}, []
    replaces: dict[str, str] = {}
    for run in runs:
        replaces |= run.replaces
    replaces |= {run.run_id: str(run.record["finished"]) for run in runs}
    for age, run in enumerate(runs):
        compressed = run.record["compression"] == "gzip"
        for entry, index in zip(run.files(), run.files(INDEX_KIND), strict=True):
            path = FileSystems.join(run.directory, entry["name"])
            shards[FileSystems.join(run.directory, index["name"])] = MergedShard(path, compressed)
        errors += [
            KnownFile(FileSystems.join(run.directory, entry["name"]), "errors", age, entry["rows"])
            for entry in run.files("errors")
            if entry["rows"]
        ]
    return Merging(
        merge=Merge(known_files(runs), tuple(errors), shards),
        run_ids=tuple(run.run_id for run in runs),
        replaces=replaces,
        as_of=max(as_of(run.record) for run in runs),
        rows=sum(run.rows for run in runs),
        removed=removed_before(runs),
    )


def fingerprint_of(runs: Sequence[Run], num_shards: int, compression: str) -> str:
    """16 hexadecimal digits, of what is merged and how."""
    made = [[run.run_id, run.record.get("fingerprint"), as_of(run.record)] for run in runs]
    text = json.dumps(["compact", made, num_shards, compression])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shards_of(runs: Sequence[Run], rows_per_shard: int) -> int:
    """How many shards to write, such that the largest run's shards need not be mixed.

    That is its own number, doubled as often as it takes: a shard is then divided among few.
    """
    rows = sum(run.rows for run in runs)
    count = max(1, len(max(runs, key=lambda run: run.rows).files()))
    while rows > _LARGER * rows_per_shard * count:
        count *= 2
    return count


def config_of(
    runs: Sequence[Run], layout: RunLayout, run_id: str, num_shards: int, started: str
) -> ExtractConfig:
    """The configuration of the merging, as if the latest run had extracted all.

    Raises:
      ValueError: runs hold a column with different types, or a file of theirs is not there.
    """
    record = runs[0].record
    inputs = dict.fromkeys(location for run in runs for location in run.record["input"])
    return ExtractConfig(
        manifest=ManifestSpec(
            tuple(Source(location, None) for location in inputs), tuple(merged_columns(runs))
        ),
        layout=layout,
        run_id=run_id,
        model=PreparedModel(ModelIdentity.from_json(record["model"])),
        fetch=FetchPolicy(max_bytes=record["preprocessing"]["max_fetch_bytes"]),
        decode=runs[0].decode_policy,
        shards=ShardPolicy(num_shards),
        keep_secrets=False,
        cpu_threads=None,
        started=started,
        merging=merging_of(runs),
    )
