"""Manifests of one URI a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO

from image_features.transforms.manifests.lines import Line, read_lines, too_long
from image_features.transforms.manifests.rows import ManifestRow, unread_row

_BOM = "\ufeff"  # Files that begin with one may have been concatenated.


def read_text(file: IO[bytes], location: str) -> Iterator[ManifestRow]:
    """Yields the rows of a text file: a URI a line.

    Raises:
      ManifestError: the file is not UTF-8.
    """
    return text_rows(read_lines(file, location))


def text_rows(lines: Iterable[Line]) -> Iterator[ManifestRow]:
    """Yields the rows of some lines."""
    for line in lines:
        data = line.data.strip()
        try:
            # Whoever takes the row sees that a line that was cut is too long for a URI.
            text = data.decode(errors="replace" if line.cut else "strict").lstrip(_BOM).strip()
        except UnicodeDecodeError:
            yield unread_row(line.number, f"the line is not UTF-8: {line.data[:80]!r}")
            continue
        if line.cut and not text:
            yield too_long(line)
        elif text and not text.startswith("#"):
            yield ManifestRow(line.number, text)
