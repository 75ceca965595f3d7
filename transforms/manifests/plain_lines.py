"""Manifests of lines, read by columns where a block of lines is plain, and row by row elsewhere."""

from __future__ import annotations

import codecs
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from image_features.transforms.manifests.blocks import Block, Blocks
from image_features.transforms.manifests.delimited import DelimitedRows, TakenLines
from image_features.transforms.manifests.delimited_table import Dialect
from image_features.transforms.manifests.fitting import fit_any, fit_text, fit_values
from image_features.transforms.manifests.jsonl import is_errors_shard, jsonl_rows
from image_features.transforms.manifests.jsonl_columns import DECODER, columns_of
from image_features.transforms.manifests.lines import MAX_LINE
from image_features.transforms.manifests.plain import Plainly, PlainRows
from image_features.transforms.manifests.quotes import are_plain_quotes
from image_features.transforms.manifests.rows import (
    ManifestError,
    ManifestRow,
    find_uri_column,
)
from image_features.transforms.manifests.text import text_rows

# A block that is not plain is halved down to this, so that an odd row costs few others.
_SMALL = 2**13
# Of blocks among which odd ones prevail, only some are tried.
_TRIED = 16
_LINE_FEED, _HASH = b"\n#"
_BOM = codecs.BOM_UTF8


class LineReader(Protocol):
    """Reads a format whose rows are lines."""

    def plain(self, block: Block) -> PlainRows | None:
        """Returns the rows of a block; None if any of its lines may be odd."""

    def rows(self, blocks: Blocks, end: float) -> Iterator[ManifestRow]:
        """Yields the rows that begin before a line, one by one; what is left is restored."""


def read_plainly(reader: LineReader, blocks: Blocks) -> Iterator[PlainRows | ManifestRow]:
    """Yields the rows of a manifest of lines in their order."""
    odd = even = seen = number = 0
    tries = True
    while (block := blocks.take()) is not None:
        if block.number >= number:  # It is no part of one that was seen.
            tries = odd <= even or seen % _TRIED == 0
            odd, even = odd // 2, even // 2
            number, seen = block.end, seen + 1
        found = reader.plain(block) if tries and len(block.data) <= MAX_LINE else None
        if found is not None:
            even += len(block.data)
            yield found
        elif tries and len(block.data) > _SMALL and (halves := block.halves()):
            for half in reversed(halves):
                blocks.put_back(half)
        else:
            odd += len(block.data)
            blocks.put_back(block)
            yield from reader.rows(blocks, block.end)
    yield from reader.rows(blocks, math.inf)


class TextReader:
    """Reads a URI of each line.

    Args:
      plainly: Makes references of plain rows.
    """

    def __init__(self, plainly: Plainly) -> None:
        self._plainly = plainly

    def plain(self, block: Block) -> PlainRows | None:
        data = _data(block)
        if data is None or _BOM in data:
            return None
        uris = data.decode().split("\n")
        numbers = _numbers(block, len(uris))
        first = _first_bytes(data)
        kept = (first != _LINE_FEED) & (first != _HASH)
        if not kept.all():
            numbers = numbers[kept]
            uris = list(itertools.compress(uris, kept))
        return self._plainly.rows(numbers, uris, {}, fit_values)

    def rows(self, blocks: Blocks, end: float) -> Iterator[ManifestRow]:
        return text_rows(blocks.until(end))


class DelimitedReader:
    """Reads fields that are delimited.

    Args:
      delimited: Reads rows one by one, and has read the header.
      plainly: Makes references of plain rows.
      dialect: How fields are told from each other.
    """

    def __init__(self, delimited: DelimitedRows, plainly: Plainly, dialect: Dialect) -> None:
        self._delimited = delimited
        self._plainly = plainly
        self._dialect = dialect

    def plain(self, block: Block) -> PlainRows | None:
        table = self._delimited.table
        data = _data(block)
        if table is None or data is None or data.startswith(_BOM):
            return None
        first = _first_bytes(data)
        if (first == _LINE_FEED).any():
            return None
        quotes = self._dialect.quotes and b'"' in data
        if quotes and not are_plain_quotes(data, self._dialect.delimiter):
            return None
        if (quotes or table.uri == 0) and (first == _HASH).any():
            return None  # It may be a comment.
        arrays = _fields(data, table.names, self._dialect.delimiter, quotes)
        if arrays is None or len(arrays[0]) != len(first):
            return None
        uris = arrays[table.uri]
        values = dict(zip(table.names, arrays, strict=True))
        del values[table.names[table.uri]]
        return self._plainly.rows(_numbers(block, len(uris)), uris, values, fit_text)

    def rows(self, blocks: Blocks, end: float) -> Iterator[ManifestRow]:
        lines = TakenLines(blocks.lines())
        yield from self._delimited.read(lines, end)
        blocks.restore(lines.left())


