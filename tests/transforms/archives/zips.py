"""Zip files for tests, and what the product finds in them."""

from __future__ import annotations

import io
import pathlib
import struct
import zipfile
from collections.abc import Iterable, Mapping

from image_features.transforms.archives.archive import read_members
from image_features.transforms.archives.member import Taken, Wanted
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.manifests.packed import read_packed
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import ArchiveFormat, split_member
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.retries import FetchError

MAX_BYTES = 2**20


class Unseekable(io.RawIOBase):
    """A file that can only be written on, as a pipe: sizes then stand behind the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.data += data
        return len(data)


def make(
    members: Mapping[str, bytes] | Iterable[tuple[str | zipfile.ZipInfo, bytes]],
    *,
    method: int = zipfile.ZIP_STORED,
    piped: bool = False,
    prefix: bytes = b"",
    comment: bytes = b"",
) -> bytes:
    """Returns a zip that Python's zipfile has written."""
    file = Unseekable() if piped else io.BytesIO(prefix)
    file.seek(0, io.SEEK_END) if not piped else None
    with zipfile.ZipFile(file, "w" if not prefix else "a", method) as archive:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            archive.writestr(name, data, None if isinstance(name, zipfile.ZipInfo) else method)
        archive.comment = comment
    return bytes(file.data) if isinstance(file, Unseekable) else file.getvalue()


def rows_of(path: pathlib.Path, *members: str) -> list[ManifestRow]:
    """Returns the rows of an archive."""
    with open_ranged(str(path), http=HttpPolicy()) as file:
        return list(read_packed(file, ArchiveFormat.ZIP, ArchiveOptions(members)))


def read(path: pathlib.Path, wanted: list[Wanted], max_bytes: int = MAX_BYTES) -> list[Taken]:
    """Returns what is read of members."""
    with open_ranged(str(path), http=HttpPolicy()) as file:
        return list(
            read_members(
                file, ArchiveFormat.ZIP, wanted, max_bytes=max_bytes, options=ArchiveOptions()
            )
        )


def contents(
    path: pathlib.Path, rows: Iterable[ManifestRow], *, placed: bool = True
) -> dict[str, bytes | str]:
    """Returns the bytes of members by their names, or the reasons why they cannot be read."""
    wanted = []
    for row in rows:
        split = split_member(row.uri)
        if split:
            wanted.append(Wanted(split[1], row.place if placed else None))
    taken = read(path, wanted)
    assert len({one.number for one in taken}) == len(taken)
    return {
        wanted[number].name: str(data.reason) if isinstance(data, FetchError) else data
        for number, data, _ in taken
    }


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    """Returns bytes with others in the place of some."""
    new = struct.pack(form, *values)
    return data[:at] + new + data[at + len(new) :]
