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
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.manifests.sources import Source
from image_features.transforms.runtime.metrics import NAMESPACE, log_event
from image_features.transforms.shards.earlier_pieces import EarlierPieces
from image_features.transforms.shards.ref_table import RefTable, unpacked_refs
from image_features.transforms.shards.references import lies_at, places_of
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

    The input is a PCollection of packed RefTables. There are three outputs: `refs`, ImageRef sorted
    by key within slices of a shard, and PackedRefs, those of an archive in its order; `duplicates`,
    one int for each shard that had some; and `earlier`, StagedPiece of rows that need not be made
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
    table = RefTable.unpacked([packed])
    return ((shard, rows.packed()) for shard, rows in table.split(table.shards(num_shards)))


# A slice is the rows of a shard without an archive, or those of a span of an archive, each part
# of them with its shard.
_Part = tuple[int, bytes]
_Slice = tuple[str, tuple[_Part, ...]]


def _span(archive: tuple[str, int], parts: Iterable[_Part]) -> _Slice:
    """Returns the rows of a span, which lie in one archive."""
    return archive[0], tuple(sorted(parts))


def _refs_of(slice_: _Slice) -> Iterator[ImageRef | PackedRefs]:
    archive, parts = slice_
    refs = (ref for shard, packed in parts for ref in unpacked_refs(packed, shard))
    if archive:
        yield PackedRefs(archive, tuple(sorted(refs, key=lies_at)))
    else:
        yield from refs


class _OrderDoFn(beam.DoFn):
    def __init__(self, places: Mapping[str, int], earlier: EarlierPieces | None) -> None:
        self._places = places
        self._earlier = earlier
        self._duplicates = Metrics.counter(NAMESPACE, "assign_shards/duplicates")
        self._kept = Metrics.counter(NAMESPACE, "assign_shards/kept")

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        shard, packs = group
        unique, duplicates = RefTable.unpacked(packs).sorted_once(self._places)
        if duplicates:
            self._duplicates.inc(duplicates)
            yield TaggedOutput("duplicates", duplicates)
        if self._earlier is not None:
            keys = [key.hex() for key in unique.table["key"].to_pylist()]
            pieces, taken = self._earlier.take(shard, keys)
            unique = unique.take(np.array([key not in taken for key in keys], np.bool_))
            self._kept.inc(len(taken))
            log_event(_LOG, "taken_over", shard=shard, rows=len(taken), left=len(unique))
            for piece in pieces:
                yield TaggedOutput("earlier", piece)
        spans = unique.spans()
        packed: dict[tuple[str, int], list[int]] = {}
        for position, span in enumerate(spans):
            if span is not None:
                packed.setdefault(span, []).append(position)
        for span, rows in packed.items():
            yield TaggedOutput("packed", (span, (shard, unique.take(np.array(rows)).packed())))
        loose = unique.take(np.array([span is None for span in spans], np.bool_))
        for start in range(0, len(loose), ROWS_PER_SLICE):
            yield "", ((shard, loose.slice(start, ROWS_PER_SLICE).packed()),)
