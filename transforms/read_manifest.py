"""ReadManifest: from manifests and listings to image references."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple, cast

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.manifests.columns import Column, ColumnError, conform
from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.manifests.sources import Source, list_sources
from image_features.transforms.manifests.spec import ManifestSpec, rows_of
from image_features.transforms.runtime.metrics import NAMESPACE, dead_letter
from image_features.transforms.runtime.packing import JoinRows
from image_features.transforms.shards.ref_table import PackRefs, unpacked_refs
from image_features.transforms.stores import versions
from image_features.transforms.stores.files import reason_of
from image_features.transforms.stores.members import archive_format, split_member
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import (
    canonical_uri,
    image_key,
    key_of_text,
    redact_uri,
    resolve_uri,
)
from image_features.transforms.values import ImageError, ImageRef, Reason, Stage

# Keys of object stores end at 1,024 bytes, and paths at 4,096; servers refuse what is longer.
MAX_URI = 8192
_SHOWN_URI = 200


class ReadManifest(beam.PTransform):
    """Reads the rows of all manifests and listings.

    There are three outputs: `refs` (ImageRef; `tables`, of which these are made, are packed),
    `errors` (ImageError), and `counts`, the number of rows of each source, which are to be summed.
    Every row ends in exactly one of the first two.
    Rows are read as they stream by, never listed in memory. The rows of an archive are the images
    in it, also where a listing or a row of a manifest names the archive.

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
            tuple(
                refs | f"Pack{name}" >> PackRefs(self._spec.columns)
                for name, refs in (("Rows", read.refs), ("Archives", found.refs))
            )
            | "JoinRows" >> beam.Flatten(),
            (read.errors, found.errors) | "JoinErrors" >> JoinRows(),
            (read.counts, found.counts) | "JoinCounts" >> beam.Flatten(),
        )

    def _read(self, find: bool = False) -> Any:
        return beam.ParDo(_ReadRowsDoFn(self._spec, find)).with_outputs(
            "errors", "counts", "archives", main="refs"
        )


class Rows(NamedTuple):
    """What `ReadManifest` returns.

    Attributes:
      tables: PCollection of bytes, RefTables packed.
      errors: PCollection of ImageError.
      counts: PCollection of ints to be summed.
    """

    tables: Any
    errors: Any
    counts: Any

    @property
    def refs(self) -> Any:
        """PCollection of ImageRef: the rows of the tables, each an element."""
        return self.tables | "TakeRefs" >> beam.FlatMap(unpacked_refs)


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
            yield found if isinstance(found, Source) else _listed(*found, source, spec.schema)
        return
    rows = rows_of(source, source.format, spec)
    # Parquet that is named itself may be a manifest.
    is_archive = source.format.archive or source.listed
    any_row = False
    try:
        for row in rows:
            any_row = True
            if is_archive:
                row = _of_archive(row, source)
            yield _to_ref(row, source.location, spec.schema, spec.version_column)
            if is_archive and _is_damage(row, source):
                return
        if source.named and not any_row:
            raise _NoImageError(f"{redact_uri(source.location)} holds no image")
    except Exception as error:  # What is wrong with one archive must not fail others.
        if not is_archive:
            raise  # Nobody knows what else a manifest would name.
        yield _unreadable(source, error)


def _listed(
    uri: str, version: str, source: Source, schema: Mapping[str, Column]
) -> ImageRef | ImageError:
    row = ManifestRow(0, uri)
    try:
        uri.encode()
        columns = conform({}, schema)
    except UnicodeEncodeError:
        return _bad_row(row, uri, source.location, f"{uri!r:.200} is not UTF-8")
    except ColumnError as error:
        return _bad_row(row, uri, source.location, str(error))
    return ImageRef(uri, image_key(uri), source.location, 0, columns, version=version)


def _of_archive(row: ManifestRow, source: Source) -> ManifestRow:
    """Returns a row of an archive with what the row that names the archive says of it."""
    if not source.columns and not row.problem:
        return row
    return dataclasses.replace(
        row,
        values={**dict(source.columns), **row.values},
        # Nobody knows which images come behind the damage.
        unread=row.unread or _is_damage(row, source),
    )


