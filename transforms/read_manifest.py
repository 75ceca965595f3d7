"""ReadManifest: from manifests and listings to image references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.manifests.gathered import gathered
from image_features.transforms.manifests.parts import read_part
from image_features.transforms.manifests.plain import Plainly, PlainRows
from image_features.transforms.manifests.ranges import divide
from image_features.transforms.manifests.references import (
    NoImageError,
    is_damage,
    listed_ref,
    ref_of,
    row_of_archive,
    unreadable,
)
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.manifests.sources import Source, list_sources
from image_features.transforms.manifests.spec import ManifestSpec, rows_of
from image_features.transforms.runtime.concurrency import in_global_window
from image_features.transforms.runtime.metrics import NAMESPACE, dead_letter
from image_features.transforms.runtime.packing import JoinRows
from image_features.transforms.shards.ref_coder import giving_tables
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.table_packer import TablePacker
from image_features.transforms.stores.uris import canonical_uri, redact_uri
from image_features.transforms.values import ImageError, ImageRef

_T = TypeVar("_T")


class ReadManifest(beam.PTransform):
    """Reads the rows of all manifests and listings.

    There are three outputs: `refs` (ImageRef; `tables`, of which these are made, hold many),
    `errors` (ImageError), and `counts`, the number of rows of each source, which are to be summed.
    Every row ends in exactly one of the first two.
    Rows are read as they stream by, never listed in memory, and large manifests in parts, side by
    side. The rows of an archive are the images in it, also where a listing or a row of a manifest
    names the archive.

    Args:
      spec: The manifests, and how to read them.
    """

    def __init__(self, *, spec: ManifestSpec) -> None:
        super().__init__()
        self._spec = spec

    def expand(self, pipeline: Any) -> Rows:
        read = (
            pipeline
            | "NameSources" >> beam.Create(self._spec.sources, reshuffle=True)
            | "Divide" >> beam.FlatMap(divide, self._spec)
            | "SpreadParts" >> beam.Reshuffle()
            | "ReadRows" >> self._read(find=True)
        )
        found = (
            read.archives
            # An archive is read once, however often it is named, and by whatever worker is free.
            | "GroupByArchive" >> beam.GroupByKey()
            | "TakeFirst" >> beam.FlatMap(_first, _manifests(self._spec))
            | "ReadArchives" >> self._read()
        )
        return Rows(
            (read.tables, found.tables),
            (read.errors, found.errors) | "JoinErrors" >> JoinRows(),
            (read.counts, found.counts) | "JoinCounts" >> beam.Flatten(),
        )

    def _read(self, find: bool = False) -> Any:
        return giving_tables(beam.ParDo(_ReadRowsDoFn(self._spec, find))).with_outputs(
            "errors", "counts", "archives", main="tables"
        )


class _Outputs(NamedTuple):
    parts: tuple[Any, ...]
    errors: Any
    counts: Any


class Rows(_Outputs):
    """What `ReadManifest` returns.

    The steps that join the parts are made when somebody asks for them, and belong to the step that
    read: what nobody takes would be computed all the same.

    Attributes:
      parts: PCollections of RefTables: of what lies in no archive, and of archives.
        The in-process runner holds in memory what it joins, so that readers may want to join less.
      errors: PCollection of ImageError.
      counts: PCollection of ints to be summed.
    """

    @cached_property
    def tables(self) -> Any:
        """PCollection of RefTables: the parts as one."""
        return self.parts | self._label("JoinRows") >> beam.Flatten()

    @cached_property
    def refs(self) -> Any:
        """PCollection of ImageRef: the rows of the tables, each an element."""
        return self.tables | self._label("TakeRefs") >> beam.FlatMap(RefTable.refs)

    def _label(self, step: str) -> str:
        # What has joined the counts is a step of ReadManifest's own.
        return f"{self.counts.producer.full_label.rpartition('/')[0]}/{step}"


# An archive that was found: the place of the source that names it, the row there, and itself.
_Found = tuple[int, int, Source]


def _identity(source: Source) -> str:
    return canonical_uri(source.location)


def _manifests(spec: ManifestSpec) -> set[str]:
    """Returns the identities of the manifests that the user gives."""
    return {_identity(source) for source in spec.sources if source.format and not _waits(source)}


def _waits(source: Source) -> bool:
    """Whether a source is an archive, which is read when all that names it has been read."""
    return source.format is not None and bool(source.format.archive)


def _first(group: tuple[str, Iterable[_Found]], manifests: Set[str]) -> Iterator[Source]:
    """Yields the first mention of an archive, unless it is read as a manifest."""
    archive, mentions = group
    if archive not in manifests:
        yield min(mentions, key=lambda found: found[:2])[2]


def read_all(spec: ManifestSpec) -> Iterator[ImageRef | ImageError]:
    """Yields the rows of all sources in their order."""
    seen = _manifests(spec)
    for source in spec.sources:
        rows = iter([source]) if _waits(source) else read_source(source, spec)
        for row in rows:
            if not isinstance(row, Source):
                yield row
            elif _identity(row) not in seen:
                seen.add(_identity(row))
                # The rows of an archive name no archives.
                yield from cast("Iterator[ImageRef | ImageError]", read_source(row, spec))


def read_source(source: Source, spec: ManifestSpec) -> Iterator[ImageRef | ImageError | Source]:
    """Yields the rows of one source in its own order.

    What a listing or a row of a manifest names may be an archive: its rows stand in its place.
    """
    if source.format is None:
        for found in list_sources(source):
            yield found if isinstance(found, Source) else listed_ref(*found, source, spec.schema)
        return
    rows = rows_of(source, source.format, spec)
    if _is_archive(source):
        rows = _of_archive(rows, source)
    schema = spec.schema
    refs = (ref_of(row, source.location, schema, spec.version_column) for row in rows)
    yield from _guarded(refs, source)


def read_blocks(
    source: Source, spec: ManifestSpec
) -> Iterator[PlainRows | ImageRef | ImageError | Source]:
    """Yields what `read_source` does of a source or a part of one, many rows at once."""
    if source.format is None:
        yield from read_source(source, spec)
        return
    rows: Iterator[PlainRows | ManifestRow]
    if _is_archive(source):
        rows = _of_archive(rows_of(source, source.format, spec), source)
    else:
        rows = read_part(source, source.format, spec)
    schema = spec.schema
    refs = (
        row
        if isinstance(row, PlainRows)
        else ref_of(row, source.location, schema, spec.version_column)
        for row in gathered(rows, Plainly(source.location, schema, spec.version_column))
    )
    yield from _guarded(refs, source)


def _is_archive(source: Source) -> bool:
    """Whether no row of a source can be of a manifest; Parquet that is named itself may be one."""
    return _waits(source) or source.listed


def _of_archive(rows: Iterable[ManifestRow], source: Source) -> Iterator[ManifestRow]:
    any_row = False
    for row in rows:
        any_row = True
        if source.columns or row.problem:
            row = row_of_archive(row, source)
        yield row
        if row.problem and is_damage(row, source):
            return
    if source.named and not any_row:
        raise NoImageError(f"{redact_uri(source.location)} holds no image")


def _guarded(refs: Iterator[_T], source: Source) -> Iterator[_T | ImageError]:
    """Yields references; what is wrong with one archive must not fail others."""
    try:
        yield from refs
    except Exception as error:
        if not _is_archive(source):
            raise  # Nobody knows what else a manifest would name.
        yield unreadable(source, error)


class _ReadRowsDoFn(beam.DoFn):
    def __init__(self, spec: ManifestSpec, find: bool) -> None:
        self._spec = spec
        self._find = find
        self._places = {source.location: place for place, source in enumerate(spec.sources)}
        self._rows = Metrics.counter(NAMESPACE, "read_manifest/rows")

    def start_bundle(self) -> None:
        self._packer = TablePacker(self._spec.columns)

    def process(self, source: Source) -> Iterator[RefTable | TaggedOutput]:
        count = 0
        found = source.part.number if source.part else 0
        waits = self._find and _waits(source)
        for row in iter([source]) if waits else read_blocks(source, self._spec):
            if isinstance(row, Source):
                found += 1
                place = self._places.get(source.location, 0)
                yield TaggedOutput("archives", (_identity(row), (place, found, row)))
            elif isinstance(row, ImageError):
                count += 1
                yield dead_letter(row)
            elif isinstance(row, PlainRows):
                count += len(row)
                yield from self._packer.add_rows(row, source.location)
            else:
                count += 1
                yield from self._packer.add(row)
        self._rows.inc(count)
        yield TaggedOutput("counts", count)

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(in_global_window, self._packer.rest())
