"""ReadManifest: from manifests and listings to image references."""

from __future__ import annotations

import dataclasses
import functools
import glob as local_glob
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.manifests.columns import Column, ColumnError, conform, infer_columns
from image_features.transforms.manifests.formats import (
    ManifestFormat,
    Row,
    find_uri_column,
    format_of,
    parquet_columns,
    read_rows,
)
from image_features.transforms.runtime.metrics import NAMESPACE, dead_letter
from image_features.transforms.stores import versions
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.uris import image_key, is_http, key_of_text, resolve_uri
from image_features.transforms.values import ColumnValue, ImageError, ImageRef, Reason, Stage

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".avif",
        ".jp2",
        ".ppm",
        ".pgm",
    ]
)
_SAMPLE_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Source:
    """Something that names images.

    Attributes:
      location: A manifest, or a directory or glob of images.
      format: The manifest's format; None for a directory or glob of images.
    """

    location: str
    format: ManifestFormat | None


@dataclasses.dataclass(frozen=True)
class ManifestSpec:
    """All that a worker needs to read the input the same way every time."""

    sources: tuple[Source, ...]
    columns: tuple[Column, ...] = ()
    uri_column: str | None = None
    http: HttpPolicy = HttpPolicy()
    version_column: str | None = None

    @property
    def schema(self) -> dict[str, Column]:
        """The passed-through columns by name."""
        return {column.name: column for column in self.columns}


class ReadManifest(beam.PTransform):
    """Reads image references; tagged outputs `refs` (ImageRef) and `errors` (ImageError).

    Every row of every manifest ends in exactly one of the two; `counts` are ints to be summed,
    the rows of each source. Rows are read as they stream by, never listed in memory.
    """

    def __init__(self, *, spec: ManifestSpec) -> None:
        super().__init__()
        self._spec = spec

    def expand(self, pipeline: Any) -> Any:
        return (
            pipeline
            | "NameSources" >> beam.Create(self._spec.sources, reshuffle=True)
            | "ReadRows"
            >> beam.ParDo(_ReadRowsDoFn(self._spec)).with_outputs("errors", "counts", main="refs")
        )


def read_source(source: Source, spec: ManifestSpec) -> Iterator[ImageRef | ImageError]:
    """Yields what one source names, in its own order."""
    if source.format is None:
        for uri, version in list_images(source):
            try:
                uri.encode()
            except UnicodeEncodeError:
                yield _bad_row(Row(0, uri), uri, source.location, f"{uri!r:.200} is not UTF-8")
            else:
                yield ImageRef(uri, image_key(uri), source.location, version=version)
        return
    schema = spec.schema
    rows = read_rows(
        source.location, format=source.format, uri_column=spec.uri_column, http=spec.http
    )
    for row in rows:
        yield _to_ref(row, source.location, schema, spec.version_column)


def _to_ref(
    row: Row, location: str, schema: Mapping[str, Column], version_column: str | None
) -> ImageRef | ImageError:
    uri = row.uri
    if row.problem:
        return _bad_row(row, uri, location, row.problem)
    try:
        # First of all: whatever is wrong with the rest of a row, it names an image.
        uri = resolve_uri(uri, location)
        uri.encode()
        columns = conform(row.values, schema)
        version = versions.of_column(row.values.get(version_column)) if version_column else ""
        return ImageRef(uri, image_key(uri), location, row.number, columns, version=version)
    except UnicodeEncodeError:
        return _bad_row(row, uri, location, f"the URI is not UTF-8: {uri!r:.80}")
    except (ColumnError, ValueError) as error:
        return _bad_row(row, uri, location, str(error))


def _bad_row(row: Row, uri: str, location: str, problem: str) -> ImageError:
    """The error of a row under a key of its own: several bad ones may name one image."""
    key = key_of_text(f"{location}#{row.number or uri}")
    uri = uri.encode(errors="backslashreplace").decode()
    ref = ImageRef(uri, key, location, row.number, tuple(row.values.items()))
    message = f"Row {row.number} of {location}: {problem}."
    return ImageError(ref, Stage.READ_MANIFEST, Reason.BAD_MANIFEST_ROW, message)


