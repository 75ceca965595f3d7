"""The headers of CSV and TSV files, and what they say about rows."""

from __future__ import annotations

import dataclasses
import os

from image_features.transforms.manifests.lines import MAX_LINE, Line
from image_features.transforms.manifests.rows import (
    IMAGE_SUFFIXES,
    ManifestError,
    ManifestRow,
    find_uri_column,
)

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


@dataclasses.dataclass(frozen=True)
class Table:
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
        return text_of(line).rstrip("\r\n").split(self.dialect.delimiter)


def table_of(
    names: list[str], line: Line, location: str, uri_column: str | None, dialect: Dialect
) -> Table:
    """Returns what a header says about rows.

    Args:
      names: The names of the columns.
      line: The line that the header begins in.
      location: The location of the file.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      dialect: How fields are told from each other.

    Raises:
      ManifestError: it lacks the URI column, names a column twice, or is not UTF-8.
    """
    # pandas writes an index without a name.
    names = [name or f"unnamed_{position}" for position, name in enumerate(names)]
    try:
        "".join(names).encode()
    except UnicodeEncodeError as error:
        raise ManifestError(
            f"The header of {location} is not UTF-8: {line.data[:80]!r}; save the file as UTF-8."
        ) from error
    try:
        uri = find_uri_column(names, uri_column, location)
    except ManifestError as error:
        raise ManifestError(f"{error}{_hint(names, dialect)}") from error
    if len(set(names)) < len(names):
        raise ManifestError(f"{location} names a column twice in its header {names!r:.500}.")
    return Table(names, names.index(uri), dialect)


def is_preamble(line: Line, location: str, dialect: Dialect) -> bool:
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


def text_of(line: Line) -> str:
    """Returns a line as text; a byte that is not UTF-8 is a surrogate."""
    return line.data.decode("utf-8", "surrogateescape")
