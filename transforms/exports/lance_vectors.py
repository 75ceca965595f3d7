"""Exported files that are data files of a Lance table."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from image_features.transforms.exports.batches import in_batches
from image_features.transforms.exports.fields import RowFields
from image_features.transforms.shards.shard_content import HashingSink, Rows

# The version of the files is told, since each release of pylance has a default of its own, and the
# same rows are to be the same bytes.
FILE_VERSION = "2.1"
# Lance compresses texts by tables that it makes of random samples, if nothing else is said.
_COMPRESSED = {"lance-encoding:compression": "zstd"}
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
            with self._writer(path) as take, in_batches(take) as out:
                yield out
            with open(path, "rb") as file:
                shutil.copyfileobj(file, sink, _BLOCK)

    @contextlib.contextmanager
    def _writer(self, path: str) -> Iterator[Callable[[list[bytes]], None]]:
        """Gives the body what writes rows to a file."""
        import pyarrow as pa
        from lance.file import LanceFileWriter

        schema = lance_schema(self.fields)
        with LanceFileWriter(path, schema, version=FILE_VERSION) as writer:

            def take(payloads: list[bytes]) -> None:
                columns = self.fields.table(payloads).columns
                for batch in pa.Table.from_arrays(columns, schema=schema).to_batches():
                    writer.write_batch(batch)

            yield take


def lance_schema(fields: RowFields) -> Any:
    """Returns the Arrow schema of a table, which says how Lance is to keep texts and bytes."""
    import pyarrow as pa

    def kept(field: Any) -> Any:
        if pa.types.is_list(field.type):
            return field.with_type(pa.list_(kept(field.type.value_field)))
        is_text = pa.types.is_string(field.type) or pa.types.is_binary(field.type)
        return field.with_metadata(_COMPRESSED) if is_text else field

    return pa.schema([kept(field) for field in fields.schema()])
