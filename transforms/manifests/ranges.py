"""The parts of large manifests, which are read side by side."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from image_features.transforms.manifests.blocks import Blocks
from image_features.transforms.manifests.delimited import DelimitedRows
from image_features.transforms.manifests.formats import ManifestFormat, dialect_of
from image_features.transforms.manifests.lines import MAX_LINE, count_ends, read_text_blocks
from image_features.transforms.manifests.packed_parquet import ParquetInput
from image_features.transforms.manifests.parts import read_header
from image_features.transforms.manifests.quotes import goes_over_lines
from image_features.transforms.manifests.rows import Part
from image_features.transforms.manifests.sources import Source
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.stores.compression import Decompressed
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.ranged import RangedFile, open_ranged
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import is_http

# Smaller manifests are not worth the look.
LEAST_BYTES = 64 * 2**20
PART_BYTES = 32 * 2**20
# Rows of Parquet are a fraction of those of text in bytes.
LEAST_PARQUET_BYTES = 8 * 2**20
PART_ROWS = 262_144
# Stores answer one request with a fraction of what a machine can take.
_LOOKERS = 8
# The arrays of larger blocks are new pages each time, whose making takes as long as the look.
_BLOCK = 2**19


class _NotInPartsError(Exception):
    """A manifest that cannot be divided."""


class _Looked(NamedTuple):
    """What a look at a part tells.

    Attributes:
      begin: The beginning of its first line.
      end: The end of its last line.
      lines: The number of its lines.
    """

    begin: int
    end: int
    lines: int


def divide(source: Source, spec: ManifestSpec) -> list[Source]:
    """Returns the parts of a manifest whose rows together are its rows, in their order.

    It is left whole where it is small, compressed, cannot be read from the middle, or where a row
    may go over lines. What cannot be read is left to its reader to tell.
    """
    format = source.format
    if format is None or format.archive or source.listed:
        return [source]
    try:
        if format is ManifestFormat.PARQUET:
            parts = _by_groups(source, spec)
        else:
            parts = _by_lines(source, format, spec)
    except (_NotInPartsError, FetchError, OSError, ValueError):
        return [source]
    return [dataclasses.replace(source, part=part) for part in parts] or [source]


def _by_groups(source: Source, spec: ManifestSpec) -> list[Part]:
    if is_http(source.location):
        return []  # It is fetched as a whole.
    with open_ranged(source.location, http=spec.http) as file:
        if (file.size or 0) < LEAST_PARQUET_BYTES:
            return []
    with open_binary(source.location, http=spec.http) as content:
        if isinstance(content, Decompressed):
            return []
    parquet = ParquetInput(source.location, spec.http, spec.uri_column, spec.archives, False)
    parts, begin, number, rows = [], 0, 0, 0
    sizes = parquet.group_sizes()
    for group, size in enumerate(sizes, 1):
        rows += size
        if rows >= PART_ROWS or group == len(sizes):
            parts.append(Part(begin, group, number))
            begin, number, rows = group, number + rows, 0
    return parts


def _by_lines(source: Source, format: ManifestFormat, spec: ManifestSpec) -> list[Part]:
    location = source.location
    with open_ranged(location, http=spec.http) as file:
        size, version = file.size, file.version
        if size is None or size < LEAST_BYTES or not file.in_parts:
            return []
    dialect = None
    with open_binary(location, http=spec.http) as content:
        if isinstance(content, Decompressed):
            return []
        first_row = 1
        if format in (ManifestFormat.CSV, ManifestFormat.TSV):
            dialect = dialect_of(format, spec.quotes)
            blocks = Blocks(read_text_blocks(content, location))
            read_header(DelimitedRows(location, spec.uri_column, dialect), blocks)
            block = blocks.take()
            first_row = block.number if block else 1
    cuts = [*range(0, size, PART_BYTES), size]
    delimiter = dialect.delimiter if dialect and dialect.quotes else ""

    def look(cut: tuple[int, int]) -> _Looked:
        return _look_at(location, spec.http, cut, version, delimiter)

    with concurrent.futures.ThreadPoolExecutor(_LOOKERS) as lookers:
        looked = list(lookers.map(look, itertools.pairwise(cuts)))
    if looked[0].lines < first_row - 1:
        return []
    numbers = itertools.accumulate((part.lines for part in looked), initial=0)
    return [
        Part(part.begin, part.end, number, version)
        for part, number in zip(looked, numbers, strict=False)
        if part.end > part.begin
    ]


def _look_at(
    location: str, http: HttpPolicy, cut: tuple[int, int], version: str, delimiter: str
) -> _Looked:
    """Counts the lines that begin in some bytes of a file.

    Args:
      location: The location of the file.
      http: How it is fetched.
      cut: Where the bytes begin and end.
      version: The version of the file that is divided.
      delimiter: The character between fields that may be in quotes; empty if there are none.

    Raises:
      _NotInPartsError: a row may go over lines, or a line ends otherwise than others do.
    """
    begin, end = cut
    with open_ranged(location, http=http) as file:
        if file.version != version:
            raise _NotInPartsError
        begin = _next_line(file, begin)
        end = max(begin, _next_line(file, end) if end < (file.size or 0) else end)
        file.seek(begin)
        lines = 0
        for data in _whole_lines(file, end - begin):
            if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
                raise _NotInPartsError
            if delimiter and goes_over_lines(data, delimiter):
                raise _NotInPartsError
            lines += count_ends(data)
    return _Looked(begin, end, lines)


def _next_line(file: RangedFile, begin: int) -> int:
    """Returns where the first line begins that does not before a byte."""
    if not begin:
        return 0
    file.seek(begin - 1)
    found = file.readline(MAX_LINE)
    if not found.endswith(b"\n") and len(found) == MAX_LINE:
        raise _NotInPartsError
    return begin - 1 + len(found)


def _whole_lines(file: RangedFile, size: int) -> Iterator[bytes]:
    """Yields so many bytes, which end with a line, by whole lines."""
    rest = b""
    while size:
        data = file.read(min(_BLOCK, size))
        if not data or len(rest) > MAX_LINE:
            raise _NotInPartsError
        size -= len(data)
        data = rest + data
        at = data.rfind(b"\n") + 1 if size else len(data)
        rest = data[at:]
        if at:
            yield data[:at]
