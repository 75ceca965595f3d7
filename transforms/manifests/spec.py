"""How the manifests of a run are read, the same way by every worker."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

from image_features.transforms.manifests.columns import Column, infer_columns
from image_features.transforms.manifests.formats import ManifestFormat, read_rows
from image_features.transforms.manifests.parquet import parquet_columns
from image_features.transforms.manifests.rows import ManifestRow, find_uri_column
from image_features.transforms.manifests.sources import Source, list_images
from image_features.transforms.stores.compression import Decompressed
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.values import ColumnValue

_SAMPLE_ROWS = 1000
_BLOCK = 2**20
_SAMPLE_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class ManifestSpec:
    """All that a worker needs to read the input the same way every time.

    Attributes:
      sources: The manifests and listings.
      columns: The passed-through columns.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      http: How manifests are fetched over http(s).
      version_column: The column that holds the images' versions; None if there is none.
      quotes: Whether fields of CSV and TSV may be in quotes; None stands for CSV only.
    """

    sources: tuple[Source, ...]
    columns: tuple[Column, ...] = ()
    uri_column: str | None = None
    http: HttpPolicy = HttpPolicy()
    version_column: str | None = None
    quotes: bool | None = None

    @property
    def schema(self) -> dict[str, Column]:
        """The passed-through columns by name."""
        return {column.name: column for column in self.columns}


def examine(
    sources: Sequence[Source],
    *,
    uri_column: str | None,
    declared: Mapping[str, Column],
    http: HttpPolicy,
    version_column: str | None = None,
    quotes: bool | None = None,
) -> tuple[ManifestSpec, bool]:
    """Reads the head of every source, for the types of the columns.

    Args:
      sources: The manifests and listings.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      declared: The columns whose types the user has declared, by name.
      http: How manifests are fetched over http(s).
      version_column: The column that holds the images' versions; None if there is none.
      quotes: Whether fields of CSV and TSV may be in quotes; None stands for CSV only.

    Returns:
      The spec to run with, and True if at least one row was seen.

    Raises:
      ValueError, OSError, transforms.stores.retries.FetchError: a source cannot be read.
    """
    schema: dict[str, Column] = {}
    any_row = False
    for source in sources:
        if source.format is None:
            any_row = any_row or next(list_images(source), None) is not None
            continue
        rows = read_rows(
            source.location,
            format=source.format,
            uri_column=uri_column,
            http=http,
            quotes=quotes,
        )
        head = _head(rows)
        rows.close()  # type: ignore[attr-defined]
        any_row = any_row or bool(head)
        for column in _columns_of(source, head, uri_column, http):
            first = schema.setdefault(column.name, column)
            if not first.holds_as(column) and column.name not in declared:
                raise ValueError(
                    f"Column {column.name!r} is {column.kind} in {source.location} and "
                    f"{first.kind} in another manifest; settle it with --column_types."
                )
            if column.nullable:
                schema[column.name] = column
    for name in declared:
        schema[name] = declared[name]
    if version_column and version_column not in schema:
        raise ValueError(
            f"No manifest has the column --version_column={version_column}; the columns are "
            f"{', '.join(schema) or 'none'}."
        )
    columns = tuple(schema.values())
    spec = ManifestSpec(tuple(sources), columns, uri_column, http, version_column, quotes)
    return spec, any_row


def check_whole(spec: ManifestSpec) -> None:
    """Reads the manifests that are compressed to their ends; damage hides all rows behind it.

    Raises:
      OSError, transforms.stores.retries.FetchError: a manifest cannot be read to its end.
    """
    for source in spec.sources:
        if source.format is not None:
            with open_binary(source.location, http=spec.http) as file:
                while isinstance(file, Decompressed) and file.read(_BLOCK):
                    pass


def _head(rows: Iterator[ManifestRow]) -> list[ManifestRow]:
    """Returns the first rows, fewer where they are large."""
    head: list[ManifestRow] = []
    size = 0
    for row in itertools.islice(rows, _SAMPLE_ROWS):
        head.append(row)
        size += len(row.uri) + sum(
            len(value) for value in row.values.values() if isinstance(value, str | bytes | list)
        )
        if size > _SAMPLE_BYTES:
            break
    return head


def _columns_of(
    source: Source, head: list[ManifestRow], uri_column: str | None, http: HttpPolicy
) -> list[Column]:
    samples: list[dict[str, ColumnValue]] = [row.values for row in head if not row.problem]
    if source.format is ManifestFormat.PARQUET:
        exact = parquet_columns(source.location, http=http)
        exact.pop(find_uri_column(list(exact), uri_column, source.location))
        return list(exact.values())
    if source.format is ManifestFormat.JSONL and head and not samples:
        raise ValueError(
            f"None of the first {len(head)} rows of {source.location} names an image: "
            f"{head[0].problem}."
        )
    return list(infer_columns(samples).values())
