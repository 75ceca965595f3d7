"""Reads the rows of one manifest file: text, CSV, TSV, JSONL or Parquet."""

from __future__ import annotations

import base64
import csv
import dataclasses
import datetime
import decimal
import enum
import io
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.uris import is_http
from image_features.transforms.values import ColumnValue

URI_COLUMNS = ("uri", "url", "image_uri", "image_url", "path", "file", "filename")
ERROR_FIELDS = ("key", "stage", "reason", "message", "attempts")
COLLISION_PREFIX = "column/"
_ERRORS_SHARD = re.compile(r"(^|/)errors-\d{5,}-of-\d{5,}\.jsonl$")
# No manifest column can have this name: it stands for the URI of an errors shard's row.
_ERRORS_URI = "\0uri"
_MAX_FIELD = 16 * 2**20


class ManifestError(ValueError):
    """A manifest that cannot be read at all; the message is for the user."""


class ManifestFormat(enum.StrEnum):
    """The formats that a manifest may have."""

    TEXT = "text"
    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_SUFFIXES = {
    "txt": ManifestFormat.TEXT,
    "lst": ManifestFormat.TEXT,
    "list": ManifestFormat.TEXT,
    "csv": ManifestFormat.CSV,
    "tsv": ManifestFormat.TSV,
    "jsonl": ManifestFormat.JSONL,
    "ndjson": ManifestFormat.JSONL,
    "parquet": ManifestFormat.PARQUET,
}


@dataclasses.dataclass(frozen=True)
class ManifestRow:
    """One row of a manifest.

    Attributes:
      number: The 1-based number of the row or line.
      uri: The location of an image, as the manifest spells it.
      values: The other columns' values by name.
      problem: What is wrong with the row; empty if it can be used.
    """

    number: int
    uri: str = ""
    values: dict[str, ColumnValue] = dataclasses.field(default_factory=dict)
    problem: str = ""


def format_of(location: str) -> ManifestFormat | None:
    """Returns the format that a location's suffix names, or None if it names none."""
    path = location.split("?", 1)[0] if is_http(location) else location
    name = path.lower().rsplit("/", 1)[-1].removesuffix(".gz")
    return _SUFFIXES.get(name.rsplit(".", 1)[-1]) if "." in name else None


def read_rows(
    location: str, *, format: ManifestFormat, uri_column: str | None, http: HttpPolicy
) -> Iterator[ManifestRow]:
    """Yields the rows of a manifest; blank lines and comments are no rows.

    Args:
      location: The location of the manifest.
      format: The format of the manifest.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      http: How to fetch it over http(s).

    Raises:
      ManifestError: the file is not what its format says, or lacks the URI column.
    """
    seekable = format is ManifestFormat.PARQUET
    with open_binary(location, http=http, seekable=seekable) as file:
        if format is ManifestFormat.TEXT:
            yield from _text(file)
        elif format is ManifestFormat.JSONL:
            yield from _jsonl(file, location, uri_column)
        elif format is ManifestFormat.PARQUET:
            yield from _parquet(file, location, uri_column)
        else:
            delimiter = "," if format is ManifestFormat.CSV else "\t"
            yield from _csv(file, location, uri_column, delimiter)


def parquet_columns(location: str, *, http: HttpPolicy) -> dict[str, Column]:
    """Returns the columns of a Parquet manifest by name, as its schema has them.

    A column may be absent from a row where the statistics count nulls, or count nothing.

    Raises:
      ManifestError: the file is not Parquet.
    """
    import pyarrow.parquet as pq

    with open_binary(location, http=http, seekable=True) as file:
        try:
            parquet = pq.ParquetFile(file)
        except Exception as error:
            raise ManifestError(f"{location} is not a Parquet file: {error}.") from error
        nullable = set()
        for group in range(parquet.metadata.num_row_groups):
            for index in range(parquet.metadata.num_columns):
                column = parquet.metadata.row_group(group).column(index)
                statistics = column.statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    nullable.add(column.path_in_schema.split(".", 1)[0])
        return {
            field.name: _arrow_column(field, nullable=field.name in nullable)
            for field in parquet.schema_arrow
        }


