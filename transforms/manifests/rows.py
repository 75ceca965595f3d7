"""A row of a manifest, whatever the manifest's format."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
from typing import Any, NamedTuple

from image_features.errors import ImageFeaturesError
from image_features.transforms.values import ColumnValue, Place, Reason

URI_COLUMNS = ("uri", "url", "image_uri", "image_url", "path", "file", "filename")
# This stands for a value that cannot be carried, as a list of nothing fits no column: an errors
# shard that holds it fails again when it is read.
UNREADABLE: ColumnValue = [None]  # type: ignore[list-item]

# The suffixes of images, in small letters.
_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .ico .tif .tiff .avif .heic .heif "
    ".hif .jp2 .jpx .jpf .jph .j2k .j2c .jpc .pbm .pgm .ppm .pnm .pam .pfm"
)
IMAGE_SUFFIXES = frozenset(_SUFFIXES.split())
_SHOWN = 20  # So many columns are named in a message.


class ManifestError(ImageFeaturesError, ValueError):
    """A manifest that cannot be read at all; the message is for the user."""


class Part(NamedTuple):
    """A part of a manifest that can be read by itself.

    Attributes:
      begin: The first byte of its lines, or the first of its groups of rows.
      end: The byte or the group behind it.
      number: The number of lines or rows before it.
      version: The version of the manifest that was divided; empty if unknown.
    """

    begin: int
    end: int
    number: int
    version: str = ""


@dataclasses.dataclass(slots=True)  # Frozen, each would take three times as long.
class ManifestRow:
    """One row of a manifest.

    Attributes:
      number: The 1-based number of the row or line.
      uri: The location of an image, as the manifest spells it.
      values: The other columns' values by name.
      problem: What is wrong with the row; empty if it can be used.
      unread: Whether the row could not even be taken apart, so that nobody knows which image it
        names.
      reason: The reason of the problem, where it is not that the row is bad.
      version: The version of the image; empty if the manifest itself does not tell it.
      place: Where the image lies, if the manifest is the archive that holds it.
    """

    number: int
    uri: str = ""
    values: dict[str, ColumnValue] = dataclasses.field(default_factory=dict)
    problem: str = ""
    unread: bool = False
    reason: Reason = Reason.BAD_MANIFEST_ROW
    version: str = ""
    place: Place | None = None


def readable(values: dict[str, ColumnValue]) -> dict[str, ColumnValue]:
    """Returns the values that tell types; those that could not be read tell none."""
    return {name: value for name, value in values.items() if value != UNREADABLE}


def unread_row(number: int, problem: str) -> ManifestRow:
    """Returns a row that could not be taken apart."""
    return ManifestRow(number, problem=problem, unread=True)


def find_uri_column(names: list[str], wanted: str | None, location: str) -> str:
    """Returns the name of the column that holds the URIs.

    Raises:
      ManifestError: there is none.
    """
    for name in (wanted,) if wanted else URI_COLUMNS:
        if name in names:
            return name
    looked = wanted or ", ".join(URI_COLUMNS)
    raise ManifestError(
        f"{location} has no URI column (looked for {looked}); its columns are "
        f"{shown_names(names)}: name the right one with --uri_column."
    )


def shown_names(names: list[str]) -> str:
    """Returns the names of columns as a message has them."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(f"{name!r:.80}" for name in names[:_SHOWN]) or "none") + more


def make_row(number: int, values: dict[str, ColumnValue], uri_column: str | None) -> ManifestRow:
    """Makes a row of its values, of which one is the URI."""
    try:
        name = find_uri_column(list(values), uri_column, "the row")
    except ManifestError as error:
        return ManifestRow(number, values=values, problem=str(error))
    uri: Any = values.pop(name)
    if isinstance(uri, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            uri = uri.decode()
    if not isinstance(uri, str) or not uri.strip():
        shown = name.lstrip("\0")
        problem = f"column {shown!r} holds no URI but {uri!r:.80}"
        # Something that is spoiled may have been any image's URI.
        spoiled = isinstance(uri, bytes | list)
        return ManifestRow(number, values=values, problem=problem, unread=spoiled)
    return ManifestRow(number, uri.strip(), values)


def plain(value: Any) -> ColumnValue:
    """Converts a JSON value to one that a record can hold; a null in a list stays one."""
    if isinstance(value, list):
        return [_plain_item(item) for item in value]
    if isinstance(value, dict):
        data = _bytes_of(value)
        return json.dumps(value, sort_keys=True) if data is None else data
    found: ColumnValue = value
    return found


def _plain_item(item: Any) -> Any:
    if isinstance(item, list):
        return json.dumps(item)
    if isinstance(item, dict):
        data = _bytes_of(item)
        return json.dumps(item) if data is None else data
    return item


def _bytes_of(value: dict[str, Any]) -> bytes | None:
    """Returns the bytes that an object stands for, as error rows spell them; None for another."""
    if set(value) == {"base64"} and isinstance(value["base64"], str):
        with contextlib.suppress(ValueError):
            return base64.b64decode(value["base64"], validate=True)
    return None
