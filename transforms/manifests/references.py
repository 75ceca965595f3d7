"""References of rows, one by one: what a row names, or what is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from image_features.transforms.manifests.columns import Column, ColumnError, conform
from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.manifests.plain_uris import MAX_URI
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.manifests.sources import Source
from image_features.transforms.stores import versions
from image_features.transforms.stores.files import reason_of
from image_features.transforms.stores.members import archive_format, split_member
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import (
    image_key,
    key_of_text,
    redact_uri,
    resolve_uri,
)
from image_features.transforms.values import ImageError, ImageRef, Reason, Stage

_SHOWN_URI = 200


def listed_ref(
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


def row_of_archive(row: ManifestRow, source: Source) -> ManifestRow:
    """Returns a row of an archive with what the row that names the archive says of it."""
    if not source.columns and not row.problem:
        return row
    return dataclasses.replace(
        row,
        values={**dict(source.columns), **row.values},
        # Nobody knows which images come behind the damage.
        unread=row.unread or is_damage(row, source),
    )


def is_damage(row: ManifestRow, source: Source) -> bool:
    """Whether a row of an archive tells that the archive ends here, and ends badly."""
    return bool(row.problem) and row.uri == source.location


class NoImageError(Exception):
    """An archive that a row names holds no image; the message is for the user."""


def unreadable(source: Source, error: Exception) -> ImageError:
    """Returns the error row of an archive, by which --retry_errors reads it again."""
    archive = source.location
    reason = Reason.CORRUPT_ARCHIVE
    if isinstance(error, NoImageError):
        reason = Reason.NOT_FOUND
    elif isinstance(error, FetchError):
        reason = error.reason
    elif isinstance(error, OSError):
        reason = reason_of(error)
    row = ManifestRow(0, archive, dict(source.columns), unread=True)
    return _bad_row(row, archive, archive, str(error).rstrip("."), reason)


def ref_of(
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
