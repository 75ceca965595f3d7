"""Manifests of delimited fields: CSV and TSV."""

from __future__ import annotations

import collections
import csv
import dataclasses
import os
from collections.abc import Iterator
from typing import IO

from image_features.transforms.manifests.lines import MAX_LINE, Line, read_lines, too_long
from image_features.transforms.manifests.rows import (
    IMAGE_SUFFIXES,
    ManifestError,
    ManifestRow,
    find_uri_column,
    make_row,
)
from image_features.transforms.values import ColumnValue

_MAX_ROW_LINES = 100_000
_PLAUSIBLE_LINES = 4
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How the fields of a row are told from each other.

    Attributes:
      delimiter: The character between two fields.
      quotes: Whether a field in quotes may hold delimiters, line ends and doubled quotes;
        otherwise a quote is a character like any other.
    """

    delimiter: str
    quotes: bool


def read_delimited(
    file: IO[bytes], location: str, uri_column: str | None, dialect: Dialect
) -> Iterator[ManifestRow]:
    """Yields the rows of a CSV or TSV file, each with the number of the line that it begins in.

    A quote that is not closed costs its own row only: the lines behind it are read on their own.

    Raises:
      ManifestError: the header cannot be read, lacks the URI column, or names a column twice.
    """
    csv.field_size_limit(2 * MAX_LINE)
    lines = _Lines(read_lines(file, location))
    reader = csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quotes else csv.QUOTE_NONE,
        strict=True,
    )
    table: _Table | None = None
    while (line := lines.begin()) is not None:
        if table is None:
            if not _is_preamble(line, location, dialect):
                table = _read_header(lines, reader, location, uri_column, dialect)
            continue
        if line.cut:
            yield too_long(line)
        elif line.data.strip() and not table.is_comment(line.data):
            try:
                fields = next(reader)
                problem = table.problem_of(fields, lines.taken)
            except csv.Error as error:
                problem = _explain(error, lines.taken)
            if not problem:
                if any(field.strip() for field in fields):
                    values: dict[str, ColumnValue] = dict(zip(table.names, fields, strict=True))
                    yield make_row(line.number, values, uri_column)
                continue
            lines.give_back()
            yield table.bad_row(line, problem)


class _Lines:
    """The lines of a file for csv's reader, which asks for more of them within quotes.

    Attributes:
      taken: The lines of the row that is being read.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: collections.deque[Line] = collections.deque()
        self.taken: list[Line] = []
        self._given = 0
        self._bytes = 0

    def begin(self) -> Line | None:
        """Returns the line that the next row begins with, which the reader gets first."""
        self.taken, self._given, self._bytes = [], 0, 0
        return self._take()

    def give_back(self) -> None:
        """Lets the next rows begin with the lines behind the first one."""
        self._again.extendleft(reversed(self.taken[1:]))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._given == len(self.taken) and (
            len(self.taken) >= _MAX_ROW_LINES or self._bytes > MAX_LINE or self._take() is None
        ):
            raise StopIteration
        line = self.taken[self._given]
        if line.cut:
            raise StopIteration
        self._given += 1
        return _text(line)

    def _take(self) -> Line | None:
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is not None:
            self.taken.append(line)
            self._bytes += len(line.data)
        return line


