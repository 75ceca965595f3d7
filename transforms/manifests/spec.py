"""How the manifests of a run are read, the same way by every worker."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence, Set

from image_features.transforms.archives.options import FOUND, ArchiveOptions
from image_features.transforms.manifests.columns import Column, infer_columns, without_values
from image_features.transforms.manifests.formats import ManifestFormat, read_rows
from image_features.transforms.manifests.packed_parquet import ParquetInput
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.manifests.sources import Source, list_images, with_archives
from image_features.transforms.stores import libraries
from image_features.transforms.stores.compression import Decompressed
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy

_SAMPLE_ROWS = 1000
# What is between the members of an archive is read, too.
_SAMPLE_MEMBERS = 100
_SAMPLE_ARCHIVES = 32
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
      archives: Which members or columns of archives are images.
    """

    sources: tuple[Source, ...]
    columns: tuple[Column, ...] = ()
    uri_column: str | None = None
    http: HttpPolicy = HttpPolicy()
    version_column: str | None = None
    quotes: bool | None = None
    archives: ArchiveOptions = ArchiveOptions()

    @property
    def schema(self) -> dict[str, Column]:
        """The passed-through columns by name."""
        return {column.name: column for column in self.columns}


@dataclasses.dataclass(frozen=True)
class Examined:
    """What the heads of all sources tell.

    Attributes:
      spec: The spec to run with.
      any_row: Whether at least one row was seen.
      unseen: The columns that the user has declared and that no source has.
    """

    spec: ManifestSpec
    any_row: bool
    unseen: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Head:
    """What the first rows of a source tell of its columns.

    Attributes:
      source: The source.
      rows: The number of rows that were read; 1 for a listing, which is looked at in the end.
      columns: The columns by name.
      undecided: The names of those columns of which no value was seen.
      complete: Whether there can be no other columns further down.
    """

    source: Source
    rows: int = 1
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    undecided: Set[str] = frozenset()
    complete: bool = True

    def lacks(self, name: str) -> bool:
        """Whether rows of the source have no such column, as far as was read."""
        return bool(self.rows) and name not in self.columns

    def excludes(self, column: Column) -> bool:
        """Whether a declared column is not in the source, or all rows that were read lack it."""
        if self.complete or (self.rows and not column.nullable):
            return column.name not in self.columns
        return False


def examine(
    sources: Sequence[Source],
    *,
    uri_column: str | None,
    declared: Mapping[str, Column],
    http: HttpPolicy,
    version_column: str | None = None,
    earlier: Mapping[str, Column] | None = None,
    quotes: bool | None = None,
    archives: ArchiveOptions = FOUND,
) -> Examined:
    """Reads the head of every source, for the types of the columns.

    A column that one of the sources lacks may be absent from a row, whatever is declared.

    Args:
      sources: The manifests and listings.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      declared: The columns whose types the user has declared, by name.
      http: How manifests are fetched over http(s).
      version_column: The column that holds the images' versions; None if there is none.
      earlier: The columns of the run whose failed rows are read, by name, which stay as they are.
      quotes: Whether fields of CSV and TSV may be in quotes; None stands for CSV only.
      archives: Which members or columns of archives are images.

    Raises:
      ValueError, OSError, transforms.stores.retries.FetchError: a source cannot be read.
    """
    spec = ManifestSpec(tuple(sources), (), uri_column, http, version_column, quotes, archives)
    heads = [_look_at(source, spec) for source in _some_archives(sources)]
    settled = {**(earlier or {}), **declared}
    schema = _merged(heads, settled)
    for name in schema.keys() - (earlier or {}).keys():
        if any(head.lacks(name) for head in heads):
            schema[name] = dataclasses.replace(schema[name], nullable=True)
    if version_column and version_column not in schema:
        raise ValueError(
            f"No manifest has the column --version_column={version_column}; the columns are "
            f"{', '.join(schema) or 'none'}."
        )
    columns = tuple(schema.values())
    return Examined(
        dataclasses.replace(spec, columns=columns),
        _any_row(heads),
        tuple(
            name
            for name, column in declared.items()
            if name not in (earlier or {}) and all(head.excludes(column) for head in heads)
        ),
    )


def _any_row(heads: Sequence[_Head]) -> bool:
    listings = (head.source for head in heads if head.source.format is None)
    return any(head.rows for head in heads if head.source.format is not None) or any(
        next(list_images(listing), None) is not None for listing in listings
    )


