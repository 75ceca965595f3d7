"""Manifests in Parquet."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, Protocol, cast

from image_features.transforms.archives.arrow import leaves
from image_features.transforms.archives.parquet_file import (
    DamagedParquetError,
    OpenParquet,
    open_parquet,
    told_damage,
)
from image_features.transforms.manifests.arrow_types import (
    check_type,
    column_of,
    is_null,
    is_uint64,
    names_text,
)
from image_features.transforms.manifests.arrow_values import Unreadable, values_of
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.manifests.plain import PlainRows
from image_features.transforms.manifests.rows import (
    ManifestError,
    ManifestRow,
    Part,
    find_uri_column,
    make_row,
    unread_row,
)
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy

_BATCH_ROWS = 4096
_FEW_ROWS = 256


def parquet_columns(location: str, *, http: HttpPolicy) -> tuple[dict[str, Column], set[str]]:
    """Returns the columns of a Parquet manifest by name, and which of them can hold nulls only.

    A column may be absent from a row where the statistics count nulls, or count nothing. Unsigned
    integers are text where the statistics tell of one that int64 cannot hold.

    Raises:
      ManifestError: the file is not Parquet, or has columns that cannot be read.
    """
    with open_binary(location, http=http, seekable=True) as file:
        return columns_of(_open(file, location), location)


def columns_of(
    opened: OpenParquet, location: str, without: str | None = None
) -> tuple[dict[str, Column], set[str]]:
    """Returns what `parquet_columns` does, but for one column that is not to be looked at."""
    columns = {}
    begin = 0
    for field in opened.schema:
        # Columns count by their places: a name may have dots, as a path has.
        end = begin + leaves(field.type)
        places, begin = range(begin, end), end
        if field.name == without:
            continue
        with _named(location):
            parts = [part for index in places for part in _parts(opened, index)]
        column = column_of(field, nullable=any(map(_may_be_null, parts)))
        if is_uint64(field.type) and any(map(_exceeds_int64, parts)):
            column = dataclasses.replace(column, kind=Kind.STRING)
        columns[field.name] = column
    return columns, {field.name for field in opened.schema if is_null(field.type)} - {without}


class ReadBatch(Protocol):
    """Takes the columns of some rows at once, or gives None where a row may be odd."""

    def __call__(
        self, number: int, names: Sequence[str], arrays: Sequence[Any], uri_name: str
    ) -> PlainRows | None: ...


def read_parquet(file: IO[bytes], location: str, uri_column: str | None) -> Iterator[ManifestRow]:
    """Yields the rows of a Parquet file; those of a damaged group are bad rows.

    Raises:
      ManifestError: the file is not Parquet, is damaged, lacks the URI column, or names one twice.
    """
    rows = read_batches(file, location, uri_column, lambda *_: None)
    return cast("Iterator[ManifestRow]", rows)


def read_batches(
    file: IO[bytes],
    location: str,
    uri_column: str | None,
    take: ReadBatch,
    part: Part | None = None,
) -> Iterator[PlainRows | ManifestRow]:
    """Yields rows as `read_parquet` does, many at once where they can be taken so.

    Args:
      file: The file.
      location: The location of the file.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      take: Takes many rows.
      part: The groups to read; None for all.

    Raises what `read_parquet` does.
    """
    opened = _open(file, location)
    schema = opened.schema
    uri_name = find_uri_column(schema.names, uri_column, location)
    uri_type = schema.field(uri_name).type
    if not names_text(uri_type):
        raise ManifestError(
            f"The column {uri_name!r} of {location} is {uri_type}, which is no text; name the "
            "column of URIs with --uri_column."
        )
    sizes = opened.group_sizes()
    begin, stop, number = (part or Part(0, len(sizes), 0))[:3]
    for group in range(begin, stop):
        end = number + sizes[group]
        try:
            for batch in _batches(opened, group):
                for piece in _pieces(number, batch, schema.names, uri_name, take):
                    yield piece
                    number += len(piece) if isinstance(piece, PlainRows) else 1
        except DamagedParquetError as error:
            if not number:
                raise ManifestError(f"{location} cannot be read: {error}.") from error
            for lost in range(number + 1, end + 1):
                yield unread_row(lost, f"it is in a group of rows that is damaged: {error}")
            number = end


def _pieces(
    number: int, batch: list[Any], names: list[str], uri_name: str, take: ReadBatch
) -> Iterator[PlainRows | ManifestRow]:
    """Yields the rows of a batch, in which an odd row costs few others."""
    found = take(number + 1, names, batch, uri_name)
    if found is not None:
        yield found
    elif len(batch[0]) > _FEW_ROWS:
        for start in range(0, len(batch[0]), _FEW_ROWS):
            part = [array.slice(start, _FEW_ROWS) for array in batch]
            yield from _pieces(number + start, part, names, uri_name, take)
    else:
        for at, row in enumerate(zip(*map(values_of, batch), strict=True), number + 1):
            yield _row(at, names, row, uri_name)


@contextlib.contextmanager
def _named(location: str) -> Iterator[None]:
    """Says in which manifest a column cannot be used."""
    try:
        yield
    except ManifestError as error:
        raise ManifestError(f"{location} cannot be read, since {error}.") from error


def _row(number: int, names: list[str], row: tuple[Any, ...], uri_name: str) -> ManifestRow:
    values = dict(zip(names, row, strict=True))
    problem = take_unreadable(values)
    made = make_row(number, values, uri_name)
    if not problem:
        return made
    return dataclasses.replace(made, problem=made.problem or problem, unread=not made.uri)


def take_unreadable(values: dict[str, Any]) -> str:
    """Replaces the values of a row that cannot be carried; returns what is wrong, or nothing."""
    problem = ""
    for name, value in values.items():
        if type(value) is Unreadable:
            problem = problem or f"column {name!r} {value.problem}"
            values[name] = value.value
    return problem


def _parts(opened: OpenParquet, index: int) -> Iterator[Any]:
    """Yields the statistics of a stored column, one of each group of rows."""
    stored = opened.parquet.schema.column(index).physical_type
    for group, rows in enumerate(opened.group_sizes()):
        if rows:
            try:
                part = opened.part(group, index)
            except DamagedParquetError as error:
                raise ManifestError(f"the footer is damaged: {error}") from error
            if part.physical_type != stored:
                # Asked for statistics, pyarrow would end the process.
                raise ManifestError(f"the footer is damaged at the column {part.path_in_schema!r}")
            yield part.statistics


def _may_be_null(statistics: Any) -> bool:
    return statistics is None or not statistics.has_null_count or statistics.null_count > 0


def _exceeds_int64(statistics: Any) -> bool:
    return statistics is not None and statistics.has_min_max and statistics.max >= 2**63


def _open(file: IO[bytes], location: str) -> OpenParquet:
    """Opens a manifest in Parquet."""
    try:
        opened = open_parquet(file)
    except Exception as error:
        problem = " ".join(str(error).split()).rstrip(".")
        raise ManifestError(f"{location} cannot be read as Parquet: {problem}.") from error
    check_schema(opened.schema, location)
    return opened


def check_schema(schema: Any, location: str) -> None:
    """Refuses columns that cannot be read.

    Raises:
      ManifestError: values of a column have no spelling, or two columns have one name.
    """
    with _named(location):
        for field in schema:
            check_type(field.name, field.type)
    names = schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ManifestError(f"{location} names the column {twice!r} twice; rename one of them.")


def _batches(opened: OpenParquet, group: int) -> Iterator[list[Any]]:
    """Yields the columns of some rows of a group at a time, as the schema has them.

    Raises:
      DamagedParquetError: what is left of the group cannot be read.
    """
    with told_damage():
        for batch in opened.parquet.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group]):
            yield as_typed(batch.columns, opened.schema.types)


def as_typed(arrays: Iterable[Any], types: Iterable[Any]) -> list[Any]:
    """Returns the arrays of a batch as the schema has them."""
    return [
        array if array.type == type_ else array.cast(type_)
        for array, type_ in zip(arrays, types, strict=True)
    ]
