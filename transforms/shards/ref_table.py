"""References as columns: many in an element, sorted and divided as arrays.

A reference becomes an object (`ImageRef`) only where its image is worked on. Until then runners
keep all of them, local runners in memory, so that they are packed: a table of neighbouring URIs
compresses to a tenth.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.fitting import stored_type
from image_features.transforms.manifests.plain import PlainRows
from image_features.transforms.manifests.plain_uris import KEY_BYTES
from image_features.transforms.shards.index import key_array
from image_features.transforms.shards.tables import (
    halves_of,
    pack_table,
    partitions_of,
    sort_keys,
    split_by,
    unpack_table,
    with_used_words,
)
from image_features.transforms.stores.members import MARK, split_member
from image_features.transforms.values import ImageRef, Place

# Manifest columns have this before their names, so that none clashes with a reference's own.
_COLUMN = "column/"
_PLACE = ("span", "begin", "size")


def ref_schema(columns: Iterable[Column]) -> Any:
    """Returns the Arrow schema of references whose rows have these manifest columns."""
    import pyarrow as pa

    fields = [
        pa.field("key", pa.binary(16)),
        # A path may have any bytes, and most rows of a table have the same.
        pa.field("source", pa.dictionary(pa.int32(), pa.large_binary())),
        pa.field("row", pa.int64()),
        pa.field("uri", pa.large_string()),
        pa.field("version", pa.large_string()),
        *(pa.field(name, pa.int64()) for name in _PLACE),
    ]
    fields += [pa.field(_COLUMN + column.name, stored_type(column)) for column in columns]
    return pa.schema(fields)


@dataclasses.dataclass(frozen=True, slots=True)
class RefTable:
    """Some references.

    Attributes:
      table: A pyarrow.Table of the schema that `ref_schema` gives.
    """

    table: Any

    @classmethod
    def of(cls, refs: Sequence[ImageRef], columns: Iterable[Column]) -> Self:
        """Makes a table of references that have these columns."""
        import pyarrow as pa

        schema = ref_schema(columns)
        places: list[Sequence[int | None]] = [ref.place or (None, None, None) for ref in refs]
        arrays = [
            [bytes.fromhex(ref.key) for ref in refs],
            [ref.source.encode("utf-8", "surrogatepass") for ref in refs],
            [ref.row for ref in refs],
            [ref.uri for ref in refs],
            [ref.version for ref in refs],
            *([place[part] for place in places] for part in range(len(_PLACE))),
            *(
                [ref.columns[number][1] for ref in refs]
                for number in range(len(schema) - 5 - len(_PLACE))
            ),
        ]
        typed = [pa.array(array, type_) for array, type_ in zip(arrays, schema.types, strict=True)]
        return cls(pa.Table.from_arrays(typed, schema=schema))

    @classmethod
    def of_rows(cls, rows: PlainRows, source: str, columns: Iterable[Column]) -> Self:
        """Makes a table of rows of a manifest or an archive that have these columns."""
        import pyarrow as pa

        number = len(rows)
        keys = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(KEY_BYTES), number, [None, pa.py_buffer(rows.keys)]
        )
        versions = pa.repeat("", number) if rows.versions is None else rows.versions
        places: Iterable[Any] = [pa.nulls(number, pa.int64())] * len(_PLACE)
        if rows.places is not None:
            places = (pa.array(part, pa.int64()) for part in zip(*rows.places, strict=True))
        arrays = [
            keys,
            pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(number, np.int32)),
                pa.array([source.encode("utf-8", "surrogatepass")], pa.large_binary()),
            ),
            pa.array(rows.numbers),
            rows.uris,
            versions,
            *places,
            *rows.columns,
        ]
        schema = ref_schema(columns)
        return cls(pa.Table.from_arrays(arrays, names=schema.names).cast(schema))

    @classmethod
    def joined(cls, tables: Sequence[Self]) -> Self:
        """Returns all rows of some tables, in the order of these."""
        import pyarrow as pa

        return cls(pa.concat_tables([table.table for table in tables]).combine_chunks())

    @classmethod
    def unpacked(cls, packs: Iterable[bytes]) -> Self:
        """Returns all rows of packs, in the order of these."""
        import pyarrow as pa

        tables = [unpack_table(packed) for packed in packs]
        return cls(pa.concat_tables(tables or [ref_schema(()).empty_table()]).combine_chunks())

    def packed(self) -> bytes:
        """Returns the table as bytes, compressed."""
        return pack_table(with_used_words(self.table, "source"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets pickles be packed, too."""
        return RefTable.unpacked, ([self.packed()],)

    def _sources(self) -> tuple[Any, list[str]]:
        """Returns the sources as an array of Arrow with a dictionary, and the paths of that."""
        sources = self.table["source"].combine_chunks()
        return sources, [s.decode("utf-8", "surrogatepass") for s in sources.dictionary.to_pylist()]

    def __len__(self) -> int:
        """Returns the number of references."""
        return int(self.table.num_rows)

    @property
    def keys(self) -> npt.NDArray[np.bytes_]:
        """The keys, bytes16 [rows]; NumPy drops zero bytes at the end of single ones."""
        return key_array(self.table["key"])

    def take(self, positions: npt.NDArray[Any]) -> Self:
        """Returns the rows at these positions, or those for which a mask is true."""
        import pyarrow as pa

        if positions.dtype == np.bool_:
            return type(self)(self.table.filter(pa.array(positions)))
        return type(self)(self.table.take(pa.array(positions)))

    def slice(self, start: int, rows: int) -> Self:
        """Returns rows that follow on each other."""
        return type(self)(self.table.slice(start, rows))

    def split(self, numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, Self]]:
        """Yields for each number the rows that have it, in their order.

        Args:
          numbers: int64 [rows].
        """
        return ((number, type(self)(rows)) for number, rows in split_by(self.table, numbers))

    def refs(self, shards: npt.NDArray[np.int64] | None = None) -> Iterator[ImageRef]:
        """Yields the references as objects.

        Args:
          shards: int64 [rows], the shards of the references; None for ones that have none yet.
        """
        rows = len(self)
        table = self.table
        sources, paths = self._sources()
        digits = self.keys.tobytes().hex()
        width = 2 * KEY_BYTES
        names = table.column_names[5 + len(_PLACE) :]
        columns = [
            zip(itertools.repeat(name.removeprefix(_COLUMN)), table[name].to_pylist(), strict=False)
            for name in names
        ]
        places: Iterable[Place | None] = itertools.repeat(None, rows)
        if table["span"].null_count < rows:
            spans = zip(*(table[name].to_pylist() for name in _PLACE), strict=True)
            places = (None if place[0] is None else Place(*place) for place in spans)
        yield from map(
            ImageRef,
            table["uri"].to_numpy().tolist(),
            (digits[begin : begin + width] for begin in range(0, width * rows, width)),
            map(paths.__getitem__, sources.indices.to_numpy().tolist()),
            table["row"].to_numpy().tolist(),
            zip(*columns, strict=True) if columns else itertools.repeat((), rows),
            itertools.repeat(-1, rows) if shards is None else shards.tolist(),
            table["version"].to_numpy().tolist(),
            places,
        )

    def shards(self, num_shards: int) -> npt.NDArray[np.int64]:
        """Returns int64 [rows], the shard of each reference, as `stores.uris.shard_of` does."""
        high, low = halves_of(self.keys)
        number = np.uint64(num_shards)
        high = high % number * np.uint64(2**64 % num_shards) % number
        return ((high + low % number) % number).astype(np.int64)

    def partitions(self, partitions: int) -> npt.NDArray[np.int64]:
        """Returns int64 [rows], the partition of each, as `known_index.partition_of` does."""
        return partitions_of(self.keys, partitions)

    def spans(self) -> list[tuple[str, int] | None]:
        """Returns of each row the archive that it lies in and the span to read, None of a file."""
        import pyarrow.compute as pc

        found: list[tuple[str, int] | None] = [None] * len(self)
        may = np.flatnonzero(pc.match_substring(self.table["uri"], MARK).to_numpy())
        uris = self.table["uri"].take(may).to_pylist()
        spans = self.table["span"].take(may).to_pylist()
        for position, uri, span in zip(may.tolist(), uris, spans, strict=True):
            if packed := split_member(uri):
                found[position] = packed[0], -1 if span is None else span
        return found

    def once(self, places: Mapping[str, int]) -> tuple[Self, npt.NDArray[np.intp], int]:
        """Keeps the first mention of each image, as `sorted_once` does, in any order.

        Returns:
          The rows, the order in which their keys are sorted, and the number of further mentions.
        """
        order, first = sort_keys(self.keys)
        if first.all():
            return self, order, 0
        table, further = self.sorted_once(places)
        return table, np.arange(len(table)), further

    def sorted_once(self, places: Mapping[str, int]) -> tuple[Self, int]:
        """Sorts the rows by key, and keeps the first mention of each image.

        The result is the same in whatever order the rows are.

        Args:
          places: The places of the sources in the input; those that are not there come last.

        Returns:
          The rows, and the number of further mentions.
        """
        order, first = sort_keys(self.keys)
        if first.all():
            return self.take(order), 0
        images = np.cumsum(first) - 1
        several = np.flatnonzero(np.bincount(images)[images] > 1)
        mentions = self.take(order[several])._mentions(places)
        order[several] = order[several][np.lexsort((mentions, images[several]))]
        once = self.take(order[first])
        return once._placed(self.take(order), images), int(np.count_nonzero(~first))

    def _mentions(self, places: Mapping[str, int]) -> npt.NDArray[np.int64]:
        """Returns int64 [rows], the order in which the input mentions the references."""
        sources, names = self._sources()
        last = len(places)
        in_order = sorted(names, key=lambda name: (places.get(name, last), name))
        ranks = {name: rank for rank, name in enumerate(in_order)}
        rank = np.array([ranks[name] for name in names], np.int64)
        uris = np.array(self.table["uri"].to_pylist(), object)
        order = np.lexsort(
            (
                np.unique(uris, return_inverse=True)[1],
                self.table["row"].to_numpy(),
                rank[sources.indices.to_numpy()],
            )
        )
        mentions = np.empty(len(order), np.int64)
        mentions[order] = np.arange(len(order))
        return mentions

    def _placed(self, mentions: RefTable, images: npt.NDArray[np.int64]) -> Self:
        """Fills in places: a manifest need not tell where in its archive an image lies.

        Args:
          mentions: All mentions, sorted by image and then as the input has them.
          images: int64 [mentions], the position of each one's image in this table.
        """
        told = np.flatnonzero(mentions.table["span"].is_valid().to_numpy())
        if not len(told):
            return self
        import pyarrow as pa

        of, first = np.unique(images[told], return_index=True)
        source = np.full(len(self), -1, np.int64)
        source[of] = told[first]
        taken = pa.array(source, mask=source < 0)
        table = self.table
        for name in _PLACE:
            column = mentions.table[name].take(taken)
            table = table.set_column(table.column_names.index(name), name, column)
        return type(self)(table)
