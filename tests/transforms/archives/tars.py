"""What tests do with .tar files."""

from __future__ import annotations

import io
import pathlib
import tarfile

from image_features.transforms.archives.member import Wanted
from image_features.transforms.archives.options import FOUND, ArchiveOptions
from image_features.transforms.archives.tar import read_tar
from image_features.transforms.manifests.packed_tar import tar_rows
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.stores import versions
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import split_member
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Reason


def pack(
    path: pathlib.Path,
    members: dict[str, bytes] | list[tuple[str, bytes]],
    mode: str = "w",
    format: int = tarfile.PAX_FORMAT,
) -> pathlib.Path:
    """Writes a .tar file by Python's own module."""
    with tarfile.open(path, mode, format=format) as tar:
        for name, data in members.items() if isinstance(members, dict) else members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def listed(path: pathlib.Path, members: str = "") -> list[ManifestRow]:
    """Returns the rows of a .tar file, the last of which may be that of its damage."""
    options = ArchiveOptions(tuple(members.split(","))) if members else FOUND
    with open_ranged(str(path), http=HttpPolicy()) as file:
        return list(tar_rows(file, options))


def names(rows: list[ManifestRow]) -> list[str]:
    """Returns the names of the members that rows are of, and of damage its message."""
    found = [split_member(row.uri) for row in rows]
    return [f[1] if f else row.problem for f, row in zip(found, rows, strict=True)]


def fetched(
    path: pathlib.Path, wanted: list[Wanted], max_bytes: int = 10**7
) -> list[bytes | Reason]:
    """Returns the bytes of members, or why they cannot be had."""
    found: list[bytes | Reason] = [Reason.NOT_FOUND] * len(wanted)
    with open_ranged(str(path), http=HttpPolicy()) as file:
        try:
            for number, data, _ in read_tar(file, wanted, max_bytes=max_bytes):
                found[number] = data.reason if isinstance(data, FetchError) else data
        except FetchError as error:
            found = [error.reason if data == Reason.NOT_FOUND else data for data in found]
    return found


def contents(path: pathlib.Path, members: str = "") -> dict[str, bytes | Reason]:
    """Returns what the sound rows of a .tar file hold, the same by their places and names."""
    rows = [row for row in listed(path, members) if split_member(row.uri)]
    wanted = [Wanted(name, row.place) for name, row in zip(names(rows), rows, strict=True)]
    found = fetched(path, wanted)
    with open_ranged(str(path), http=HttpPolicy()) as file:
        for number, _, detail in read_tar(file, wanted, max_bytes=10**7):
            assert versions.of_member(file.version, detail) == rows[number].version
    once = {name: data for (name, _), data in zip(reversed(wanted), reversed(found), strict=True)}
    assert fetched(path, [Wanted(name, None) for name in once]) == list(once.values())
    return once
