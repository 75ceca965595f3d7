"""AssignShards: which output shard a row belongs to, and in what order.

A stable hash of the URI picks the shard, so the same input gives the same shards on any
runner. Only references are grouped, never pixels or features: a duplicate meets its
original in its shard and is dropped there, and the shard's rows come out sorted by key.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from transforms.metrics import NAMESPACE
from transforms.types import ImageRef
from transforms.uris import shard_of

# Rows that one worker takes at a time: small enough to spread a shard over workers,
# large enough that a piece file (256 rows of 5 KB) is worth opening.
ROWS_PER_SLICE = 256
ERRORS_SHARDS_RATIO = 10


@dataclasses.dataclass(frozen=True)
class ShardPolicy:
    """How many shards: a fixed number, or as many as the rows need.

    Attributes:
      num_shards: A fixed number of feature shards, or None.
      images_per_shard: Rows a shard holds on average when `num_shards` is None.
    """

    num_shards: int | None = None
    images_per_shard: int = 10_000

    def feature_shards(self, rows: int) -> int:
        """Number of feature shards for a number of rows read."""
        return self.num_shards or max(1, math.ceil(rows / self.images_per_shard))


def error_shards(feature_shards: int) -> int:
    """Number of errors shards: failures are fewer than features."""
    return math.ceil(feature_shards / ERRORS_SHARDS_RATIO)


class AssignShards(beam.PTransform):
    """Gives every reference its shard; drops duplicates of the same image.

    Input: PCollection[ImageRef]. Tagged outputs: `refs`, ImageRef sorted by key within
    slices of a shard, and `duplicates`, one int for each shard that had some.

    Args:
      num_shards: Side input, the number of shards.
    """

    def __init__(self, *, num_shards: Any) -> None:
        super().__init__()
        self._num_shards = num_shards

    def expand(self, refs: Any) -> Any:
        ordered = (
            refs
            | "HashToShard" >> beam.Map(_keyed, self._num_shards)
            | "GroupByShard" >> beam.GroupByKey()
            | "OrderAndDedupe" >> beam.ParDo(_OrderDoFn()).with_outputs("duplicates", main="slices")
        )
        spread = (
            ordered.slices
            | "SpreadOverWorkers" >> beam.Reshuffle()
            | "TakeSlices" >> beam.FlatMap(_unpack)
        )
        return {"refs": spread, "duplicates": ordered.duplicates}


# What is shuffled is plain tuples: Beam's coders write those compactly, where a
# dataclass would be pickled row by row.
Packed = tuple[str, str, int, str, tuple[Any, ...]]


def _keyed(ref: ImageRef, num_shards: int) -> tuple[int, Packed]:
    packed = (ref.key, ref.source, ref.row, ref.uri, ref.columns)
    return shard_of(ref.key, num_shards), packed


def _unpack(slice_: tuple[int, list[Packed]]) -> Iterator[ImageRef]:
    shard, rows = slice_
    for key, source, row, uri, columns in rows:
        yield ImageRef(uri, key, source, row, tuple((n, v) for n, v in columns), shard)


class _OrderDoFn(beam.DoFn):
    def __init__(self) -> None:
        self._duplicates = Metrics.counter(NAMESPACE, "assign_shards/duplicates")

    def process(self, group: tuple[int, Iterable[Packed]]) -> Iterator[Any]:
        shard, rows = group
        # The first mention in the manifest wins, whatever order the runner delivers.
        ordered = sorted(rows, key=lambda row: row[:4])
        unique = [row for i, row in enumerate(ordered) if i == 0 or row[0] != ordered[i - 1][0]]
        if len(unique) < len(ordered):
            self._duplicates.inc(len(ordered) - len(unique))
            yield TaggedOutput("duplicates", len(ordered) - len(unique))
        for start in range(0, len(unique), ROWS_PER_SLICE):
            yield shard, unique[start : start + ROWS_PER_SLICE]
