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
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.references import lies_at, places_of
from image_features.transforms.shards.spill import Spill
from image_features.transforms.shards.staging import StagedPiece
from image_features.transforms.values import ImageRef, PackedRefs

_LOG = logging.getLogger(__name__)
# A worker takes so many rows at a time: few enough to spread a shard over workers, and so many
# that a piece (256 rows of 5 KB) is worth a file.
ROWS_PER_SLICE = 256
ERRORS_SHARDS_RATIO = 10
# So many groups of shards wait at most. A packed table has 65,536 rows; a part of it for each of
# 100,000 shards would be one row, of which Arrow's schema alone takes 600 bytes.
_MAX_GROUPS = 4096


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


def shards_together(num_shards: int) -> int:
    """Returns how many neighbouring shards wait as one."""
    return math.ceil(num_shards / _MAX_GROUPS)


class AssignShards(beam.PTransform):
    """Gives every reference its shard; drops duplicates of the same image.

    The input is one or several PCollections of RefTables. There are three outputs: `refs`,
    ImageRef sorted by shard and key within slices, and PackedRefs, those of an archive in its
    order; `duplicates`, one int for each shard that had some; and `earlier`, StagedPiece of rows
    that need not be made again, which are not among the `refs`.

    Args:
      num_shards: The number of shards, a side input.
      sources: What names the images, in order: of several rows that name one image, the row of the
        first source counts, and of that the first row.
      earlier: The pieces of earlier attempts; None for a first attempt.
      spill: Where references wait for the others of their shard, and slices for a worker.
    """

    def __init__(
        self,
        *,
        num_shards: Any,
        sources: Sequence[Source] = (),
        earlier: EarlierPieces | None = None,
        spill: Spill | None = None,
    ) -> None:
        super().__init__()
        self._spill = spill or Spill()
        self._num_shards = num_shards
        self._places = places_of(sources)
        self._earlier = earlier

    def expand(self, refs: Any) -> Any:
        # Rows wait, packed: the number of shards is known when all have been read. They wait as
        # they are read, since a runner may hold in memory what it joins.
        waiting = tuple(
            part | f"AwaitShards{number}" >> beam.FlatMap(_spilled, self._spill)
            for number, part in enumerate(refs if isinstance(refs, tuple) else (refs,))
        )
        ordered = (
            waiting
            | "JoinWaiting" >> beam.Flatten()
            | "HashToShard" >> beam.FlatMap(_by_shards, self._num_shards, self._spill)
            | "GroupByShard" >> beam.GroupByKey()
            | "OrderAndDedupe"
            >> beam.ParDo(
                _OrderDoFn(self._places, self._earlier, self._spill), self._num_shards
            ).with_outputs("duplicates", "earlier", "packed", main="slices")
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
            | "TakeSlices" >> beam.FlatMap(_refs_of, self._spill)
        )
        return {"refs": spread, "duplicates": ordered.duplicates, "earlier": ordered.earlier}


def _spilled(table: RefTable, spill: Spill) -> Iterator[bytes]:
    return (waiting for _, waiting in spill.put([(0, table.packed())]))


def _by_shards(waiting: bytes, num_shards: int, spill: Spill) -> Iterator[tuple[int, bytes]]:
    """Yields the rows of a table by their shards, or by groups of shards where these are many."""
    table = RefTable.unpacked(spill.get([waiting]))
    parts = table.split(table.shards(num_shards) // shards_together(num_shards))
    return spill.put((group, rows.packed()) for group, rows in parts)


# A slice is rows of a group of shards without an archive, or those of a span of an archive. Each
# part of it has the number of all shards, which tells the shards of its rows.
_Part = tuple[int, bytes]
_Slice = tuple[str, tuple[_Part, ...]]


def _span(archive: tuple[str, int], parts: Iterable[_Part]) -> _Slice:
    """Returns the rows of a span, which lie in one archive."""
    return archive[0], tuple(sorted(parts))


def _refs_of(slice_: _Slice, spill: Spill) -> Iterator[ImageRef | PackedRefs]:
    archive, parts = slice_
    tables = ((num, RefTable.unpacked(spill.get([waiting]))) for num, waiting in parts)
    refs = (ref for num_shards, table in tables for ref in table.refs(table.shards(num_shards)))
    if archive:
        yield PackedRefs(archive, tuple(sorted(refs, key=lies_at)))
    else:
        yield from refs


class _OrderDoFn(beam.DoFn):
    def __init__(
        self, places: Mapping[str, int], earlier: EarlierPieces | None, spill: Spill
    ) -> None:
        self._places = places
        self._earlier = earlier
        self._spill = spill
        self._duplicates = Metrics.counter(NAMESPACE, "assign_shards/duplicates")
        self._kept = Metrics.counter(NAMESPACE, "assign_shards/kept")

    def process(self, group: tuple[int, Iterable[bytes]], num_shards: int) -> Iterator[Any]:
        _, packs = group
        table = RefTable.unpacked(self._spill.get(packs))
        left = []
        for shard, rows in table.split(table.shards(num_shards)):
            unique, duplicates = rows.sorted_once(self._places)
            if duplicates:
                self._duplicates.inc(duplicates)
                yield TaggedOutput("duplicates", duplicates)
            if self._earlier is not None:
                unique, pieces = self._take_over(self._earlier, shard, unique)
                for piece in pieces:
                    yield TaggedOutput("earlier", piece)
            left.append(unique)
        # What waits is written as one file for the group, of which each slice is read alone.
        slices = _divided(RefTable.joined(left))
        spilled = self._spill.put(
            (number, rows.packed()) for number, (_, rows) in enumerate(slices)
        )
        for number, packed in spilled:
            span = slices[number][0]
            if span is None:
                yield "", ((num_shards, packed),)
            else:
                yield TaggedOutput("packed", (span, (num_shards, packed)))

    def _take_over(
        self, earlier: EarlierPieces, shard: int, unique: RefTable
    ) -> tuple[RefTable, list[StagedPiece]]:
        keys = [key.hex() for key in unique.table["key"].to_pylist()]
        pieces, taken = earlier.take(shard, keys)
        left = unique.take(np.array([key not in taken for key in keys], np.bool_))
        self._kept.inc(len(taken))
        log_event(_LOG, "taken_over", shard=shard, rows=len(taken), left=len(left))
        return left, pieces


def _divided(unique: RefTable) -> list[tuple[tuple[str, int] | None, RefTable]]:
    """Divides rows into those of each span, and slices of those without one."""
    spans = unique.spans()
    of_span: dict[tuple[str, int], list[int]] = {}
    for position, span in enumerate(spans):
        if span is not None:
            of_span.setdefault(span, []).append(position)
    packed = [(span, unique.take(np.array(rows))) for span, rows in of_span.items()]
    loose = unique.take(np.array([span is None for span in spans], np.bool_))
    starts = range(0, len(loose), ROWS_PER_SLICE)
    return [*packed, *((None, loose.slice(start, ROWS_PER_SLICE)) for start in starts)]