def _some_archives(sources: Sequence[Source]) -> Iterator[Source]:
    """Yields what is looked at: of many archives a few, which are mostly alike."""
    looked_at = 0
    for source in sources:
        for found in with_archives(source):
            is_archive = found.listed or (found.format and found.format.archive)
            if is_archive and looked_at >= _SAMPLE_ARCHIVES:
                break
            looked_at += bool(is_archive)
            yield found


def check_whole(spec: ManifestSpec) -> None:
    """Reads the manifests that are compressed to their ends; damage hides all rows behind it.

    Raises:
      OSError, transforms.stores.retries.FetchError: a manifest cannot be read to its end.
    """
    for source in spec.sources:
        if source.format is not None and not source.format.archive:
            with open_binary(source.location, http=spec.http) as file:
                while isinstance(file, Decompressed) and file.read(_BLOCK):
                    pass


def _merged(heads: Sequence[_Head], settled: Mapping[str, Column]) -> dict[str, Column]:
    """Returns the columns of all sources, in the order in which they are mentioned."""
    names = dict.fromkeys(name for head in heads for name in head.columns)
    found = {name: settled[name] if name in settled else _agreed(name, heads) for name in names}
    return found | dict(settled)


def _agreed(name: str, heads: Sequence[_Head]) -> Column:
    """Returns a column of the type that it has in all sources that tell one.

    Raises:
      ValueError: two sources hold it with different types.
    """
    having = [head for head in heads if name in head.columns]
    having.sort(key=lambda head: (name in head.undecided, not head.columns[name].repeated))
    column = having[0].columns[name]
    for head in having[1:]:
        other = head.columns[name]
        if name in head.undecided:
            agrees = column.repeated or not other.repeated
        else:
            agrees = column.holds_as(other)
        if not agrees:
            shown = [dataclasses.replace(found, nullable=False) for found in (column, other)]
            raise ValueError(
                f"Column {name!r} is {shown[0]} in {having[0].source.location} and {shown[1]} in "
                f"{head.source.location}; settle it with --column_types."
            )
    nullable = any(head.columns[name].nullable for head in having)
    return dataclasses.replace(column, nullable=nullable)


def rows_of(source: Source, format: ManifestFormat, spec: ManifestSpec) -> Iterator[ManifestRow]:
    """Yields the rows of a source that is no listing; raises what `formats.read_rows` does."""
    return read_rows(
        source.location,
        format=format,
        uri_column=spec.uri_column,
        http=spec.http,
        quotes=spec.quotes,
        archives=spec.archives,
        listed=source.listed,
    )


def _look_at(source: Source, spec: ManifestSpec) -> _Head:
    if source.format is None:
        return _Head(source)
    rows = rows_of(source, source.format, spec)
    # They are read first: of a damaged Parquet file this raises an exception, where pyarrow may end
    # the process when it is asked about columns.
    head = list(_first(rows, _SAMPLE_MEMBERS if source.format.archive else _SAMPLE_ROWS))
    whole = next(rows, None) is None
    rows.close()  # type: ignore[attr-defined]
    libraries.check(row.uri for row in head)
    if source.format is ManifestFormat.PARQUET:
        parquet = ParquetInput(
            source.location, spec.http, spec.uri_column, spec.archives, source.listed
        )
        return _Head(source, len(head), *parquet.columns())
    samples = [row.values for row in head if not row.problem]
    if source.format.archive:
        columns = infer_columns(samples)
        nullable = {n: dataclasses.replace(c, nullable=True) for n, c in columns.items()}
        return _Head(source, len(head), nullable, without_values(samples), complete=False)
    if source.format is ManifestFormat.JSONL and head and not samples:
        raise ValueError(
            f"None of the first {len(head)} rows of {source.location} names an image: "
            f"{head[0].problem}."
        )
    # A table tells its columns in any row, JSONL in all of them.
    complete = bool(samples) and (whole or source.format is not ManifestFormat.JSONL)
    complete = complete or source.format is ManifestFormat.TEXT
    return _Head(source, len(head), infer_columns(samples), without_values(samples), complete)


def _first(rows: Iterator[ManifestRow], count: int) -> Iterator[ManifestRow]:
    """Yields the first rows, fewer where they are large."""
    size = 0
    for row in itertools.islice(rows, count):
        yield row
        size += len(row.uri) + sum(
            len(value) for value in row.values.values() if isinstance(value, str | bytes | list)
        )
        if size > _SAMPLE_BYTES:
            return
