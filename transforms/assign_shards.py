"""AssignShards: which output shard a row belongs to, and in what order.

A stable hash of the URI picks the shard, so the same input gives the same shards on any
runner. Only references are grouped, never pixels or features: a duplicate meets its
original in its shard and is dropped there, and the shard's rows come out sorted by key. Images
that lie in archives are grouped once more, by the spans of these, so that each is read in one go.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.manifests.sources import Source
from image_features.transforms.runtime.metrics import NAMESPACE, log_event
from image_features.transforms.runtime.packing import PackRows, PlainRow, pack, unpack
from image_features.transforms.shards.earlier_pieces import EarlierPieces
from image_features.transforms.shards.references import (
    lies_at,
    places_of,
    ref_of,
    row_of,
    sorted_once,
    span_of,
)
from image_features.transforms.stores.uris import shard_of
from image_features.transforms.values import ImageRef, PackedRefs

_LOG = logging.getLogger(__name__)
# A worker takes so many rows at a time: few enough to spread a shard over workers, and so many
# that a piece (256 rows of 5 KB) is worth a file.
ROWS_PER_SLICE = 256
ERRORS_SHARDS_RATIO = 10


@dataclasses.dataclass(frozen=True)
class ShardPolicy:
    """The number of shards: a fixed one, or as many as the rows need.

    Attributes:
      num_shards: A fixed number of feature shards, or None.
      images_per_shard: The rows that a shard holds on average where `num_shards` is None.
    """

    num_shards: int | None = None
    images_per_shard: int = 10_000

    def feature_shards(self, rows: int) -> int:
        """Returns the number of feature shards for a number of rows."""
        return self.num_shards or max(1, math.ceil(rows / self.images_per_shard))


def error_shards(feature_shards: int) -> int:
    """Returns the number of errors shards: failures are fewer than features."""
    return math.ceil(feature_shards / ERRORS_SHARDS_RATIO)


class AssignShards(beam.PTransform):
    """Gives every reference its shard; drops duplicates of the same image.

    The input is a PCollection[ImageRef]. There are three outputs: `refs`, ImageRef sorted by key
    within slices of a shard, and PackedRefs, those of an archive in its order; `duplicates`, one
    int for each shard that had some; and `earlier`, StagedPiece of rows that need not be made
    again, which are not among the `refs`.

    Args:
      num_shards: The number of shards, a side input.
      sources: What names the images, in order: of several rows that name one image, the row of the
        first source counts, and of that the first row.
      earlier: The pieces of earlier attempts; None for a first attempt.
    """

    def __init__(
        self,
        *,
        num_shards: Any,
        sources: Sequence[Source] = (),
        earlier: EarlierPieces | None = None,
    ) -> None:
        super().__init__()
        self._num_shards = num_shards
        self._places = places_of(sources)
        self._earlier = earlier

    def expand(self, refs: Any) -> Any:
        ordered = (
            refs
            # Rows wait, packed: the number of shards is known when all have been read.
            | "TakeRows" >> beam.Map(row_of)
            | "PackRows" >> PackRows()
            | "HashToShard" >> beam.FlatMap(_by_shard, self._num_shards)
            | "GroupByShard" >> beam.GroupByKey()
            | "OrderAndDedupe"
            >> beam.ParDo(_OrderDoFn(self._places, self._earlier)).with_outputs(
                "duplicates", "earlier", "packed", main="slices"
            )
        )
        packed = (
            ordered.packed
            | "GroupByArchive" >> beam.GroupByKey()
            | "OrderInArchive" >> beam.MapTuple(_span)
        )
        spread = (
            (ordered.slices, packed)
            | "JoinSlices" >> beam.Flatten()
            | "SpreadOverWorkers" >> beam.Reshuffle()
            | "TakeSlices" >> beam.FlatMap(_refs_of)
        )
        return {"refs": spread, "duplicates": ordered.duplicates, "earlier": ordered.earlier}


def _by_shard(packed: bytes, num_shards: int) -> Iterator[tuple[int, bytes]]:
    shards: dict[int, list[PlainRow]] = {}
    for row in unpack(packed):
        shards.setdefault(shard_of(row[0], num_shards), []).append(row)
    return ((shard, pack(rows)) for shard, rows in shards.items())


# A slice is the rows of a shard without an archive, or those of a span of an archive with their
# shards behind them.
_Slice = tuple[str, int, bytes]


def _span(archive: tuple[str, int], packs: Iterable[bytes]) -> _Slice:
    """Returns the rows of a span in the order in which the archive has them."""
    rows = [row for packed in packs for row in unpack(packed)]
    rows.sort(key=lies_at)
    return archive[0], -1, pack(rows)


def _refs_of(slice_: _Slice) -> Iterator[ImageRef | PackedRefs]:
    archive, shard, packed = slice_
    if archive:
        yield PackedRefs(archive, tuple(ref_of(row[:-1], row[-1]) for row in unpack(packed)))
    else:
        for row in unpack(packed):
            yield ref_of(row, shard)


class _OrderDoFn(beam.DoFn):
    def __init__(self, places: Mapping[str, int], earlier: EarlierPieces | None) -> None:
        self._places = places
        self._earlier = earlier
        self._duplicates = Metrics.counter(NAMESPACE, "assign_shards/duplicates")
        self._kept = Metrics.counter(NAMESPACE, "assign_shards/kept")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        shard, packs = group
        unique, duplicates = sorted_once(packs, self._places)
        if duplicates:
            self._duplicates.inc(duplicates)
            yield TaggedOutput("duplicates", duplicates)
        if self._earlier is not None:
            pieces, taken = self._earlier.take(shard, [row[0] for row in unique])
            unique = [row for row in unique if row[0] not in taken]
            self._kept.inc(len(taken))
            log_event(_LOG, "taken_over", shard=shard, rows=len(taken), left=len(unique))
            for piece in pieces:
                yield TaggedOutput("earlier", piece)
        loose = []
        spans: dict[tuple[str, int], list[PlainRow]] = {}
        for row in unique:
            if span := span_of(row):
                spans.setdefault(span, []).append((*row, shard))
            else:
                loose.append(row)
        for span, rows in spans.items():
            yield TaggedOutput("packed", (span, pack(rows)))
        for start in range(0, len(loose), ROWS_PER_SLICE):
            yield "", shard, pack(loose[start : start + ROWS_PER_SLICE])