def list_images(source: Source) -> Iterator[tuple[str, str]]:
    """Yields the image files of a directory (recursively) or a glob, as they are listed.

    Beside each its version, where the listing tells one: on disks it is asked for when it counts.
    """
    location = source.location
    if _has_wildcard(location):
        filesystem = FileSystems.get_filesystem(location)
        if "://" in location:
            prefix = location[: min(location.find(c) for c in "*?[" if c in location)]
            metadata = filesystem.match_files(filesystem._list(prefix), location)
            yield from map(_listed, metadata)
        else:
            found = local_glob.iglob(location, recursive=True)
            yield from ((path, "") for path in found if os.path.isfile(path))
    elif "://" in location:
        filesystem = FileSystems.get_filesystem(location)
        for file in filesystem._list(location.rstrip("/") + "/"):
            if _is_image(file.path):
                yield _listed(file)
    else:
        raises = functools.partial(_unlisted, location)
        for directory, _, names in os.walk(location, onerror=raises):
            yield from ((os.path.join(directory, name), "") for name in names if _is_image(name))


def _unlisted(location: str, error: OSError) -> None:
    """What cannot be listed is not empty: its images would be taken for removed."""
    if not isinstance(error, FileNotFoundError) or error.filename == location:
        raise error


def _listed(file: Any) -> tuple[str, str]:
    return file.path, versions.of_listing(file.size_in_bytes, file.last_updated_in_seconds)


def find_sources(locations: Sequence[str], format: ManifestFormat | None = None) -> list[Source]:
    """Tells manifests from listings, and expands globs of manifests.

    A suffix of .txt, .csv, .tsv, .jsonl or .parquet (.gz) makes a manifest; a directory
    or any other glob lists images.

    Raises:
      ValueError: a location is neither.
    """
    sources: list[Source] = []
    for location in locations:
        if "://" not in location:
            location = os.path.abspath(os.path.expanduser(location))
        suffix_format = format_of(location)
        if is_http(location):
            sources.append(Source(location, format or suffix_format or ManifestFormat.TEXT))
        elif _has_wildcard(location):
            if not (format or suffix_format):
                sources.append(Source(location, None))
                continue
            matches = FileSystems.match([location])[0].metadata_list
            if not matches:
                raise ValueError(f"No file matches --input={location}.")
            paths = sorted(match.path for match in matches)
            sources += [Source(p, format or format_of(p) or ManifestFormat.TEXT) for p in paths]
        elif _is_directory(location):
            sources.append(Source(location, None))
        elif not FileSystems.exists(location):
            raise ValueError(f"--input={location} does not exist.")
        elif format or suffix_format:
            sources.append(Source(location, format or suffix_format))
        elif _is_image(location):
            raise ValueError(
                f"--input={location} is one image; give a directory, a glob or a manifest."
            )
        else:
            raise ValueError(
                f"--input={location} has no known suffix; say --input_format=text, csv, tsv, "
                "jsonl or parquet."
            )
    return list(dict.fromkeys(sources))  # Globs may overlap.


def examine(
    sources: Sequence[Source],
    *,
    uri_column: str | None,
    declared: Mapping[str, Column],
    http: HttpPolicy,
    version_column: str | None = None,
) -> tuple[ManifestSpec, bool]:
    """Reads the head of every source: the columns' types, and whether anything is there.

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
        rows = read_rows(source.location, format=source.format, uri_column=uri_column, http=http)
        head = list(itertools.islice(rows, _SAMPLE_ROWS))
        rows.close()  # type: ignore[attr-defined]
        any_row = any_row or bool(head)
        for column in _columns_of(source, head, uri_column, http):
            known = schema.setdefault(column.name, column)
            if not known.holds_as(column) and column.name not in declared:
                raise ValueError(
                    f"Column {column.name!r} is {column.kind} in {source.location} and "
                    f"{known.kind} in another manifest; settle it with --column_types."
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
    return ManifestSpec(tuple(sources), columns, uri_column, http, version_column), any_row


def _columns_of(
    source: Source, head: list[Row], uri_column: str | None, http: HttpPolicy
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


def _has_wildcard(location: str) -> bool:
    return any(c in location for c in "*?[") and not os.path.exists(location)


def _is_directory(location: str) -> bool:
    if "://" not in location:
        return os.path.isdir(location)
    if FileSystems.exists(location.rstrip("/")) and not location.endswith("/"):
        return False
    listing = FileSystems.get_filesystem(location)._list(location.rstrip("/") + "/")
    return next(iter(listing), None) is not None


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


class _ReadRowsDoFn(beam.DoFn):
    def __init__(self, spec: ManifestSpec) -> None:
        self._spec = spec
        self._rows = Metrics.counter(NAMESPACE, "read_manifest/rows")

    def process(self, source: Source) -> Iterator[ImageRef | TaggedOutput]:
        count = 0
        for row in read_source(source, self._spec):
            count += 1
            if isinstance(row, ImageError):
                yield dead_letter(row)
            else:
                yield row
        self._rows.inc(count)
        yield TaggedOutput("counts", count)
