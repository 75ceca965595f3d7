"""Exported files that are Parquet: rows with their vectors, or without them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from image_features.transforms.exports.batches import in_batches
from image_features.transforms.exports.fields import KEY_NAME, SCALE, VECTOR
from image_features.transforms.shards.row_stream import RowStream
from image_features.transforms.shards.shard_content import HashingSink, Rows

# A group is what readers read at once and divide among threads: a file of 10,000 rows has two.
# BigQuery wants no less than 16 MiB. The writer holds a group, and its pages once more.
_GROUP_BYTES = 32 * 2**20
_GROUP_ROWS = 100_000


class Tables(Protocol):
    """How rows of features become rows of a table."""

    def schema(self) -> Any:
        """Returns the Arrow schema of the tables."""

    def table(self, payloads: Sequence[bytes], /) -> Any:
        """Returns rows of feature shards as a pyarrow.Table."""


@dataclasses.dataclass(frozen=True)
class ParquetVectors:
    """Rows of features as rows of a Parquet file.

    Attributes:
      tables: What makes rows of the file of them, such as `RowFields`.
    """

    tables: Tables

    @contextlib.contextmanager
    def open(self, sink: HashingSink, rows: int) -> Iterator[Rows]:
        """Begins a file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self.tables.schema()
        own = [KEY_NAME, "uri", "sha256", SCALE, VECTOR]  # No two are the same.
        with pq.ParquetWriter(
            pa.PythonFile(sink, mode="w"),
            schema,
            compression="zstd",
            # Vectors are plain numbers, which all readers know: split by their bytes they would be
            # a fifteenth smaller, but Spark cannot read that.
            use_dictionary=[_leaf(field) for field in schema if field.name not in own],
            write_statistics=[_leaf(field) for field in schema if field.name != VECTOR],
            sorting_columns=pq.SortingColumn.from_ordering(schema, [(KEY_NAME, "ascending")]),
        ) as writer:
            group = _Group(writer)
            with in_batches(lambda payloads: group.add(self.tables.table(payloads))) as batches:
                yield batches
            group.write()


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
        with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
            if keys:  # Hugging Face's datasets takes no group without rows.
                writer.write_table(pa.table([keys], schema=schema))


def _leaf(field: Any) -> str:
    import pyarrow as pa

    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


class _Group:
    """Rows that are gathered for a row group."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._tables: list[Any] = []
        self._rows, self._bytes = 0, 0

    def add(self, table: Any) -> None:
        """Adds rows, and writes the group when it is large enough."""
        self._tables.append(table)
        self._rows += len(table)
        self._bytes += table.nbytes
        if self._bytes >= _GROUP_BYTES or self._rows >= _GROUP_ROWS:
            self.write()

    def write(self) -> None:
        """Writes the rows, if there are any."""
        if self._tables:
            import pyarrow as pa

            self._writer.write_table(pa.concat_tables(self._tables), row_group_size=self._rows)
            self._tables, self._rows, self._bytes = [], 0, 0