def _fields(data: bytes, names: Sequence[str], delimiter: str, quotes: bool) -> Any:
    """Returns the arrays of text of each column; None where a line has other fields."""
    import pyarrow as pa
    import pyarrow.csv as csv

    places = [str(place) for place in range(len(names))]
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=places
            ),
            parse_options=csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quotes else False,
                double_quote=quotes,
                ignore_empty_lines=False,
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException:
        return None
    return [column.combine_chunks() for column in table.columns]


class JsonlReader:
    """Reads an object of each line.

    Args:
      plainly: Makes references of plain rows.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
    """

    def __init__(self, plainly: Plainly, uri_column: str | None) -> None:
        self._plainly = plainly
        self._uri_column = uri_column
        self._is_errors_shard = is_errors_shard(plainly.location)
        self._scan = DECODER.scan_once

    def plain(self, block: Block) -> PlainRows | None:
        data = None if self._is_errors_shard else _data(block)
        if not data:
            return None
        alike = columns_of(data)
        names, values = self._scanned(data.decode()) if alike is None else ({tuple(alike)}, alike)
        column = self._uri_of(names)
        if column is None:
            return None
        uris = values.pop(column)
        told = {name: _plain_values(found) for name, found in values.items()}
        if isinstance(uris, list) and set(map(type, uris)) != {str}:
            return None
        if any(found is None for found in told.values()):
            return None
        return self._plainly.rows(_numbers(block, len(uris)), uris, told, fit_any)

    def rows(self, blocks: Blocks, end: float) -> Iterator[ManifestRow]:
        return jsonl_rows(blocks.until(end), self._plainly.location, self._uri_column)

    def _scanned(self, text: str) -> tuple[set[tuple[str, ...]], dict[str, list[Any]]]:
        """Returns the names that the object of each line has, and the values of all by name.

        There are no names where a line may be something else.
        """
        pairs = self._objects(text)
        names = {tuple([name for name, _ in row]) for row in pairs}
        rows = list(map(dict, pairs))
        columns = dict.fromkeys(itertools.chain.from_iterable(names))
        return names, {name: [row.get(name) for row in rows] for name in columns}

    def _objects(self, text: str) -> list[tuple[tuple[str, Any], ...]]:
        """Returns the pairs of each line's object; none if a line may be something else."""
        scan = self._scan
        found = []
        at, size = 0, len(text)
        try:
            while at < size:
                row, end = scan(text, at)
                # Lines are as many as objects where each object begins and ends one.
                if type(row) is not tuple or (end < size and text[end] != "\n"):
                    return []
                found.append(row)
                at = end + 1
        except (ValueError, StopIteration, RecursionError):
            return []
        return found if len(found) == text.count("\n") + 1 else []

    def _uri_of(self, names: set[tuple[str, ...]]) -> str | None:
        """Returns the column of URIs, which is the same in all rows, and sound; else None."""
        try:
            columns = {find_uri_column(list(row), self._uri_column, "the row") for row in names}
        except ManifestError:
            return None
        if len(columns) != 1 or any(len(set(row)) < len(row) for row in names):
            return None
        return columns.pop()


def _plain_values(values: Any) -> Any:
    """Returns a column's values as rows hold them; None for objects and what may be too large."""
    if not isinstance(values, list):
        return values
    types = set(map(type, values))
    if tuple in types or (float in types and math.inf in map(abs, filter(_is_float, values))):
        return None
    if list in types:
        lists = [value for value in values if type(value) is list]
        inner = set(map(type, itertools.chain.from_iterable(lists)))
        if inner & {tuple, list}:
            return None
        if float in inner and not all(map(_is_finite, itertools.chain.from_iterable(lists))):
            return None
    return values


def _is_float(value: Any) -> bool:
    return type(value) is float


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _data(block: Block) -> bytes | None:
    """Returns the lines of a block without the end of the last; None if they may be odd."""
    data = block.data
    if b"\0" in data:
        return None
    if b"\r" in data:
        if data.count(b"\r") != data.count(b"\r\n"):
            return None
        data = data.replace(b"\r\n", b"\n")
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    return data.removesuffix(b"\n")


def _first_bytes(data: bytes) -> npt.NDArray[np.uint8]:
    r"""Returns uint8 [lines], the first byte of each; that of an empty one is \n."""
    codes = np.frombuffer(data, np.uint8)
    begins = np.append(0, np.flatnonzero(codes == _LINE_FEED) + 1)
    if begins[-1] < len(codes):
        return codes[begins]
    return np.append(codes[begins[:-1]], np.uint8(_LINE_FEED))


def _numbers(block: Block, rows: int) -> npt.NDArray[np.int64]:
    return np.arange(block.number, block.number + rows, dtype=np.int64)