def _is_damage(row: ManifestRow, source: Source) -> bool:
    """Whether a row of an archive tells that the archive ends here, and ends badly."""
    return bool(row.problem) and row.uri == source.location


class _NoImageError(Exception):
    """An archive that a row names holds no image; the message is for the user."""


def _unreadable(source: Source, error: Exception) -> ImageError:
    """Returns the error row of an archive, by which --retry_errors reads it again."""
    archive = source.location
    reason = Reason.CORRUPT_ARCHIVE
    if isinstance(error, _NoImageError):
        reason = Reason.NOT_FOUND
    elif isinstance(error, FetchError):
        reason = error.reason
    elif isinstance(error, OSError):
        reason = reason_of(error)
    row = ManifestRow(0, archive, dict(source.columns), unread=True)
    return _bad_row(row, archive, archive, str(error).rstrip("."), reason)


def _to_ref(
    row: ManifestRow, location: str, schema: Mapping[str, Column], version_column: str | None
) -> ImageRef | ImageError | Source:
    uri = row.uri
    if len(uri) > MAX_URI:
        return _bad_uri(row, location)
    try:
        # The URI comes first: whatever is wrong with the rest of the row, it names an image.
        if uri:
            # What an archive tells is whole already.
            uri = resolve_uri(uri, location) if row.place is None else uri
            uri.encode()
        if row.problem:
            return _bad_row(row, uri, location, row.problem, row.reason)
        named = row.place is None and not split_member(uri)
        if named and (archive := archive_format(uri)):
            columns = tuple(row.values.items())
            format = ManifestFormat(str(archive))
            return Source(uri, format, listed=True, named=True, columns=columns)
        if "\0" in uri:
            return _bad_row(row, uri, location, f"the URI holds a zero byte: {uri!r:.80}")
        columns = conform(row.values, schema)
        version = row.version
        if version_column:
            version = versions.of_column(row.values.get(version_column)) or version
        return ImageRef(
            uri, image_key(uri), location, row.number, columns, version=version, place=row.place
        )
    except UnicodeEncodeError:
        row = dataclasses.replace(row, unread=True)
        return _bad_row(row, uri, location, f"the URI is not UTF-8: {uri!r:.80}")
    except (ColumnError, ValueError) as error:
        return _bad_row(row, uri, location, str(error))


def _bad_row(
    row: ManifestRow,
    uri: str,
    location: str,
    problem: str,
    reason: Reason = Reason.BAD_MANIFEST_ROW,
) -> ImageError:
    """Returns the error of a row, under a key of its own: several bad rows may name one image."""
    key = key_of_text(f"{location}#{row.number or uri}")
    uri = uri.encode(errors="backslashreplace").decode()
    ref = ImageRef(uri, key, location, row.number, tuple(row.values.items()))
    message = f"Row {row.number} of {location}: {problem}." if row.number else f"{problem}."
    message = message.encode(errors="backslashreplace").decode()
    return ImageError(ref, Stage.READ_MANIFEST, reason, message, unread=row.unread)


def _bad_uri(row: ManifestRow, location: str) -> ImageError:
    """Returns the error of a row whose URI is too long; what is left of it can name no image."""
    start = redact_uri(row.uri[:MAX_URI])[:_SHOWN_URI]
    problem = f"the URI is longer than {MAX_URI} characters; it begins with {start!r}"
    return _bad_row(row, f"(longer than {MAX_URI}) {start}", location, problem, Reason.URI_TOO_LONG)


class _ReadRowsDoFn(beam.DoFn):
    def __init__(self, spec: ManifestSpec, find: bool) -> None:
        self._spec = spec
        self._find = find
        self._places = {source.location: place for place, source in enumerate(spec.sources)}
        self._rows = Metrics.counter(NAMESPACE, "read_manifest/rows")

    def process(self, source: Source) -> Iterator[ImageRef | TaggedOutput]:
        count = found = 0
        waits = self._find and _waits(source)
        for row in iter([source]) if waits else read_source(source, self._spec):
            if isinstance(row, Source):
                found += 1
                place = self._places.get(source.location, 0)
                yield TaggedOutput("archives", (_identity(row), (place, found, row)))
                continue
            count += 1
            if isinstance(row, ImageError):
                yield dead_letter(row)
            else:
                yield row
        self._rows.inc(count)
        yield TaggedOutput("counts", count)
