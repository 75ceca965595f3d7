"""Manifests of delimited fields: CSV and TSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import IO

from image_features.transforms.manifests.rows import (
    ManifestError,
    ManifestRow,
    find_uri_column,
    make_row,
)

_MAX_FIELD = 16 * 2**20


def read_delimited(
    file: IO[bytes], location: str, uri_column: str | None, delimiter: str
) -> Iterator[ManifestRow]:
    """Yields the rows of a CSV or TSV file.

    Raises:
      ManifestError: the header lacks the URI column, or names a column twice.
    """
    csv.field_size_limit(_MAX_FIELD)
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, delimiter=delimiter)
    header: list[str] | None = None
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield ManifestRow(reader.line_num, problem=f"the line is not CSV: {error}")
            continue
        if not any(field.strip() for field in fields) or fields[0].startswith("#"):
            continue
        if header is None:
            header = [name.strip() for name in fields]
            find_uri_column(header, uri_column, location)
            if len(set(header)) < len(header):
                raise ManifestError(f"{location} names a column twice in its header {header}.")
            continue
        if len(fields) != len(header):
            problem = f"the row has {len(fields)} fields where the header has {len(header)}"
            yield ManifestRow(reader.line_num, problem=problem)
            continue
        yield make_row(reader.line_num, dict(zip(header, fields, strict=True)), uri_column)
