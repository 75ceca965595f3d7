"""Values of a run that tests commit by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from image_features.models.identity import ModelIdentity
from image_features.pipeline.commit import commit_run
from image_features.pipeline.commit.counts import RowTally
from image_features.pipeline.config import RunConfig, utc_now
from image_features.pipeline.dataset.layout import RunLayout
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dataset.run import read_record
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.measure_features import FeatureStatistics, Health
from image_features.transforms.shards.shard_file import ShardFile

# There are seven rows in, or eight with a duplicate.
FEATURES = ShardFile("features", "features-00000-of-00001.tfrecord", 5, 100, "aa")
INDEX = ShardFile("index", "index-00000-of-00001.parquet", 5, 10, "cc")
ERRORS = ShardFile("errors", "errors-00000-of-00001.jsonl", 2, 10, "bb", {"not_found": 2})


def config(directory: str) -> RunConfig:
    """Returns the configuration of a run of one shard of each kind."""
    return RunConfig(
        RunLayout(directory),
        utc_now(),
        ShardPolicy(num_shards=1),
        Provenance(
            (), (), {"": ModelIdentity("m", "h", (2, 2), 3)}, DecodePolicy((2, 2)), 50 * 2**20
        ),
    )


def made_otherwise(run: RunConfig, **changes: Any) -> RunConfig:
    """Returns the configuration with other fields of its model's identity or decode policy."""
    made = run.provenance
    fields = {field.name for field in dataclasses.fields(ModelIdentity)}
    model = {name: value for name, value in changes.items() if name in fields}
    decode = {name: value for name, value in changes.items() if name not in fields}
    made = dataclasses.replace(
        made,
        models={name: dataclasses.replace(of, **model) for name, of in made.models.items()},
        decode=dataclasses.replace(made.decode, **decode),
    )
    return dataclasses.replace(run, provenance=made)


def commit(
    run: RunConfig,
    shards: list[ShardFile],
    rows_read: int,
    duplicates: int = 0,
    health: FeatureStatistics | Health | None = None,
) -> dict[str, Any]:
    """Commits a run of one feature shard; a Health is of several models."""
    tally = RowTally(rows_read, 1, duplicates)
    if not isinstance(health, dict):
        health = {"": health or FeatureStatistics.empty(3)}
    return commit_run.commit(run, shards, tally, health)


def health(
    seed: int, rows: int = 2000, shift: float = 0.0, scale: float = 1.0
) -> FeatureStatistics:
    """Returns statistics of normal vectors of three dimensions, moved and stretched."""
    vectors = 5 + np.random.default_rng(seed).normal(shift, scale, (rows, 3))
    return FeatureStatistics.of(vectors.astype(np.float32))


def shard_files(directory: str) -> set[tuple[str, str]]:
    """Returns the checksum of each shard of a committed run, to compare the bytes of runs."""
    run = read_record(directory)
    assert run is not None
    shards = [file for file in run["files"] if file["kind"] in ("features", "errors")]
    return {(shard["name"], shard["sha256"]) for shard in shards}
