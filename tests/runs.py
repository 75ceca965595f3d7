"""Values of a run that tests commit by hand."""

from __future__ import annotations

from models.engines import PreparedModel
from pipeline.config import ExtractConfig
from pipeline.layout import RunLayout
from transforms.fetch import FetchPolicy
from transforms.manifest import ManifestSpec
from transforms.pixels import DecodePolicy
from transforms.shard_files import ShardFile
from transforms.shards import ShardPolicy

# Seven rows in, or eight with a duplicate.
FEATURES = ShardFile("features", "features-00000-of-00001.tfrecord", 5, 100, "aa")
ERRORS = ShardFile("errors", "errors-00000-of-00001.jsonl", 2, 10, "bb", {"not_found": 2})


def config(directory: str) -> ExtractConfig:
    """The configuration of a run of one shard of each kind."""
    return ExtractConfig(
        ManifestSpec(()),
        RunLayout(directory),
        "run",
        PreparedModel("m", "h", (2, 2), 3),
        FetchPolicy(),
        DecodePolicy((2, 2)),
        ShardPolicy(num_shards=1),
        False,
        None,
        "now",
    )
