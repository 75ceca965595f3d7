"""The rows of Parquet files: images that lie in a column, or the URIs of others."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from image_features.transforms.archives.arrow import leaves
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.parquet import Group, groups_of, row_name
from image_features.transforms.archives.parquet_column import (
    ImageColumn,
    ImageColumnError,
    find_image_column,
    is_ours,
)
from image_features.transforms.archives.parquet_file import (
    DamagedParquetError,
    OpenParquet,
    open_guarded,
    open_parquet,
)
from image_features.transforms.archives.spans import Spans
from image_features.transforms.manifests.arrow_types import names_text
from image_features.transforms.manifests.arrow_values import values_of
from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.parquet import (
    as_typed,
    check_schema,
    columns_of,
    parquet_columns,
    read_parquet,
    take_unreadable,
)
from image_features.transforms.manifests.rows import (
    UNREADABLE,
    URI_COLUMNS,
    ManifestRow,
    find_uri_column,
    shown_names,
)
from image_features.transforms.stores import versions
from image_features.transforms.stores.compression import without_suffix
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import MIB, HttpPolicy
from image_features.transforms.stores.members import ArchiveFormat, archive_format, join_member
from image_features.transforms.stores.ranged import RangedFile, open_ranged
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import redact_uri
from image_features.transforms.values import ColumnValue, Reason

_BATCH_ROWS = 512
_BATCH_BYTES = 8 * MIB
# Values of the other columns are small beside images.
_MAX_VALUE = 16 * MIB


@dataclasses.dataclass(frozen=True)
class ParquetInput:
    """A Parquet file, and what was said of it.

    Attributes:
      location: The location of the file.
      http: How to fetch it over http(s).
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      archives: Which column holds images.
      listed: Whether a listing has it: it is no input then if it holds no images.
    """

    location: str
    http: HttpPolicy
    uri_column: str | None
    archives: ArchiveOptions
    listed: bool

    def rows(self, read: Callable[..., Iterator[Any]] = read_parquet) -> Iterator[Any]:
        """Yields the rows: its images, or the images that it names.

        Args:
          read: Reads a file that names images, as `read_parquet` does.

        Raises:
          ManifestError: it is not Parquet, is damaged, or has no column of either kind.
          ImageColumnError: nobody knows which column is meant.
          FetchError, OSError: it cannot be read.
        """
        try:
            with self._packed() as packed:
                if packed is not None:
                    yield from packed.rows()
                    return
        except DamagedParquetError as error:
            if not self.listed:
                raise
            problem = f"{redact_uri(self.location)} cannot be read as Parquet: {error}"
            yield ManifestRow(0, self.location, problem=problem, unread=True, reason=error.reason)
            return
        if not self.listed:
            with open_binary(self.location, http=self.http, seekable=True) as file:
                yield from read(file, self.location, self.uri_column)

    def group_sizes(self) -> list[int]:
        """Returns the rows of each group of a manifest; none if it must be read as a whole.

        Raises what `rows` does.
        """
        with self._packed() as packed:
            if packed is not None:
                return []
        with open_binary(self.location, http=self.http, seekable=True) as file:
            return open_parquet(file).group_sizes()

    def packed_columns(self) -> tuple[int, dict[str, Column], set[str]] | None:
        """Returns the number of images, and what `columns` does; None if it holds no images.

        Raises what `rows` does.
        """
        try:
            with self._packed() as packed:
                return None if packed is None else packed.columns()
        except DamagedParquetError:
            return None  # The rows say what is wrong.

    def columns(self) -> tuple[dict[str, Column], set[str]]:
        """Returns the other columns of a manifest by name, and which can hold nulls only.

        Raises what `rows` does.
        """
        if self.listed:
            return {}, set()
        columns, unknown = parquet_columns(self.location, http=self.http)
        columns.pop(find_uri_column(list(columns), self.uri_column, self.location))
        return columns, unknown

    @contextlib.contextmanager
    def _packed(self) -> Iterator[_PackedImages | None]:
        """Opens the file if it holds images; yields None if it does not.

        Raises:
          DamagedParquetError: a file that is listed cannot be read.
        """
        with contextlib.ExitStack() as stack:
            packed = None
            try:
                packed = self._open(stack)
            except (DamagedParquetError, FetchError, OSError):
                # A file that is named itself is read as a manifest, which says what is wrong.
                if self.listed:
                    raise
            yield packed

    def _open(self, stack: contextlib.ExitStack) -> _PackedImages | None:
        if without_suffix(self.location) != self.location:
            return None  # What is compressed as a whole cannot be read in parts.
        file = stack.enter_context(open_ranged(self.location, http=self.http))
        opened = open_guarded(file, max_bytes=_MAX_VALUE)
        column = self._image_column(opened, file)
        if column is None:
            return None
        if archive_format(self.location) is not ArchiveFormat.PARQUET:
            raise ImageColumnError(
                f"{file.shown} holds images in the column {column.name!r}; rename it so that it "
                "ends in .parquet, by which the URIs of its images are told."
            )
        check_schema(opened.schema, self.location)
        return _PackedImages(file, opened, column)

    def _image_column(self, opened: OpenParquet, file: RangedFile) -> ImageColumn | None:
        """Returns the column of images, or None if the file names images by their URIs.

        Raises:
          ImageColumnError: it may be either.
        """
        names = opened.schema.names
        wanted = self.archives.column if self.archives.column in names else ""
        if self.uri_column in names and not wanted:
            return None
        column = find_image_column(opened, self.archives.column, file.shown)
        uris = [
            name
            for name in ((self.uri_column,) if self.uri_column else URI_COLUMNS)
            if name in names and names_text(opened.schema.field(name).type)
        ]
        if column is None:
            if self.archives.column and not uris and not self.listed:
                raise ImageColumnError(
                    f"{file.shown} has no column --image_column={self.archives.column}; its "
                    f"columns are {shown_names(names)}."
                )
            return None
        uris = [name for name in uris if name != column.name]
        if uris and not wanted and (self.uri_column or not is_ours(opened)):
            raise ImageColumnError(
                f"{file.shown} holds images in the column {column.name!r} and URIs in the column "
                f"{uris[0]!r}; say --image_column={column.name} or --uri_column={uris[0]}."
            )
        return column


class _PackedImages:
    """A Parquet file that holds images."""

    def __init__(self, file: RangedFile, opened: OpenParquet, column: ImageColumn) -> None:
        self._file = file
        self._opened = opened
        self._column = column
        self._fields = [field for field in opened.schema if field.name != column.name]
        self._leaves: list[int] = []
        begin = 0
        for field in opened.schema:
            end = begin + leaves(field.type)
            if field.name != column.name:
                self._leaves += range(begin, end)
            begin = end

    def rows(self) -> Iterator[ManifestRow]:
        spans = Spans(whole=not self._file.in_parts)
        for group in groups_of(self._opened, self._column):
            yield from self._rows(group, spans)

    def columns(self) -> tuple[int, dict[str, Column], set[str]]:
        columns, unknown = columns_of(self._opened, self._file.uri, self._column.name)
        # Only some of many files are looked at.
        nullable = {n: dataclasses.replace(c, nullable=True) for n, c in columns.items()}
        return self._opened.metadata.num_rows, nullable, unknown

    def _rows(self, group: Group, spans: Spans) -> Iterator[ManifestRow]:
        version = versions.of_member(self._file.version, group.detail)
        row, end = group.first, group.first + group.rows
        damage = "ends before its last row"
        try:
            for values in self._values(group):
                if row == end:
                    break
                problem = take_unreadable(values)
                place = spans.place(row, group.typical_size, group.begin)
                uri = join_member(self._file.uri, row_name(row))
                row += 1
                yield ManifestRow(row, uri, values, problem, version=version, place=place)
        except DamagedParquetError as error:
            damage = f"is damaged: {error}"
        for lost in range(row, end):
            yield ManifestRow(
                lost + 1,
                join_member(self._file.uri, row_name(lost)),
                dict.fromkeys((field.name for field in self._fields), UNREADABLE),
                f"the group of rows that has its other columns {damage}",
                reason=Reason.CORRUPT_ARCHIVE,
            )

    def _values(self, group: Group) -> Iterator[dict[str, ColumnValue]]:
        """Yields the values of the other columns, row by row."""
        if not self._fields:
            for _ in range(group.rows):
                yield {}
            return
        names = [field.name for field in self._fields]
        types = [field.type for field in self._fields]
        rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * group.rows // self._bytes(group)))
        for batch in self._opened.batches(group.number, self._leaves, rows=rows):
            for row in zip(*map(values_of, as_typed(batch.columns, types)), strict=True):
                yield dict(zip(names, row, strict=True))

    def _bytes(self, group: Group) -> int:
        """Returns the bytes that the other columns of a group take in memory, at least one."""
        parts = (self._opened.part(group.number, leaf) for leaf in self._leaves)
        return sum(max(0, part.total_uncompressed_size) for part in parts) or 1
