"""The entries of a .zip file that has lost its directory, by the headers before their data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from image_features.transforms.archives.zip_directory import DamagedZip
from image_features.transforms.archives.zip_entries import (
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    LOCAL,
    LOCAL_BYTES,
    ZipEntry,
    parse_descriptor,
    parse_local,
)

_BLOCK = 256 * 2**10
# What unpacks an archive by itself is put before it.
_PREFIX_BYTES = 2**20


def find_first(file: IO[bytes]) -> int | None:
    """Returns where the first header begins; None where there is none."""
    file.seek(0)
    head = file.read(_PREFIX_BYTES)
    if head and LOCAL.startswith(head[:4]):
        return 0
    at = head.find(LOCAL)
    return at if at >= 0 else None


def walk(file: IO[bytes], at: int, size: int) -> Iterator[ZipEntry]:
    """Yields the entries from a place on, as far as they are whole.

    Raises:
      DamagedZip: always in the end, where what follows is no whole entry.
    """
    while True:
        file.seek(at)
        head = file.read(LOCAL_BYTES)
        header = parse_local(at, head)
        if header is None:
            cut = len(head) < LOCAL_BYTES and LOCAL.startswith(head[:4])
            if cut or head[:2] == b"PK":
                raise DamagedZip(f"is cut short at byte {size}")
            raise DamagedZip(f"is damaged at byte {at}")
        name, extra = file.read(header.name_bytes), file.read(header.extra_bytes)
        entry, zip64 = header.whole(name, extra)
        found: tuple[ZipEntry, int] | None = entry, 0
        if header.described_behind:
            found = _described(file, entry, zip64, size)
        if found is None or found[0].end + found[1] > size:
            raise DamagedZip(f"is cut short at byte {size}, behind what begins at byte {at}")
        entry, behind = found
        yield entry
        at = entry.end + behind


def _described(
    file: IO[bytes], entry: ZipEntry, zip64: bool, size: int
) -> tuple[ZipEntry, int] | None:
    """Returns an entry by the descriptor behind its data, and the length of that."""
    if entry.packed:
        if entry.end > size:
            return None
        file.seek(entry.end)
        return parse_descriptor(file.read(DESCRIPTOR_BYTES), entry, zip64)
    # The descriptor is where it tells of as many bytes as lie before it.
    start = at = entry.end
    kept = b""
    while block := file.read(_BLOCK):
        data = kept + block
        found = data.find(DESCRIPTOR)
        while 0 <= found <= len(data) - DESCRIPTOR_BYTES:
            described = entry._replace(packed=at + found - start)
            told = parse_descriptor(data[found : found + DESCRIPTOR_BYTES], described, zip64)
            if told:
                return told
            found = data.find(DESCRIPTOR, found + 1)
        kept = data[1 - DESCRIPTOR_BYTES :]
        at += len(data) - len(kept)
    found = kept.find(DESCRIPTOR)
    if found < 0:
        return None
    return parse_descriptor(kept[found:], entry._replace(packed=at + found - start), zip64)
