"""Which column of a Parquet file holds the images themselves."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

from image_features.errors import ImageFeaturesError
from image_features.transforms.archives.arrow import is_binary, is_text, leaves, stored_type
from image_features.transforms.archives.magic import looks_like_image
from image_features.transforms.archives.parquet_file import (
    DamagedParquetError,
    OpenParquet,
    as_stored,
    guarded,
)
from image_features.transforms.archives.parquet_values import NotSimpleError, simple_values

_BYTES, _PATH = "bytes", "path"
_HUGGING_FACE = b"huggingface"
# What our own files say of themselves, whatever their other columns are called.
OWN_MARK = "image_features"
# The first images of a file may be absent or damaged.
_SAMPLE_ROWS = 256
_SAMPLE_VALUES = 16


class ImageColumnError(ImageFeaturesError, ValueError):
    """A column of images that cannot be told; the message is for the user."""


@dataclasses.dataclass(frozen=True)
class ImageColumn:
    """A column that may hold images.

    Attributes:
      name: The name of the column.
      leaf: The number of the column of the bytes, as it is stored.
      is_plain: Whether it is read as it is stored.
    """

    name: str
    leaf: int
    is_plain: bool


def find_image_column(opened: OpenParquet, wanted: str, shown: str) -> ImageColumn | None:
    """Returns the column of images; None if there is none.

    Args:
      opened: The file, whose pages are guarded.
      wanted: The name of the column, as the user gives it; empty finds it. A file that lacks it is
        looked through as if none was given.
      shown: The location of the file, for messages.

    Raises:
      ImageColumnError: several columns may be meant, or the wanted one holds no bytes.
    """
    if wanted and wanted in opened.schema.names:
        named = next((column for column in _candidates(opened) if column.name == wanted), None)
        if named is None:
            raise ImageColumnError(
                f"The column {wanted!r} of {shown} is {opened.schema.field(wanted).type}, which is "
                "neither bytes nor a struct of bytes and a path; name the column of the images "
                "with --image_column."
            )
        return named
    found = _image_columns(opened)
    if len(found) > 1:
        names = " and ".join(repr(column.name) for column in found)
        raise ImageColumnError(
            f"The columns {names} of {shown} hold images; say which with --image_column."
        )
    if found and wanted:
        raise ImageColumnError(
            f"{shown} has no column --image_column={wanted}; its images are in the column "
            f"{found[0].name!r}."
        )
    return found[0] if found else None


def is_ours(opened: OpenParquet) -> bool:
    """Tells whether `image-features pack` has written a file: its columns name no other images."""
    return OWN_MARK.encode() in (opened.schema.metadata or {})


def known_image_column(opened: OpenParquet, wanted: str, shown: str) -> ImageColumn | None:
    """Returns the column of images of a file that is known to have one.

    Where only one may hold images its values need not be looked at. Raises what
    `find_image_column` does.
    """
    found = _declared(opened) or _candidates(opened)
    if len(found) == 1 and wanted in ("", found[0].name):
        return found[0]
    return find_image_column(opened, wanted, shown)


def values_of_images(
    opened: OpenParquet, column: ImageColumn, group: int
) -> Iterator[bytes | None]:
    """Yields the images of a group of rows one by one, so that only one is in memory.

    Raises:
      DamagedParquetError: what is left of the group cannot be read.
    """
    done = 0
    try:
        for image in simple_values(opened, column.leaf, group):
            done += 1
            yield image
        return
    except NotSimpleError:
        pass
    if not column.is_plain:
        opened = guarded(opened, as_stored(opened.metadata))
    for batch in itertools.islice(opened.batches(group, [column.leaf], rows=1), done, None):
        value = batch.column(0)[0].as_py()
        yield value.get(_BYTES) if isinstance(value, dict) else value


def _image_columns(opened: OpenParquet) -> list[ImageColumn]:
    """Returns the columns that hold images, by what the file says of them or by their values."""
    return _declared(opened) or [
        column for column in _candidates(opened) if _holds_images(opened, column)
    ]


def _declared(opened: OpenParquet) -> list[ImageColumn]:
    """Returns the columns that Hugging Face's description of the file calls images."""
    try:
        told = json.loads((opened.schema.metadata or {})[_HUGGING_FACE])
        features = told["info"]["features"]
        names = {name for name, feature in features.items() if feature.get("_type") == "Image"}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return []
    return [column for column in _candidates(opened) if column.name in names]


def _candidates(opened: OpenParquet) -> list[ImageColumn]:
    """Returns the columns whose types are those of images."""
    import pyarrow.types as types

    found = []
    begin = 0
    for field in opened.schema:
        stored = stored_type(field.type)
        plain = stored == field.type
        if is_binary(stored):
            found.append(ImageColumn(field.name, begin, plain))
        elif types.is_struct(stored):
            inner = {field.name: stored_type(field.type) for field in _fields(stored)}
            if _BYTES in inner and is_binary(inner[_BYTES]) and _is_path(inner, stored.num_fields):
                leaf = begin + [field.name for field in _fields(stored)].index(_BYTES)
                plain = plain and all(field.type == inner[field.name] for field in _fields(stored))
                found.append(ImageColumn(field.name, leaf, plain))
        begin += leaves(field.type)
    return found


def _fields(struct: Any) -> list[Any]:
    return [struct.field(index) for index in range(struct.num_fields)]


def _is_path(inner: dict[str, Any], count: int) -> bool:
    """Whether a struct has at most a path beside its bytes."""
    import pyarrow.types as types

    if count == 1:
        return True
    path = inner.get(_PATH)
    return count == 2 and path is not None and (is_text(path) or types.is_null(path))


def _holds_images(opened: OpenParquet, column: ImageColumn) -> bool:
    """Whether a column's first values are images, or cannot be read, so that each fails."""
    values = filter(None, itertools.islice(_first_values(opened, column), _SAMPLE_ROWS))
    looked_at = 0
    try:
        for value in itertools.islice(values, _SAMPLE_VALUES):
            if looks_like_image(value):
                return True
            looked_at += 1
    except DamagedParquetError:
        return not looked_at
    return False


def _first_values(opened: OpenParquet, column: ImageColumn) -> Iterator[bytes | None]:
    for group, rows in enumerate(opened.group_sizes()):
        if rows:
            yield from values_of_images(opened, column, group)
