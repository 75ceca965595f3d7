"""Which version of an image a location holds, in a short text that changes when the image does.

The text says where the version comes from, so that versions of different origins are never taken
for equal: `file:SIZE:MTIME` (nanoseconds), `etag:VALUE`, `modified:DATE:SIZE`, `generation:NUMBER`,
`listed:SIZE:TIME` (what a listing says), `column:VALUE` (what the manifest says) and, within an
archive, `member:HASH:DETAIL` (a hash of the archive's version, and what the archive tells of the
member). An empty text is an unknown version: it equals nothing.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping

LONGEST = 256
_MEMBER = "member:"


def of_file(status: os.stat_result) -> str:
    """Returns the version of a local file."""
    return f"file:{status.st_size}:{status.st_mtime_ns}"


def of_answer(headers: Mapping[str, str]) -> str:
    """Returns the version that the headers of an answer tell, by RFC 9110, section 8.8."""
    etag = headers.get("ETag", "").strip()
    if etag:
        return _bounded(f"etag:{etag}")
    date = headers.get("Last-Modified", "").strip()
    return _bounded(f"modified:{date}:{headers.get('Content-Length', '')}") if date else ""


def of_object(generation: str | int) -> str:
    """Returns the version of an object of Cloud Storage."""
    return f"generation:{generation}" if generation else ""


def of_listing(size: int, updated: float | None) -> str:
    """Returns the version of a file by its listing, from its size and time of change in seconds."""
    return f"listed:{size}:{updated!r}" if updated else ""


def of_column(value: object) -> str:
    """Returns the version that a column of the manifest gives."""
    text = "" if value is None or value != value else str(value).strip()
    return _bounded(f"column:{text}") if text else ""


def of_member(archive: str, detail: str) -> str:
    """Returns the version of a member of an archive.

    Args:
      archive: The version of the archive; empty if unknown, as that of its members is then.
      detail: What the archive tells of the member, such as its size and checksum.
    """
    return f"{_of_members(archive)}{_bounded(detail)}" if archive else ""


def is_of_member(version: str) -> bool:
    """Whether a version is that of a member of an archive."""
    return version.startswith(_MEMBER)


def is_of_archive(version: str, archive: str) -> bool:
    """Whether the version of a member was told of a version of its archive."""
    return bool(archive) and version.startswith(_of_members(archive))


@functools.lru_cache(64)  # Each member of an archive has it.
def _of_members(archive: str) -> str:
    return f"{_MEMBER}{hashlib.sha256(archive.encode()).hexdigest()[:16]}:"


def conditions(version: str) -> dict[str, str]:
    """Returns headers by which a server need not send the body if the version is still there.

    A date is no such condition: to a server any date that is not later means unmodified (RFC 9110,
    section 13.1.3), also that of an older file that was put back.
    """
    kind, _, value = version.partition(":")
    return {"If-None-Match": value} if kind == "etag" else {}


def still_there(version: str, headers: Mapping[str, str]) -> bool:
    """Whether an answer of "not modified" is about this version, by the ETag that it has."""
    etag = headers.get("ETag", "").strip() or version.removeprefix("etag:")
    return bool(conditions(version)) and are_same(f"etag:{etag}", version)


def are_same(version: str, other: str) -> bool:
    """Whether two answers have told of one version: a server may weaken an ETag."""
    return _weakly(version) == _weakly(other)


def _weakly(version: str) -> str:
    return version.replace("etag:W/", "etag:", 1)


def _bounded(text: str) -> str:
    """Replaces a text that is too long for a version by its hash: a server may send anything."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if len(text) <= LONGEST:
        return text
    return f"{text.partition(':')[0][:32]}-sha256:{hashlib.sha256(text.encode()).hexdigest()}"
