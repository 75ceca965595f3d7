"""Images that lie in a column of Parquet files; their names are `row/N`, from 0."""

from __future__ import annotations

import bisect
import collections
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from image_features.transforms.archives.member import Taken, Wanted
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.parquet_column import (
    ImageColumn,
    ImageColumnError,
    known_image_column,
    values_of_images,
)
from image_features.transforms.archives.parquet_file import (
    DamagedParquetError,
    OpenParquet,
    open_guarded,
)
from image_features.transforms.stores.members import join_member
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.retries import FetchError, too_large
from image_features.transforms.values import Place, Reason

# Nulls and repetitions take no room; so many rows more than bytes are believed.
_SPARSE_ROWS = 65_536
_NAME = re.compile(r"row/(0|[1-9][0-9]{0,17})")


class Group(NamedTuple):
    """A group of rows.

    Attributes:
      number: The number of the group, from 0.
      first: The number of its first row, from 0.
      rows: The number of its rows.
      begin: Where the chunk of its images begins.
      size: The bytes that the chunk takes.
    """

    number: int
    first: int
    rows: int
    begin: int
    size: int

    @property
    def typical_size(self) -> int:
        """The bytes that an image takes on average, as they are stored."""
        return self.size // max(1, self.rows)

    @property
    def detail(self) -> str:
        """What tells the images of this group from those that another writing has made."""
        return f"{self.begin}:{self.size}"


def row_name(number: int) -> str:
    """Returns the name of the image in a row."""
    return f"row/{number}"


def groups_of(opened: OpenParquet, column: ImageColumn) -> Iterator[Group]:
    """Yields the groups of rows, where none is empty.

    Raises:
      DamagedParquetError: one is nowhere.
    """
    most = opened.pages.seek(0, io.SEEK_END) + _SPARSE_ROWS
    first = 0
    for number, rows in enumerate(opened.group_sizes()):
        if rows < 0 or first + rows > most:
            raise DamagedParquetError("its footer tells of more rows than it has bytes")
        if rows:
            begin, end = opened.chunk(number, column.leaf)
            yield Group(number, first, rows, begin, end - begin)
        first += rows


def read_parquet(
    file: RangedFile, wanted: Sequence[Wanted], *, max_bytes: int, options: ArchiveOptions
) -> Iterator[Taken]:
    """Yields images of a Parquet file, as `archives.archive.read_members` does."""
    try:
        opened = open_guarded(file, max_bytes=max_bytes)
        column = known_image_column(opened, options.column, file.shown)
        if column is None:
            raise ImageColumnError(f"{file.shown} has no column of images.")
        groups = list(groups_of(opened, column))
    except ImageColumnError as error:
        raise FetchError(Reason.NOT_FOUND, str(error)) from error
    except DamagedParquetError as error:
        raise FetchError(error.reason, f"{file.shown} cannot be read: {error}.") from error
    rows = sorted(
        (int(match[1]), number)
        for number, member in enumerate(wanted)
        if (match := _NAME.fullmatch(member.name))
    )
    begin = 0
    for group in groups:
        end = bisect.bisect_left(rows, (group.first + group.rows, 0), begin)
        if begin < end:
            for row, number, image in _images(opened, column, group, rows[begin:end]):
                shown = join_member(file.shown, row_name(row))
                data = _checked(image, shown, group, wanted[number].place, max_bytes)
                yield Taken(number, data, group.detail)
        begin = end


def _images(
    opened: OpenParquet, column: ImageColumn, group: Group, rows: list[tuple[int, int]]
) -> Iterator[tuple[int, int, bytes | DamagedParquetError | None]]:
    """Yields some rows of a group, each with its image."""
    left = collections.deque(rows)
    damage = DamagedParquetError("it ends before its last row")
    try:
        for row, image in enumerate(values_of_images(opened, column, group.number), group.first):
            while left and left[0][0] == row:
                yield *left.popleft(), image
            if not left:
                return
    except DamagedParquetError as error:
        damage = error
    for lost in left:
        yield *lost, damage


def _checked(
    image: bytes | DamagedParquetError | None,
    shown: str,
    group: Group,
    place: Place | None,
    max_bytes: int,
) -> bytes | FetchError:
    """Returns an image, or why it cannot be had."""
    if place is not None and place.size != group.typical_size:
        problem = "has changed since it was listed"
        return FetchError(Reason.READ_FAILED, f"The archive of {shown} {problem}.")
    if isinstance(image, DamagedParquetError):
        problem = f"lies in the chunk of images at byte {group.begin}, which cannot be read"
        return FetchError(image.reason, f"{shown} {problem}: {image}.")
    if image is None:
        return FetchError(Reason.NOT_FOUND, f"{shown} holds no image: it has no bytes.")
    return too_large(shown, max_bytes) if len(image) > max_bytes else image
