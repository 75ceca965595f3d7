"""Manifests in Parquet."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from typing import IO, Any

from image_features.transforms.manifests.arrow_types import (
    check_type,
    column_of,
    has_fixed_lists,
    is_null,
    is_uint64,
    leaves,
    names_text,
    with_plain_lists,
)
from image_features.transforms.manifests.arrow_values import Unreadable, values_of
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.manifests.rows import (
    ManifestError,
    ManifestRow,
    find_uri_column,
    make_row,
    unread_row,
)
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy

_BATCH_ROWS = 4096
_ARROW_SCHEMA = b"ARROW:schema"


class _DamagedGroupError(Exception):
    """A group of rows of which some, or all, cannot be read."""


def parquet_columns(location: str, *, http: HttpPolicy) -> tuple[dict[str, Column], set[str]]:
    """Returns the columns of a Parquet manifest by name, and which of them can hold nulls only.

    A column may be absent from a row where the statistics count nulls, or count nothing. Unsigned
    integers are text where the statistics tell of one that int64 cannot hold.

    Raises:
      ManifestError: the file is not Parquet, or has columns that cannot be read.
    """
    with open_binary(location, http=http, seekable=True) as file:
        parquet, schema = _open(file, location)
        columns = {}
        begin = 0
        for field in schema:
            # Columns count by their places: a name may have dots, as a path has.
            end = begin + leaves(field.type)
            with _named(location):
                parts = [part for index in range(begin, end) for part in _parts(parquet, index)]
            begin = end
            column = column_of(field, nullable=any(map(_may_be_null, parts)))
            if is_uint64(field.type) and any(map(_exceeds_int64, parts)):
                column = dataclasses.replace(column, kind=Kind.STRING)
            columns[field.name] = column
        return columns, {field.name for field in schema if is_null(field.type)}


def read_parquet(file: IO[bytes], location: str, uri_column: str | None) -> Iterator[ManifestRow]:
    """Yields the rows of a Parquet file; those of a damaged group are bad rows.

    Raises:
      ManifestError: the file is not Parquet, is damaged, lacks the URI column, or names one twice.
    """
    parquet, schema = _open(file, location)
    uri_name = find_uri_column(schema.names, uri_column, location)
    uri_type = schema.field(uri_name).type
    if not names_text(uri_type):
        raise ManifestError(
            f"The column {uri_name!r} of {location} is {uri_type}, which is no text; name the "
            "column of URIs with --uri_column."
        )
    number = 0
    for group in range(parquet.metadata.num_row_groups):
        end = number + parquet.metadata.row_group(group).num_rows
        try:
            for batch in _batches(parquet, schema, group):
                for row in zip(*map(values_of, batch), strict=True):
                    number += 1
                    yield _row(number, schema.names, row, uri_name)
        except _DamagedGroupError as error:
            if not number:
                raise ManifestError(f"{location} cannot be read: {error}.") from error
            for lost in range(number + 1, end + 1):
                yield unread_row(lost, f"it is in a group of rows that is damaged: {error}")
            number = end


@contextlib.contextmanager
def _named(location: str) -> Iterator[None]:
    """Says in which manifest a column cannot be used."""
    try:
        yield
    except ManifestError as error:
        raise ManifestError(f"{location} cannot be read, since {error}.") from error


def _row(number: int, names: list[str], row: tuple[Any, ...], uri_name: str) -> ManifestRow:
    values = dict(zip(names, row, strict=True))
    problem = ""
    for name, value in values.items():
        if type(value) is Unreadable:
            problem = problem or f"column {name!r} {value.problem}"
            values[name] = value.value
    made = make_row(number, values, uri_name)
    if not problem:
        return made
    return dataclasses.replace(made, problem=made.problem or problem, unread=not made.uri)


def _parts(parquet: Any, index: int) -> Iterator[Any]:
    """Yields the statistics of a stored column, one of each group of rows."""
    stored = parquet.schema.column(index).physical_type
    for number in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(number)
        if group.num_rows:
            part = group.column(index)
            if part.physical_type != stored:
                # Asked for statistics, pyarrow would end the process.
                raise ManifestError(f"the footer is damaged at the column {part.path_in_schema!r}")
            yield part.statistics


def _may_be_null(statistics: Any) -> bool:
    return statistics is None or not statistics.has_null_count or statistics.null_count > 0


def _exceeds_int64(statistics: Any) -> bool:
    return statistics is not None and statistics.has_min_max and statistics.max >= 2**63


def _open(file: IO[bytes], location: str) -> tuple[Any, Any]:
    """Opens a Parquet file; returns it and its schema, which is that of its batches."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        schema = parquet.schema_arrow
        names = schema.names
        if any(map(has_fixed_lists, schema.types)):
            parquet = pq.ParquetFile(
                file, metadata=_as_stored(parquet.metadata), page_checksum_verification=True
            )
            schema = pa.schema([f.with_type(with_plain_lists(f.type)) for f in schema])
    except Exception as error:
        problem = " ".join(str(error).split()).rstrip(".")
        raise ManifestError(f"{location} cannot be read as Parquet: {problem}.") from error
    with _named(location):
        for field in schema:
            check_type(field.name, field.type)
    twice = next((name for name in names if names.count(name) > 1), None)
    groups = range(parquet.metadata.num_row_groups)
    if sum(parquet.metadata.row_group(n).num_rows for n in groups) != parquet.metadata.num_rows:
        raise ManifestError(f"{location} cannot be read as Parquet: its footer is damaged.")
    if twice is not None:
        raise ManifestError(f"{location} names the column {twice!r} twice; rename one of them.")
    return parquet, schema


def _as_stored(metadata: Any) -> Any:
    """Returns a file's metadata without the types that Arrow has written beside Parquet's own.

    With them, pyarrow reads no list of a fixed size that has a null for a neighbour.
    """
    import pyarrow.parquet as pq

    data = io.BytesIO()
    metadata.write_metadata_file(data)
    plain = data.getvalue().replace(_ARROW_SCHEMA, _ARROW_SCHEMA.lower())
    return pq.read_metadata(io.BytesIO(plain))


def _batches(parquet: Any, schema: Any, group: int) -> Iterator[list[Any]]:
    """Yields the columns of some rows of a group at a time, as the schema has them.

    Raises:
      _DamagedGroupError: what is left of the group cannot be read.
    """
    import pyarrow as pa

    try:
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group]):
            yield [
                array if array.type == type_ else array.cast(type_)
                for array, type_ in zip(batch.columns, schema.types, strict=True)
            ]
    except (OSError, pa.ArrowException) as error:
        # What the file itself raises, such as a network's errors, is of other types or has numbers.
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        raise _DamagedGroupError(" ".join(str(error).split()).rstrip(".")) from error
