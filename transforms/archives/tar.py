"""Members of .tar files."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence

from image_features.transforms.archives.member import Taken, Wanted
from image_features.transforms.stores.ranged import RangedFile


def read_tar(file: RangedFile, wanted: Sequence[Wanted], *, max_bytes: int) -> Iterator[Taken]:
    """Yields members of a .tar file, as `archives.archive.read_members` does."""
    for number, (_, place) in enumerate(wanted):
        if place is not None:
            file.seek(place.begin)
            yield Taken(number, file.read(place.size), f"{place.begin}:{place.size}")


def list_tar(file: RangedFile) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isreg():
                yield member
