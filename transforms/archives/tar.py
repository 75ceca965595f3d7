"""Members of .tar files, which may be compressed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from image_features.transforms.archives.member import (
    CorruptArchiveError,
    NotAnArchiveError,
    Taken,
    Wanted,
    member_name,
)
from image_features.transforms.archives.tape import Tape
from image_features.transforms.archives.tar_headers import USUAL_HEADERS, TarMember, read_headers
from image_features.transforms.stores.members import join_member
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.retries import FetchError, too_large
from image_features.transforms.values import Place, Reason


def list_tar(
    tape: Tape, holds: Callable[[TarMember], bool]
) -> Iterator[tuple[TarMember, bytes | None]]:
    """Yields the members of a .tar file that are whole, in its order.

    Args:
      tape: The file.
      holds: Whether the data of a member is to be read; it is beside the member then.

    Raises:
      CorruptArchiveError: the file is damaged, or has not the mark of its end.
      NotAnArchiveError: the file is no .tar file.
    """
    at = 0
    while member := read_headers(tape, at):
        at = member.end
        data = None
        # The headers of the next member are read along.
        if holds(member):
            data = tape.read(member.data, at - member.data + USUAL_HEADERS)[: member.size]
            if len(data) < member.size:
                raise tape.cut(member.data + len(data))
        elif member.size:
            last = member.data + member.size - 1
            if not tape.read(last, at - last + USUAL_HEADERS):
                raise tape.cut(last)
        yield member, data
    tape.check_rest()


def read_tar(file: RangedFile, wanted: Sequence[Wanted], *, max_bytes: int) -> Iterator[Taken]:
    """Yields members of a .tar file, as `archives.archive.read_members` does."""
    try:
        places = [place for _, place in wanted if place]
        # What is compressed is one span, so that others need no look at the beginning.
        tape = Tape(file, plain=any(place.span for place in places))
        if len(places) == len(wanted):
            for number, (name, _) in enumerate(wanted):
                data, detail = _at_place(tape, name, places[number], max_bytes)
                yield Taken(number, data, detail)
        else:
            yield from _by_names(tape, wanted, max_bytes)
    except (CorruptArchiveError, NotAnArchiveError) as error:
        raise FetchError(Reason.CORRUPT_ARCHIVE, f"{str(error).rstrip('.')}.") from error


def place_of(member: TarMember) -> tuple[int, int]:
    """Returns where a member begins, and the bytes from there to its end."""
    return member.begin, member.data + member.size - member.begin


def detail_of(member: TarMember) -> str:
    """Returns what tells the version of a member from others."""
    return f"{member.data}:{member.size}"


def _at_place(
    tape: Tape, name: str, place: Place, max_bytes: int
) -> tuple[bytes | FetchError, str]:
    shown = join_member(tape.shown, name)
    try:
        member = read_headers(tape, place.begin)
    except (CorruptArchiveError, NotAnArchiveError):
        if tape.compressed:
            raise
        member = None
    if member is None or member_name(member.name) != name or place_of(member) != place[1:]:
        return FetchError(Reason.READ_FAILED, f"{shown} has changed since it was listed."), ""
    if member.size > max_bytes:
        return too_large(shown, max_bytes), ""
    data = tape.read(member.data, member.size)
    if len(data) < member.size:
        raise tape.cut(member.data + len(data))
    return data, detail_of(member)


def _by_names(tape: Tape, wanted: Sequence[Wanted], max_bytes: int) -> Iterator[Taken]:
    left: dict[str, list[int]] = {}
    for number, (name, _) in enumerate(wanted):
        left.setdefault(member_name(name), []).append(number)

    def holds(member: TarMember) -> bool:
        readable = not member.kind and not member.problem and member.size <= max_bytes
        return readable and member_name(member.name) in left

    for member, found in list_tar(tape, holds):
        name = member_name(member.name)
        if member.kind or name not in left:
            continue
        data: bytes | FetchError
        shown = join_member(tape.shown, name)
        if found is not None:
            data = found
        elif member.problem:
            data = FetchError(Reason.UNSUPPORTED_FORMAT, f"{shown}: {member.problem}.")
        else:
            data = too_large(shown, max_bytes)
        for number in left.pop(name):
            yield Taken(number, data, detail_of(member))
        if not left:
            return
