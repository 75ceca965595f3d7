"""Members of .zip files, by their names and places."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from image_features.transforms.archives.member import (
    CorruptArchiveError,
    NotAnArchiveError,
    Taken,
    Wanted,
)
from image_features.transforms.archives.zip_entries import LOCAL_BYTES, ZipEntry
from image_features.transforms.archives.zip_reader import NO_END, ZipReader
from image_features.transforms.stores.members import join_member
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Reason


def read_zip(file: RangedFile, wanted: Sequence[Wanted], *, max_bytes: int) -> Iterator[Taken]:
    """Yields members of a .zip file, as `archives.archive.read_members` does.

    The header before a member, or what stands behind its data, tells its size and checksum. The
    directory is read again only where these do not, and where only names are known.
    """
    reader = ZipReader(file, max_bytes=max_bytes)
    listed = functools.cache(lambda: _listed(reader, wanted))

    def entry_of(name: str, begin: int) -> ZipEntry | None:
        return listed().by_place.get((name, begin))

    lie = []
    for number, (name, place) in enumerate(wanted):
        if place is not None:
            lie.append(_Lies(place.begin, number, name, place.size))
        elif (entry := listed().by_name.get(name)) and reader.holds(entry):
            lie.append(_Lies(entry.begin, number, name, entry.packed))
        elif entry or listed().damage:
            damage = listed().damage or f"{file.shown} ends before it begins"
            message = f"{join_member(file.shown, name)} is not found: {damage}."
            yield Taken(number, FetchError(Reason.CORRUPT_ARCHIVE, message))
    lie.sort()
    for (begin, number, name, packed), end in zip(lie, _ends(reader, lie), strict=True):
        data, detail = reader.read(name, (begin, packed, end), entry_of)
        yield Taken(number, data, detail)


class _Lies(NamedTuple):
    """Where a member lies, and which of those that are wanted it is."""

    begin: int
    number: int
    name: str
    packed: int


def _ends(reader: ZipReader, lie: Sequence[_Lies]) -> list[int]:
    """Returns where each member has ended at the latest, since another begins there.

    Archives whose members share their data would otherwise be without end.
    """
    begins = [one.begin for one in lie]
    if all(a.begin + LOCAL_BYTES + a.packed <= b.begin for a, b in itertools.pairwise(lie)):
        return [*begins, NO_END][1:] if lie else []
    # A directory that is damaged may tell of beginnings that are none.
    real = [reader.is_there(one.name, one.begin) for one in lie]
    begins = [begin for begin, is_real in zip(begins, real, strict=True) if is_real]
    ends = []
    for one, is_real in zip(lie, real, strict=True):
        after = bisect.bisect_right(begins, one.begin)
        limit = begins[after] if after < len(begins) else NO_END
        ends.append(limit if is_real else one.begin)
    return ends


class _Listed(NamedTuple):
    """What the directory tells of the members that are wanted.

    Attributes:
      by_name: The first entry of each name.
      by_place: The entries by their names and beginnings.
      damage: What is wrong with the archive; empty if nothing is.
    """

    by_name: dict[str, ZipEntry]
    by_place: dict[tuple[str, int], ZipEntry]
    damage: str


def _listed(reader: ZipReader, wanted: Sequence[Wanted]) -> _Listed:
    names = {name for name, _ in wanted}
    places = {(name, place.begin) for name, place in wanted if place}
    listed = _Listed({}, {}, "")
    try:
        for entry in itertools.chain.from_iterable(reader.entries()):
            if entry.name in names:
                first = listed.by_name.setdefault(entry.name, entry)
                if entry is first or (entry.name, entry.begin) in places:
                    listed.by_place.setdefault((entry.name, entry.begin), entry)
    except NotAnArchiveError as error:
        raise FetchError(Reason.CORRUPT_ARCHIVE, str(error)) from error
    except CorruptArchiveError as error:
        return listed._replace(damage=str(error))
    return listed
