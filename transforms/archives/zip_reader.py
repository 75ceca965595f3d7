"""Reads members of .zip files, and believes no number that their data does not bear out."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from image_features.transforms.archives.checksum import crc32
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

# No archive is as long.
NO_END = 2**64
# Where the header of a member begins, the bytes that its data takes, and where it has ended since
# something else begins there.
Span = tuple[int, int, int]
Lookup = Callable[[str, int], ZipEntry | None]


class _Found(NamedTuple):
    """A member, and whether its size and checksum follow its data, and whether as of Zip64."""

    entry: ZipEntry
    is_described: bool = False
    zip64: bool = False


class ZipReader:
    """A .zip file whose members are read one by one.

    Args:
      file: The archive.
      max_bytes: The size of the largest member that is read.
    """

    def __init__(self, file: RangedFile, *, max_bytes: int) -> None:
        self._shown = file.shown
        self._file = file
        self._max_bytes = max_bytes

    @functools.cached_property
    def size(self) -> int:
        """The size of the file, which is asked for by its end."""
        return self._file.seek(0, os.SEEK_END)

    def entries(self) -> Iterator[list[ZipEntry]]:
        """Yields the entries as `zip_contents.list_zip` does."""
        return list_zip(self._file, self.size, self._shown)

    def holds(self, entry: ZipEntry) -> bool:
        """Whether an entry lies within the file."""
        return entry.begin >= 0 and entry.end <= self.size

    def read(self, name: str, span: Span, lookup: Lookup) -> tuple[bytes | FetchError, str]:
        """Returns the data of a member, or why it cannot be had; and its detail.

        Args:
          name: The name of the member.
          span: Where it lies.
          lookup: Returns the entry of a name that begins at a place, by the directory.
        """
        try:
            found = self._found(name, span, lookup)
            if isinstance(found, FetchError):
                return found, ""
            try:
                return self._read(name, span, found, lookup)
            except BadDataError:
                told = lookup(name, span[0])
                if told is None or told.detail == found.entry.detail or told.packed != span[1]:
                    raise
                # Its header may be damaged, and nothing else.
                return self._read(name, span, self._by(told, found.entry.header), lookup)
        except BadDataError as error:
            message = f"{self._member(name)} is damaged: {error}."
            return FetchError(Reason.CORRUPT_ARCHIVE, message), ""

    def _read(
        self, name: str, span: Span, found: _Found, lookup: Lookup
    ) -> tuple[bytes | FetchError, str]:
        begin, packed, end = span
        entry, is_described, zip64 = found
        if failure := self._refusal(name, found):
            return failure, ""
        limit = self._max_bytes if is_described else entry.size
        data = unpack(self._file, packed, entry.method, limit, exact=not is_described)
        if is_described:
            if len(data) > limit:
                return too_large(self._member(name), self._max_bytes), ""
            self._file.seek(entry.end)
            # What goes beyond it would be read again, over a network by another request.
            behind = self._file.read(min(DESCRIPTOR_BYTES, end - entry.end))
            described = parse_descriptor(behind, entry, zip64)
            entry = described[0] if described else lookup(name, begin) or entry
        if len(data) != entry.size:
            raise BadDataError(f"it holds other than the {entry.size} bytes that it should")
        if crc32(data) != entry.crc:
            raise BadDataError("its checksum is not that of its data")
        return data, entry.detail

    def _found(self, name: str, span: Span, lookup: Lookup) -> _Found | FetchError:
        """Returns a member, with the position of the file that of its data."""
        begin, packed, end = span
        header = self._header(begin, end - packed)
        if header is not None:
            entry, is_described, _ = header
            tells = entry.packed == packed or (is_described and not entry.packed)
            if tells and entry.name == name:
                return header._replace(entry=entry._replace(packed=packed))
        told = lookup(name, begin)
        if told is None or told.packed != packed:
            message = f"{self._shown} has changed since {name!r:.200} was listed."
            return FetchError(Reason.READ_FAILED, message)
        if header is None:
            raise BadDataError(f"its header at byte {begin} is not right, or overlaps another")
        return self._by(told, header.entry.header)

    def _by(self, told: ZipEntry, header: int) -> _Found:
        """Returns a member as the directory tells it, behind the bytes of its header."""
        self._file.seek(told.begin + header)
        return _Found(told._replace(header=header))

    def is_there(self, name: str, begin: int) -> bool:
        """Whether a member of that name begins at a place."""
        header = self._header(begin, NO_END)
        return header is not None and header.entry.name == name

    def _header(self, begin: int, last: int) -> _Found | None:
        """Returns what `_found` does by a header; None if there is none, or it ends too late."""
        if not 0 <= begin <= last - LOCAL_BYTES:
            return None
        try:
            self._file.seek(begin)
        except (OSError, ValueError):  # No file is as long.
            return None
        header = parse_local(begin, self._file.read(LOCAL_BYTES))
        if header is None:
            return None
        name, extra = self._file.read(header.name_bytes), self._file.read(header.extra_bytes)
        entry, zip64 = header.whole(name, extra)
        if begin + entry.header > last:
            return None
        return _Found(entry, header.described_behind, zip64)

    def _refusal(self, name: str, found: _Found) -> FetchError | None:
        shown, entry = self._member(name), found.entry
        if entry.encrypted:
            return FetchError(Reason.ENCRYPTED, f"{shown} is encrypted.")
        if method := unread_method(entry.method):
            return FetchError(
                Reason.UNSUPPORTED_FORMAT,
                f"{shown} is compressed by {method}, which is not read; pack it again by deflate.",
            )
        stored = entry.packed if entry.method == STORED else 0
        if max(0 if found.is_described else entry.size, stored) > self._max_bytes:
            return too_large(shown, self._max_bytes)
        return None

    def _member(self, name: str) -> str:
        return join_member(self._shown, name)
