"""The sum that every commit checks: rows in = rows out + rows failed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from image_features.errors import CommitError
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.layout import REMOVED, TOMBSTONES
from image_features.transforms.assign_shards import error_shards
from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.shards.shard_file import ShardFile


@dataclasses.dataclass(frozen=True)
class RowTally:
    """The counts that the graph made beside the shards.

    Attributes:
      rows_read: The rows of the manifests.
      num_shards: The number of feature shards that were planned.
      duplicates: The rows read that name an image again.
      unchanged: The rows read that the dataset has already.
    """

    rows_read: int
    num_shards: int
    duplicates: int = 0
    unchanged: int = 0


def add_up(files: Sequence[ShardFile], tally: RowTally, kind: str = "features") -> RunCounts:
    """Checks that no row was lost or invented, and no shard.

    Args:
      files: Every shard and index that was written.
      tally: The counts that the graph made on the way.
      kind: The kind of shards that hold the rows; those of features have indexes.

    Raises:
      CommitError: rows read differ from rows written plus failed, unchanged and duplicates, or a
        shard is missing.
    """
    features = [shard for shard in files if shard.kind == kind]
    errors = [shard for shard in files if shard.kind == "errors"]
    indexes = [shard for shard in files if shard.kind == INDEX_KIND]
    expected = tally.num_shards
    if len(features) != expected or len(errors) != error_shards(expected):
        raise CommitError(
            f"The run has {len(features)} {kind.removesuffix('s')} and {len(errors)} errors shards "
            f"where {expected} and {error_shards(expected)} were planned; it is not committed."
        )
    rows_out = sum(shard.rows for shard in features)
    rows_failed = sum(shard.rows for shard in errors)
    if tally.rows_read != tally.duplicates + tally.unchanged + rows_out + rows_failed:
        raise CommitError(
            f"Of {tally.rows_read} rows read, {rows_out} were written, {rows_failed} failed, "
            f"{tally.unchanged} were unchanged and {tally.duplicates} were duplicates, which does "
            "not add up; the run is not committed."
        )
    indexed = sum(shard.rows for shard in indexes), len(indexes)
    if kind == "features" and indexed != (rows_out, expected):
        raise CommitError(
            f"The indexes hold {sum(shard.rows for shard in indexes)} rows in {len(indexes)} files "
            f"where the features are {rows_out} in {expected}; the run is not committed."
        )
    reasons: Counter[str] = Counter()
    for shard in errors:
        reasons.update(shard.labels)
    return RunCounts(
        rows_read=tally.rows_read,
        duplicates=tally.duplicates,
        rows_in=tally.rows_read - tally.duplicates,
        rows_out=rows_out,
        rows_failed=rows_failed,
        rows_unchanged=tally.unchanged,
        rows_removed=sum(shard.rows for shard in files if shard.kind in (REMOVED, TOMBSTONES)),
        failed_by_reason=dict(sorted(reasons.items())),
    )
