"""Exported files that are data files of a Lance table."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator

from image_features.transforms.exports.fields import RowFields
from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.shards.shard_content import HashingSink, Rows

# The version of the files is told, since each release of pylance has a default of its own, and the
# same rows are to be the same bytes.
FILE_VERSION = "2.1"
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


class _Writer:
    """Rows on their way to a file."""

    def __init__(self, path: str, fields: RowFields) -> None:
        from lance.file import LanceFileWriter

        self._file = LanceFileWriter(path, fields.schema(), version=FILE_VERSION)
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
        payloads, self._payloads = self._payloads, []
        if payloads:
            for batch in self._fields.table(payloads).to_batches():
                self._file.write_batch(batch)
