"""The directory at the end of a .zip file: where it is, and what it lists."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

from image_features.transforms.archives.zip_entries import (
    CENTRAL,
    CENTRAL_BYTES,
    DESCRIPTOR,
    LOCAL,
    ZipEntry,
    parse_central,
)
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Reason

_END = b"PK\x05\x06"
_LOCATOR = b"PK\x06\x07"
_END64 = b"PK\x06\x06"
_SIGNATURE = b"PK\x05\x05"
_END_RECORD = struct.Struct("<4sHHHHLLH")
_END64_RECORD = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR_RECORD = struct.Struct("<4sLQL")
# A comment of 65,535 bytes may follow the last record. The directory of a small archive is read
# along with it.
TAIL_BYTES = 128 * 2**10
# A comment may be full of what looks like a last record.
_CANDIDATES = 8


class DamagedZip(Exception):
    """What follows what has been listed of a .zip file cannot be; the message is a phrase."""


class Directory(NamedTuple):
    """Where the directory of a .zip file is.

    Attributes:
      start: Where it begins.
      end: Where it ends.
      shift: The bytes that were put before the archive when it was finished already.
      cut: Whether the file ends within the comment behind it.
    """

    start: int
    end: int
    shift: int
    cut: bool


def find_directory(file: IO[bytes], size: int, shown: str) -> Directory | None:
    """Returns where the directory is, or None if there is none.

    Raises:
      FetchError: the file is one part of an archive in several.
    """
    at = max(0, size - TAIL_BYTES)
    file.seek(at)
    tail = file.read(size - at)
    end = len(tail)
    for _ in range(_CANDIDATES):
        end = tail.rfind(_END, 0, end)
        if end < 0:
            break
        if end + _END_RECORD.size > len(tail):
            continue
        disk, _, _, _, length, offset, comment = _END_RECORD.unpack_from(tail, end)[1:]
        found = _locate(file, at + end, disk, length, offset)
        if found is None:
            continue
        disk, directory = found
        if directory.shift > 0 or disk:
            begins_so = _read(file, 0, 4) == LOCAL
            # Where the archive begins with its first member, nothing was put before it: this
            # directory is that of an archive within the archive.
            if begins_so and directory.shift > 0:
                continue
            if disk and not begins_so:
                raise _is_part(shown)
        return directory._replace(cut=at + end + _END_RECORD.size + comment > size)
    if _read(file, 0, 4) == DESCRIPTOR:
        raise _is_part(shown)
    return None


def _locate(
    file: IO[bytes], at: int, disk: int, length: int, offset: int
) -> tuple[int, Directory] | None:
    """Returns the number of the disk and the directory that a last record tells, if it is there."""
    end = at
    locator = _read(file, at - _LOCATOR_RECORD.size, _LOCATOR_RECORD.size)
    if locator[:4] == _LOCATOR:
        _, _, told, _ = _LOCATOR_RECORD.unpack(locator)
        for record_at in (at - _LOCATOR_RECORD.size - _END64_RECORD.size, told):
            record = _read(file, record_at, _END64_RECORD.size)
            if record[:4] == _END64 and len(record) == _END64_RECORD.size:
                disk, _, _, _, length, offset = _END64_RECORD.unpack(record)[4:]
                end = record_at
                break
    for start in dict.fromkeys((end - length, offset)):
        is_empty = start == end and length == 0
        if is_empty:
            return disk, Directory(start, end, start - offset, cut=False)
        if start < end and _read(file, start, 4) == CENTRAL:
            return disk, Directory(start, end, _shift(file, start, offset), cut=False)
    return None


def _shift(file: IO[bytes], start: int, offset: int) -> int:
    """Returns by how much entries lie behind where the directory says, by the first of them."""
    shift = start - offset
    file.seek(start)
    record = parse_central(file.read(CENTRAL_BYTES))
    if shift and record:
        first = record.whole(file.read(record.more), 0).begin
        if _read(file, first + shift, 4) != LOCAL and _read(file, first, 4) == LOCAL:
            return 0  # What tells of the directory is damaged, and not the directory.
    return shift


def _read(file: IO[bytes], at: int, length: int) -> bytes:
    if at < 0:
        return b""
    file.seek(at)
    return file.read(length)


def _is_part(shown: str) -> FetchError:
    return FetchError(
        Reason.UNSUPPORTED_FORMAT,
        f"{shown} is one part of a zip that is split into several files; join them first, as by "
        "zip -s 0 SPLIT.zip --out WHOLE.zip.",
    )


def read_directory(file: IO[bytes], directory: Directory) -> Iterator[ZipEntry]:
    """Yields the entries in the order of the directory, as they are read.

    Raises:
      DamagedZip: what follows is no entry.
    """
    at = directory.start
    while at < directory.end:
        file.seek(at)  # Between two entries others may read.
        head = file.read(CENTRAL_BYTES)
        if head[:4] == _SIGNATURE:
            return
        record = parse_central(head)
        after = at + CENTRAL_BYTES + (record.more if record else 0)
        if record is None or after > directory.end:
            raise DamagedZip(f"is damaged in its directory at byte {at}")
        yield record.whole(file.read(record.more), directory.shift)
        at = after
