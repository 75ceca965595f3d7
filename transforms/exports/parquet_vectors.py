"""Exported files that are Parquet: rows with their vectors, or without them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from image_features.transforms.exports.fields import KEY_NAME, SCALE, VECTOR, RowFields
from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.shards.row_stream import RowStream
from image_features.transforms.shards.shard_content import HashingSink, Rows

# A reader holds a group in memory, and reads several at once.
_GROUP_BYTES = 64 * 2**20
_GROUP_ROWS = 100_000
# So many rows are parsed at once.
_ROWS_TOGETHER = 1024


@dataclasses.dataclass(frozen=True)
class ParquetVectors:
    """Rows of features as rows of a Parquet file.

    Attributes:
      fields: The fields of a row.
      vectors: Whether the file has the vectors.
    """

    fields: RowFields
    vectors: bool = True

    @contextlib.contextmanager
    def open(self, sink: HashingSink, rows: int) -> Iterator[Rows]:
        """Begins a file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self.fields.schema(vectors=self.vectors)
        flat = [f"{VECTOR}.list.element"] if self.vectors else []
        own = [KEY_NAME, "sha256", SCALE]  # No two are the same.
        with pq.ParquetWriter(
            pa.PythonFile(sink, mode="w"),
            schema,
            compression="zstd",
            use_dictionary=[_leaf(field) for field in schema if field.name not in (*own, VECTOR)],
            write_statistics=[_leaf(field) for field in schema if field.name != VECTOR],
            use_byte_stream_split=flat if str(self.fields.type) != "int8" else False,
        ) as writer:
            group = _Group(writer, self)
            with RECORDS.stream(group.add).whole() as stream:
                yield stream
            group.end()


@dataclasses.dataclass(frozen=True)
class RemovedKeys:
    """A Parquet file of the keys whose rows are gone."""

    @contextlib.contextmanager
    def open(self, sink: HashingSink, rows: int) -> Iterator[Rows]:
        """Begins a file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        keys: list[str] = []
        with RowStream(32, lambda _: 32, lambda row: keys.append(row.decode())).whole() as stream:
            yield stream
        schema = pa.schema([pa.field(KEY_NAME, pa.string(), nullable=False)])
        table = pa.table({KEY_NAME: pa.array(keys, pa.string())}, schema=schema)
        pq.write_table(table, pa.PythonFile(sink, mode="w"), compression="zstd")


def _leaf(field: Any) -> str:
    import pyarrow as pa

    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


class _Group:
    """Rows that are gathered for a row group."""

    def __init__(self, writer: Any, content: ParquetVectors) -> None:
        self._writer = writer
        self._content = content
        self._payloads: list[bytes] = []
        self._tables: list[Any] = []
        self._rows, self._bytes = 0, 0

    def add(self, payload: bytes) -> None:
        self._payloads.append(payload)
        if len(self._payloads) >= _ROWS_TOGETHER:
            self._parse()

    def end(self) -> None:
        """Writes what is left."""
        self._parse()
        self._write()

    def _parse(self) -> None:
        if not self._payloads:
            return
        content = self._content
        table = content.fields.table(self._payloads, vectors=content.vectors)
        self._payloads = []
        self._tables.append(table)
        self._rows += len(table)
        self._bytes += table.nbytes
        if self._bytes >= _GROUP_BYTES or self._rows >= _GROUP_ROWS:
            self._write()

    def _write(self) -> None:
        if self._tables:
            import pyarrow as pa

            self._writer.write_table(pa.concat_tables(self._tables), row_group_size=self._rows)
            self._tables, self._rows, self._bytes = [], 0, 0
