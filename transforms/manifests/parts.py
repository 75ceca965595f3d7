"""Manifests read as a whole or in part, by columns where rows are plain."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import IO, cast

from image_features.transforms.manifests.blocks import Blocks
from image_features.transforms.manifests.delimited import DelimitedRows, TakenLines
from image_features.transforms.manifests.formats import ManifestFormat, dialect_of, told
from image_features.transforms.manifests.lines import read_text_blocks
from image_features.transforms.manifests.packed_parquet import ParquetInput
from image_features.transforms.manifests.parquet import read_batches
from image_features.transforms.manifests.plain import Plainly, PlainRows
from image_features.transforms.manifests.plain_lines import (
    DelimitedReader,
    JsonlReader,
    LineReader,
    TextReader,
    read_plainly,
)
from image_features.transforms.manifests.rows import ManifestError, ManifestRow, Part
from image_features.transforms.manifests.sources import Source
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.ranged import open_ranged

_READ = 2**18


def read_part(
    source: Source, format: ManifestFormat, spec: ManifestSpec
) -> Iterator[PlainRows | ManifestRow]:
    """Yields what `spec.rows_of` does of a manifest that is no archive, many rows at once.

    Raises what `formats.read_rows` does.
    """
    location = source.location
    plainly = Plainly(location, spec.schema, spec.version_column)
    with told(location):
        if format is ManifestFormat.PARQUET:
            read = functools.partial(read_batches, take=plainly.batch, part=source.part)
            file = ParquetInput(location, spec.http, spec.uri_column, spec.archives, source.listed)
            yield from file.rows(read)
            return
        with _open_part(location, source.part, spec.http) as stream:
            blocks = Blocks(stream, source.part.number + 1 if source.part else 1)
            yield from read_plainly(_reader(source, format, spec, plainly, blocks), blocks)


def _reader(
    source: Source, format: ManifestFormat, spec: ManifestSpec, plainly: Plainly, blocks: Blocks
) -> LineReader:
    if format is ManifestFormat.TEXT:
        return TextReader(plainly)
    if format is ManifestFormat.JSONL:
        return JsonlReader(plainly, spec.uri_column)
    dialect = dialect_of(format, spec.quotes)
    delimited = DelimitedRows(source.location, spec.uri_column, dialect)
    if source.part and source.part.begin:
        with open_binary(source.location, http=spec.http) as file:
            read_header(delimited, Blocks(read_text_blocks(file, source.location)))
    else:
        read_header(delimited, blocks)
    return DelimitedReader(delimited, plainly, dialect)


def read_header(delimited: DelimitedRows, blocks: Blocks) -> None:
    """Reads what comes before the rows, which are left in the blocks."""
    lines = TakenLines(blocks.lines())
    delimited.read_header(lines)
    blocks.restore(lines.left())


@contextlib.contextmanager
def _open_part(location: str, part: Part | None, http: HttpPolicy) -> Iterator[Iterator[bytes]]:
    """Opens the bytes of a manifest, or of some of its lines."""
    if part is None:
        with open_binary(location, http=http) as file:
            yield read_text_blocks(file, location)
        return
    with open_ranged(location, http=http) as ranged:
        if part.version and ranged.version != part.version:
            raise ManifestError(f"{location} has changed while it was read.")
        ranged.seek(part.begin)
        lines = _Lines(ranged, part.end - part.begin, location)
        if part.begin:
            yield iter(functools.partial(lines.read, _READ), b"")
        else:
            yield read_text_blocks(cast("IO[bytes]", lines), location)


class _Lines:
    """The bytes of a file up to an end."""

    def __init__(self, file: IO[bytes], size: int, location: str) -> None:
        self._file = file
        self._left = size
        self._location = location

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        if not data and self._left:
            raise ManifestError(f"{self._location} has become shorter while it was read.")
        return data
