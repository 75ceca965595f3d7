"""Members of .zip files, by their names and places."""

from __future__ import annotations

import functools
import io
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from image_features.transforms.archives.member import (
    CorruptArchiveError,
    NotAnArchiveError,
    Taken,
    Wanted,
)
from image_features.transforms.archives.zip_contents import list_zip
from image_features.transforms.archives.zip_data import (
    STORED,
    BadDataError,
    unpack,
    unread_method,
)
from image_features.transforms.archives.zip_entries import (
    DESCRIPTOR_BYTES,
    LOCAL_BYTES,
    ZipEntry,
    parse_descriptor,
    parse_local,
)
from image_features.transforms.stores.members import join_member
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.retries import FetchError, too_large
from image_features.transforms.values import Reason

# The last records and the directory of a small archive are read at once.
BUFFER_BYTES = 256 * 2**10


def read_zip(file: RangedFile, wanted: Sequence[Wanted], *, max_bytes: int) -> Iterator[Taken]:
    """Yields members of a .zip file, as `archives.archive.read_members` does.

    The header before a member, or what stands behind its data, tells its size and checksum. The
    directory is read again only where these do not, and where only names are known.
    """
    reader = ZipReader(file, max_bytes=max_bytes)
    listed = functools.cache(lambda: _listed(reader, wanted))
    lie = []
    for number, (name, place) in enumerate(wanted):
        if place is not None:
            lie.append((place.begin, number, place.size))
        elif entry := listed().by_name.get(name):
            lie.append((entry.begin, number, entry.packed))
        elif damage := listed().damage:
            message = f"{join_member(file.shown, name)} is not found: {damage}."
            yield Taken(number, FetchError(Reason.CORRUPT_ARCHIVE, message))
    lie.sort()
    for (begin, number, packed), (end, *_) in itertools.pairwise([*lie, (reader.size, 0, 0)]):
        span = (begin, packed, end)
        data, detail = reader.read(wanted[number].name, span, lambda at: listed().by_begin.get(at))
        yield Taken(number, data, detail)


class _Listed(NamedTuple):
    """What the directory tells of the members that are wanted.

    Attributes:
      by_name: The first entry of each name.
      by_begin: The entries of the places that are known.
      damage: What is wrong with the archive; empty if nothing is.
    """

    by_name: dict[str, ZipEntry]
    by_begin: dict[int, ZipEntry]
    damage: str


def _listed(reader: ZipReader, wanted: Sequence[Wanted]) -> _Listed:
    names = {name for name, _ in wanted}
    begins = {place.begin for _, place in wanted if place}
    listed = _Listed({}, {}, "")
    try:
        for entry in itertools.chain.from_iterable(reader.entries()):
            if entry.name in names:
                first = listed.by_name.setdefault(entry.name, entry)
                if entry is first or entry.begin in begins:
                    listed.by_begin.setdefault(entry.begin, entry)
    except NotAnArchiveError as error:
        raise FetchError(Reason.CORRUPT_ARCHIVE, str(error)) from error
    except CorruptArchiveError as error:
        return listed._replace(damage=str(error))
    return listed


# Where the header of a member begins, the bytes that its data takes, and where it has ended since
# something else begins there.
Span = tuple[int, int, int]
Lookup = Callable[[int], ZipEntry | None]


class ZipReader:
    """A .zip file whose members are read one by one.

    Args:
      file: The archive.
      max_bytes: The size of the largest member that is read.
    """

    def __init__(self, file: RangedFile, *, max_bytes: int) -> None:
        self._shown = file.shown
        self._file = io.BufferedReader(file, BUFFER_BYTES)
        self._max_bytes = max_bytes

    @functools.cached_property
    def size(self) -> int:
        """The size of the file."""
        return self._file.seek(0, os.SEEK_END)

    def entries(self) -> Iterator[list[ZipEntry]]:
        """Yields the entries as `zip_contents.list_zip` does."""
        return list_zip(self._file, self._shown)

    def read(self, name: str, span: Span, lookup: Lookup) -> tuple[bytes | FetchError, str]:
        """Returns the data of a member, or why it cannot be had; and its detail.

        Args:
          name: The name of the member.
          span: Where it lies.
          lookup: Returns what the directory tells of an entry by its beginning.
        """
        try:
            return self._read(name, span, lookup)
        except BadDataError as error:
            message = f"{self._member(name)} is damaged: {error}."
            return FetchError(Reason.CORRUPT_ARCHIVE, message), ""

    def _read(self, name: str, span: Span, lookup: Lookup) -> tuple[bytes | FetchError, str]:
        begin, packed, _ = span
        found = self._found(name, span, lookup)
        if isinstance(found, FetchError):
            return found, ""
        entry, is_described, zip64 = found
        if failure := self._refusal(name, entry, is_described):
            return failure, ""
        limit = self._max_bytes if is_described else entry.size
        data = unpack(self._file, packed, entry.method, limit)
        if is_described:
            if len(data) > limit:
                return too_large(self._member(name), self._max_bytes), ""
            self._file.seek(entry.end)
            described = parse_descriptor(self._file.read(DESCRIPTOR_BYTES), entry, zip64)
            entry = described[0] if described else lookup(begin) or entry
        if len(data) != entry.size:
            raise BadDataError(f"it holds other than the {entry.size} bytes that it should")
        if zlib.crc32(data) != entry.crc:
            raise BadDataError("its checksum is not that of its data")
        return data, entry.detail

    def _found(
        self, name: str, span: Span, lookup: Lookup
    ) -> tuple[ZipEntry, bool, bool] | FetchError:
        """Returns a member, with the position of the file that of its data.

        Beside it is whether its size and checksum follow the data, and whether as of Zip64.
        """
        begin, packed, end = span
        header = self._header(begin, end - packed)
        if header is not None:
            entry, is_described, zip64 = header
            tells = entry.packed == packed or (is_described and not entry.packed)
            if tells and entry.name == name:
                return entry._replace(packed=packed), is_described, zip64
        told = lookup(begin)
        if told is None or (told.name, told.packed) != (name, packed):
            message = f"{self._shown} has changed since {name!r:.200} was listed."
            return FetchError(Reason.READ_FAILED, message)
        if header is None:
            raise BadDataError(f"its header at byte {begin} is not right, or overlaps another")
        self._file.seek(begin + header[0].header)
        return told._replace(header=header[0].header), False, False

    def _header(self, begin: int, last: int) -> tuple[ZipEntry, bool, bool] | None:
        """Returns what `_found` does by a header; None if there is none, or it ends too late."""
        if not 0 <= begin <= last - LOCAL_BYTES:
            return None
        self._file.seek(begin)
        header = parse_local(begin, self._file.read(LOCAL_BYTES))
        if header is None:
            return None
        name, extra = self._file.read(header.name_bytes), self._file.read(header.extra_bytes)
        entry, zip64 = header.whole(name, extra)
        if begin + entry.header > last:
            return None
        return entry, header.described_behind, zip64

    def _refusal(self, name: str, entry: ZipEntry, is_described: bool) -> FetchError | None:
        shown = self._member(name)
        if entry.encrypted:
            return FetchError(Reason.ENCRYPTED, f"{shown} is encrypted.")
        if method := unread_method(entry.method):
            return FetchError(
                Reason.UNSUPPORTED_FORMAT,
                f"{shown} is compressed by {method}, which is not read; pack it again by deflate.",
            )
        stored = entry.packed if entry.method == STORED else 0
        if max(0 if is_described else entry.size, stored) > self._max_bytes:
            return too_large(shown, self._max_bytes)
        return None

    def _member(self, name: str) -> str:
        return join_member(self._shown, name)
