"""Exported files that are data files of a Lance table."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from image_features.transforms.exports.fields import RowFields
from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.shards.shard_content import HashingSink, Rows

# The version of the files is told, since each release of pylance has a default of its own, and the
# same rows are to be the same bytes.
FILE_VERSION = "2.1"
# Lance compresses texts by tables that it makes of random samples, if nothing else is said.
_COMPRESSED = {"lance-encoding:compression": "zstd"}
# So many rows are parsed at once.
_ROWS_TOGETHER = 1024
_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class LanceVectors:
    """Rows of features as rows of a data file of a Lance table.

    Attributes:
      fields: The fields of a row.
    """

    fields: RowFields

    @contextlib.contextmanager
    def open(self, sink: HashingSink, rows: int) -> Iterator[Rows]:
        """Begins a file, in the directory for temporary files as Lance knows no streams."""
        with tempfile.TemporaryDirectory(prefix="image-features-") as directory:
            path = os.path.join(directory, "shard.lance")
            with _Writer(path, self.fields) as writer:
                with RECORDS.stream(writer.add).whole() as stream:
                    yield stream
                writer.end()
            with open(path, "rb") as file:
                shutil.copyfileobj(file, sink, _BLOCK)


def lance_schema(fields: RowFields) -> Any:
    """Returns the Arrow schema of a table, which says how Lance is to keep texts and bytes."""
    import pyarrow as pa

    def kept(field: Any) -> Any:
        if pa.types.is_list(field.type):
            return field.with_type(pa.list_(kept(field.type.value_field)))
        is_text = pa.types.is_string(field.type) or pa.types.is_binary(field.type)
        return field.with_metadata(_COMPRESSED) if is_text else field

    return pa.schema([kept(field) for field in fields.schema()])


class _Writer:
    """Rows on their way to a file."""

    def __init__(self, path: str, fields: RowFields) -> None:
        from lance.file import LanceFileWriter

        self._schema = lance_schema(fields)
        self._file = LanceFileWriter(path, self._schema, version=FILE_VERSION)
        self._fields = fields
        self._payloads: list[bytes] = []

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, payload: bytes) -> None:
        self._payloads.append(payload)
        if len(self._payloads) >= _ROWS_TOGETHER:
            self.end()

    def end(self) -> None:
        """Writes what is gathered."""
        import pyarrow as pa

        payloads, self._payloads = self._payloads, []
        if payloads:
            table = pa.Table.from_arrays(self._fields.table(payloads).columns, schema=self._schema)
            for batch in table.to_batches():
                self._file.write_batch(batch)
