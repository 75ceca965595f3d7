"""The heads of all sources, which tell the columns of a run and what is wrong with its input."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from image_features.transforms.archives.image_feature import ImageFeatureError
from image_features.transforms.archives.options import FOUND, ArchiveOptions
from image_features.transforms.archives.parquet_column import ImageColumnError
from image_features.transforms.manifests.columns import (
    Column,
    Kind,
    infer_columns,
    without_values,
)
from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.manifests.packed_parquet import ParquetInput
from image_features.transforms.manifests.packed_tfrecord import infer_feature_columns, widest
from image_features.transforms.manifests.rows import ManifestRow, readable
from image_features.transforms.manifests.sources import (
    Source,
    check_read,
    list_archives,
    list_images,
)
from image_features.transforms.manifests.spec import ManifestSpec, rows_of
from image_features.transforms.stores import libraries
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import archive_format, split_member
from image_features.transforms.stores.uris import resolve_uri

_SAMPLE_ROWS = 1000
# What is between the members of an archive is read, too.
_SAMPLE_MEMBERS = 100
_SAMPLE_ARCHIVES = 32
_SAMPLE_LISTED = 100_000
_SAMPLE_BYTES = 64 * 2**20


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
      archives: The archives that the first rows name.
    """

    source: Source
    rows: int = 1
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    undecided: Set[str] = frozenset()
    complete: bool = True
    archives: Sequence[Source] = ()

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
    heads = list(_heads(spec))
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
    any_row = _any_row(heads)
    if not any_row:
        check_read(sources)
    return Examined(
        dataclasses.replace(spec, columns=columns),
        any_row,
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


def _heads(spec: ManifestSpec) -> Iterator[_Head]:
    """Yields the heads of all sources, and of some archives that these name: most are alike."""
    looked_at = 0

    def few(archives: Iterable[Source]) -> Iterator[_Head]:
        nonlocal looked_at
        for archive in itertools.islice(archives, _SAMPLE_ARCHIVES - looked_at):
            looked_at += 1
            try:
                yield _look_at(archive, spec)
            except (ImageFeatureError, ImageColumnError):  # The user has to say which is meant.
                raise
            except Exception:  # It becomes a row that failed.
                yield _Head(archive)

    for source in spec.sources:
        if source.format is not None and source.format.archive:
            if looked_at >= _SAMPLE_ARCHIVES:
                continue
            looked_at += 1
        head = _look_at(source, spec)
        yield head
        yield from few(head.archives)
        if source.format is None:
            yield from few(list_archives(source, _SAMPLE_LISTED))


def _named_archives(rows: Iterable[ManifestRow], location: str) -> tuple[Source, ...]:
    """Returns the archives that rows of a manifest name, each once."""
    named: dict[str, Source] = {}
    for row in rows:
        if not row.problem and not split_member(row.uri) and (format := archive_format(row.uri)):
            with contextlib.suppress(ValueError):  # It becomes a row that failed.
                uri = resolve_uri(row.uri, location)
                named[uri] = Source(uri, ManifestFormat(str(format)), listed=True)
    return tuple(named.values())


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
    having = _alike(name, [head for head in heads if name in head.columns])
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


def _alike(name: str, heads: Sequence[_Head]) -> list[_Head]:
    """Gives a column one type in all TFRecord files, which tell no lists and no text."""
    decided = [h for h in heads if _is_tfrecord(h.source) and name not in h.undecided]
    if not decided:
        return list(heads)
    column = widest([head.columns[name] for head in decided])
    return [
        dataclasses.replace(head, columns={**head.columns, name: column})
        if head in decided and head.columns[name].kind in (column.kind, Kind.STRING)
        else head
        for head in heads
    ]


def _is_tfrecord(source: Source) -> bool:
    return source.format is ManifestFormat.TFRECORD


def _look_at(source: Source, spec: ManifestSpec) -> _Head:
    if source.format is None:
        return _Head(source)
    parquet = ParquetInput(
        source.location, spec.http, spec.uri_column, spec.archives, source.listed
    )
    if source.format is ManifestFormat.PARQUET and (packed := parquet.packed_columns()):
        return _Head(source, *packed)
    rows = rows_of(source, source.format, spec)
    # They are read first: of a damaged Parquet file this raises an exception, where pyarrow may end
    # the process when it is asked about columns.
    head = list(_first(rows, _SAMPLE_MEMBERS if source.format.archive else _SAMPLE_ROWS))
    whole = next(rows, None) is None
    rows.close()  # type: ignore[attr-defined]
    libraries.check(row.uri for row in head)
    archives = () if source.format.archive else _named_archives(head, source.location)
    if source.format is ManifestFormat.PARQUET:
        return _Head(source, len(head), *parquet.columns(), archives=archives)
    samples = [readable(row.values) for row in head if not row.problem]
    if source.format.archive:
        tell = infer_feature_columns if _is_tfrecord(source) else infer_columns
        columns = tell(samples)
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
    columns, unknown = infer_columns(samples), without_values(samples)
    return _Head(source, len(head), columns, unknown, complete, archives)


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
