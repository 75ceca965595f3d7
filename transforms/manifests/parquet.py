"""Manifests in Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.manifests.rows import (
    ManifestError,
    ManifestRow,
    find_uri_column,
    make_row,
    plain,
)
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy


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


def read_parquet(file: IO[bytes], location: str, uri_column: str | None) -> Iterator[ManifestRow]:
    """Yields the rows of a Parquet file.

    Raises:
      ManifestError: the file is not Parquet, or lacks the URI column.
    """
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
            yield make_row(number, {k: plain(v) for k, v in values.items()}, uri_column)
