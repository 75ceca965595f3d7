"""Manifests of delimited fields: CSV and TSV."""

from __future__ import annotations

import collections
import csv
import math
from collections.abc import Iterator
from typing import IO

from image_features.transforms.manifests.delimited_table import (
    Dialect,
    Table,
    is_preamble,
    table_of,
    text_of,
)
from image_features.transforms.manifests.lines import MAX_LINE, Line, read_lines, too_long
from image_features.transforms.manifests.rows import (
    ManifestError,
    ManifestRow,
    make_row,
)
from image_features.transforms.values import ColumnValue

_MAX_ROW_LINES = 100_000


def read_delimited(
    file: IO[bytes], location: str, uri_column: str | None, dialect: Dialect
) -> Iterator[ManifestRow]:
    """Yields the rows of a CSV or TSV file, each with the number of the line that it begins in.

    A quote that is not closed costs its own row only: the lines behind it are read on their own.

    Raises:
      ManifestError: the header cannot be read, lacks the URI column, or names a column twice.
    """
    return DelimitedRows(location, uri_column, dialect).read(TakenLines(read_lines(file, location)))


class DelimitedRows:
    """Reads the rows of a CSV or TSV file, beginning with its header.

    Args:
      location: The location of the file.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      dialect: How fields are told from each other.

    Attributes:
      table: What the header says; None before it was read.
    """

    def __init__(self, location: str, uri_column: str | None, dialect: Dialect) -> None:
        self.table: Table | None = None
        self._location = location
        self._uri_column = uri_column
        self._dialect = dialect

    def read(self, lines: TakenLines, end: float = math.inf) -> Iterator[ManifestRow]:
        """Yields the rows that begin before a line, which is left in the lines, as all behind it.

        Raises what `read_delimited` does.
        """
        reader = self._reader(lines)
        while self.table is None:
            if not self._read_header(lines, reader):
                return
        table = self.table
        while (line := lines.begin()) is not None:
            if line.number >= end:
                lines.give_back(0)
                return
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
                        yield make_row(line.number, values, self._uri_column)
                    continue
                lines.give_back(1)
                yield table.bad_row(line, problem)

    def read_header(self, lines: TakenLines) -> None:
        """Reads what comes before the rows; raises what `read_delimited` does."""
        reader = self._reader(lines)
        while self.table is None and self._read_header(lines, reader):
            pass

    def _reader(self, lines: TakenLines) -> Iterator[list[str]]:
        csv.field_size_limit(2 * MAX_LINE)
        return csv.reader(
            lines,
            delimiter=self._dialect.delimiter,
            quoting=csv.QUOTE_MINIMAL if self._dialect.quotes else csv.QUOTE_NONE,
            strict=True,
        )

    def _read_header(self, lines: TakenLines, reader: Iterator[list[str]]) -> bool:
        """Takes a line of the preamble, or the header; returns whether there was one."""
        line = lines.begin()
        if line is not None and not is_preamble(line, self._location, self._dialect):
            self.table = _read_header(
                lines, reader, self._location, self._uri_column, self._dialect
            )
        return line is not None


class TakenLines:
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

    def give_back(self, kept: int) -> None:
        """Lets the next rows begin with the lines that were taken behind the first ones."""
        self._again.extendleft(reversed(self.taken[kept:]))

    def left(self) -> list[Line]:
        """Returns the lines that were given back and not taken again."""
        return list(self._again)

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
        return text_of(line)

    def _take(self) -> Line | None:
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is not None:
            self.taken.append(line)
            self._bytes += len(line.data)
        return line


def _read_header(
    lines: TakenLines,
    reader: Iterator[list[str]],
    location: str,
    uri_column: str | None,
    dialect: Dialect,
) -> Table:
    first = lines.taken[0]
    try:
        names = [name.strip() for name in next(reader)]
    except csv.Error as error:
        problem = _explain(error, lines.taken)
        raise ManifestError(f"The header of {location} cannot be read: {problem}.") from error
    for line in lines.taken[1:]:
        if text_of(line).count(dialect.delimiter) + 1 == len(names) > 1:
            raise ManifestError(
                f"The header of {location} cannot be read: a quote in line {first.number} is "
                f"closed in line {lines.taken[-1].number} only."
            )
    return table_of(names, first, location, uri_column, dialect)


def _explain(error: csv.Error, lines: list[Line]) -> str:
    if len(lines) > 1 or "end of data" in str(error):
        return f"a quote that opens in line {lines[0].number} is not closed as it should be"
    if "expected after" in str(error):
        return "there is text behind a closed quote; a quote within a field must be doubled"
    return f"the line is not CSV: {error}"