@dataclasses.dataclass(frozen=True)
class _Table:
    """What the header says about rows.

    Attributes:
      names: The names of the columns.
      uri: The position of the column of URIs.
      dialect: How fields are told from each other.
    """

    names: list[str]
    uri: int
    dialect: Dialect

    def is_comment(self, line: bytes) -> bool:
        """Whether a line is a comment, and not a row whose first field is, say, a hashtag."""
        if not line.startswith(b"#"):
            return False
        delimiters = line.count(self.dialect.delimiter.encode())
        return self.uri == 0 or delimiters + 1 != len(self.names)

    def problem_of(self, fields: list[str], lines: list[Line]) -> str:
        """Returns what is wrong with a row; empty if it can be used."""
        if len(lines) > 1 and self._swallows(lines):
            return (
                f"the quote that opens in line {lines[0].number} is closed in line "
                f"{lines[-1].number} only, and has other rows within"
            )
        if len(fields) != len(self.names) and any(field.strip() for field in fields):
            return f"the row has {len(fields)} fields where the header has {len(self.names)}"
        if len(lines) > 1 and len(fields[self.uri].strip().splitlines()) > 1:
            return f"the URI in line {lines[0].number} goes over lines"
        return ""

    def bad_row(self, line: Line, problem: str) -> ManifestRow:
        """Returns the row of an error, with its URI if there can be no doubt about it."""
        uri = self._uri_of(line)
        return ManifestRow(line.number, uri, problem=problem, unread=not uri)

    def _swallows(self, lines: list[Line]) -> bool:
        """Whether several of a row's lines look like rows, since a stray quote hides what follows.

        A row names one image. Text that goes over lines seldom has delimiters in all of them.
        """
        named = sum(bool(self._uri_of(line)) for line in lines)
        if named > 1:
            return True
        like_rows = all(len(self._split(line)) == len(self.names) for line in lines)
        return like_rows and len(self.names) > 1 and len(lines) >= _PLAUSIBLE_LINES

    def _uri_of(self, line: Line) -> str:
        """Returns the URI that a line names where it is taken for a whole row; empty for none."""
        fields = self._split(line)
        if len(fields) != len(self.names):
            return ""
        uri = fields[self.uri].strip('"')
        if uri != uri.strip():
            return ""  # It is a word of a text.
        if uri.startswith("/") or "://" in uri[:16]:
            return uri if len(uri.split()) == 1 else ""
        return uri if os.path.splitext(uri)[1].lower() in IMAGE_SUFFIXES else ""

    def _split(self, line: Line) -> list[str]:
        return _text(line).rstrip("\r\n").split(self.dialect.delimiter)


def _read_header(
    lines: _Lines,
    reader: Iterator[list[str]],
    location: str,
    uri_column: str | None,
    dialect: Dialect,
) -> _Table:
    first = lines.taken[0]
    try:
        names = [name.strip() for name in next(reader)]
    except csv.Error as error:
        problem = _explain(error, lines.taken)
        raise ManifestError(f"The header of {location} cannot be read: {problem}.") from error
    for line in lines.taken[1:]:
        if _text(line).count(dialect.delimiter) + 1 == len(names) > 1:
            raise ManifestError(
                f"The header of {location} cannot be read: a quote in line {first.number} is "
                f"closed in line {lines.taken[-1].number} only."
            )
    # pandas writes an index without a name.
    names = [name or f"unnamed_{position}" for position, name in enumerate(names)]
    try:
        "".join(names).encode()
    except UnicodeEncodeError as error:
        raise ManifestError(
            f"The header of {location} is not UTF-8: {first.data[:80]!r}; save the file as UTF-8."
        ) from error
    try:
        uri = find_uri_column(names, uri_column, location)
    except ManifestError as error:
        raise ManifestError(f"{error}{_hint(names, dialect)}") from error
    if len(set(names)) < len(names):
        raise ManifestError(f"{location} names a column twice in its header {names!r:.500}.")
    return _Table(names, names.index(uri), dialect)


def _is_preamble(line: Line, location: str, dialect: Dialect) -> bool:
    """Whether a line comes before the header: a comment, or Excel's line about its delimiter."""
    data = line.data.strip()
    if line.cut:
        raise ManifestError(f"The header of {location} is longer than {MAX_LINE} bytes.")
    if data[:4].lower() == b"sep=":
        delimiter = data[4:].decode(errors="replace") or "\t"
        if delimiter != dialect.delimiter:
            raise ManifestError(
                f"{location} separates its fields by {delimiter!r:.20}, not by "
                f"{dialect.delimiter!r}; save it so."
            )
        return True
    return not data or data.startswith(b"#")


def _hint(names: list[str], dialect: Dialect) -> str:
    for delimiter, called in _OTHER_DELIMITERS.items():
        if len(names) == 1 and delimiter in names[0] and delimiter != dialect.delimiter:
            how = {",": "say --input_format=csv", "\t": "say --input_format=tsv"}
            return (
                f" It seems to separate its fields by {called}; "
                f"{how.get(delimiter, 'save it with commas')}."
            )
    return ""


def _explain(error: csv.Error, lines: list[Line]) -> str:
    if len(lines) > 1 or "end of data" in str(error):
        return f"a quote that opens in line {lines[0].number} is not closed as it should be"
    if "expected after" in str(error):
        return "there is text behind a closed quote; a quote within a field must be doubled"
    return f"the line is not CSV: {error}"


def _text(line: Line) -> str:
    return line.data.decode("utf-8", "surrogateescape")
