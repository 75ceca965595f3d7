"""Values of a run that tests commit by hand."""

from __future__ import annotations

import numpy as np

from image_features.models.engines import PreparedModel
from image_features.models.identity import ModelIdentity
from image_features.pipeline.config import ExtractConfig, utc_now
from image_features.pipeline.dataset.layout import RunLayout, read_run
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.pixels import DecodePolicy
from image_features.transforms.measure_features import FeatureStatistics
from image_features.transforms.read_manifest import ManifestSpec
from image_features.transforms.shards.write_shards import ShardFile

# Seven rows in, or eight with a duplicate.
FEATURES = ShardFile("features", "features-00000-of-00001.tfrecord", 5, 100, "aa")
INDEX = ShardFile("index", "index-00000-of-00001.parquet", 5, 10, "cc")
ERRORS = ShardFile("errors", "errors-00000-of-00001.jsonl", 2, 10, "bb", {"not_found": 2})


def config(directory: str) -> ExtractConfig:
    """The configuration of a run of one shard of each kind."""
    return ExtractConfig(
        ManifestSpec(()),
        RunLayout(directory),
        "run",
        PreparedModel(ModelIdentity("m", "h", (2, 2), 3)),
        FetchPolicy(),
        DecodePolicy((2, 2)),
        ShardPolicy(num_shards=1),
        False,
        None,
        utc_now(),
    )


def health(
    seed: int, rows: int = 2000, shift: float = 0.0, scale: float = 1.0
) -> FeatureStatistics:
    """Statistics of normal vectors of three dimensions, moved and stretched."""
    vectors = 5 + np.random.default_rng(seed).normal(shift, scale, (rows, 3))
    return FeatureStatistics.of(vectors.astype(np.float32))


def shard_files(directory: str) -> set[tuple[str, str]]:
    """Name and checksum of each shard of a committed run: what must be equal, byte for byte."""
    run = read_run(directory)
    assert run is not None
    shards = [file for file in run["files"] if file["kind"] in ("features", "errors")]
    return {(shard["name"], shard["sha256"]) for shard in shards}