def _arrow_column(field: Any, *, nullable: bool) -> Column:
    import pyarrow.types as types

    repeated = types.is_list(field.type) or types.is_large_list(field.type)
    inner = field.type.value_type if repeated else field.type
    if types.is_boolean(inner):
        kind = Kind.BOOL
    elif types.is_integer(inner):
        kind = Kind.INT64
    elif types.is_floating(inner):
        kind = Kind.FLOAT32
    elif types.is_binary(inner) or types.is_large_binary(inner):
        kind = Kind.BYTES
    else:
        kind = Kind.STRING
    return Column(field.name, kind, repeated, nullable)


def _text(file: IO[bytes]) -> Iterator[ManifestRow]:
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            yield ManifestRow(number, problem=f"the line is not UTF-8: {line[:80]!r}")
            continue
        if text and not text.startswith("#"):
            yield ManifestRow(number, text)


def _jsonl(file: IO[bytes], location: str, uri_column: str | None) -> Iterator[ManifestRow]:
    is_errors_shard = bool(_ERRORS_SHARD.search(location))
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except (ValueError, RecursionError) as error:
            yield ManifestRow(number, problem=f"the line is not JSON ({error}): {line[:80]!r}")
            continue
        if not isinstance(values, dict):
            yield ManifestRow(number, problem=f"the line is not a JSON object: {line[:80]!r}")
            continue
        column = uri_column
        if is_errors_shard:
            # Every errors shard has the URI in `uri`, whatever the first manifest called it.
            for name in ERROR_FIELDS:
                values.pop(name, None)
            column = _ERRORS_URI
            values[column] = values.pop("uri", None)
            values = {name.removeprefix(COLLISION_PREFIX): v for name, v in values.items()}
        yield _row(number, {k: _plain(v) for k, v in values.items()}, column)


def _csv(
    file: IO[bytes], location: str, uri_column: str | None, delimiter: str
) -> Iterator[ManifestRow]:
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
        yield _row(reader.line_num, dict(zip(header, fields, strict=True)), uri_column)


def _parquet(file: IO[bytes], location: str, uri_column: str | None) -> Iterator[ManifestRow]:
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file)
    except Exception as error:
        raise ManifestError(f"{location} is not a Parquet file: {error}.") from error
    names = parquet.schema_arrow.names
    find_uri_column(names, uri_column, location)
    number = 0
    for batch in parquet.iter_batches(batch_size=4096):
        for values in batch.to_pylist():
            number += 1
            yield _row(number, {k: _plain(v) for k, v in values.items()}, uri_column)


def find_uri_column(names: list[str], wanted: str | None, location: str) -> str:
    """Returns the name of the column that holds the URIs.

    Raises:
      ManifestError: there is none.
    """
    for name in (wanted,) if wanted else URI_COLUMNS:
        if name in names:
            return name
    looked = wanted or ", ".join(URI_COLUMNS)
    raise ManifestError(
        f"{location} has no URI column (looked for {looked}); its columns are "
        f"{', '.join(map(repr, names))}: name the right one with --uri_column."
    )


def _row(number: int, values: dict[str, ColumnValue], uri_column: str | None) -> ManifestRow:
    try:
        name = find_uri_column(list(values), uri_column, "the row")
    except ManifestError as error:
        return ManifestRow(number, values=values, problem=str(error))
    uri = values.pop(name)
    if not isinstance(uri, str) or not uri.strip():
        shown = name.lstrip("\0")
        return ManifestRow(
            number, values=values, problem=f"column {shown!r} holds no URI but {uri!r:.80}"
        )
    return ManifestRow(number, uri.strip(), values)


def _plain(value: Any) -> ColumnValue:
    """Converts a JSON or Arrow value to one that a record can hold."""
    if isinstance(value, dict):
        if set(value) == {"base64"} and isinstance(value["base64"], str):
            try:
                return base64.b64decode(value["base64"], validate=True)
            except ValueError:
                pass
        return json.dumps(value, sort_keys=True, default=str)
    if isinstance(value, list):
        return [
            item if isinstance(item, int | float | str | bytes) else json.dumps(item, default=str)
            for item in value
        ]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return value
