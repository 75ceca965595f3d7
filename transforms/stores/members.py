"""Archives by their names, and the URIs of what lies in them: `photos.tar!/a/b.jpg`."""

from __future__ import annotations

import enum
import functools
import re

MARK = "!/"
_NAME = re.compile(
    r"\.(?:(?P<tar>tar|tgz|tbz2?|txz|tzst)|(?P<zip>zip)|(?P<parquet>parquet)"
    r"|(?P<tfrecord>tfrecords?|tfrec|records?(?=-\d+-of-)))(?:\.(?:gz|bz2|xz|zst))?(?:-\d+-of-\d+)?(?:\.gz)?$",
    re.IGNORECASE,
)
_ROW = re.compile(r"row/\d{1,18}")
_BEHIND_PATH = re.compile("[?#]")
# The name of the last part of a path is enough, and a bound for the expression above.
_LONGEST_SUFFIX = 64


class ArchiveFormat(enum.StrEnum):
    """The formats of archives."""

    TAR = "tar"
    ZIP = "zip"
    PARQUET = "parquet"
    TFRECORD = "tfrecord"


def archive_format(location: str) -> ArchiveFormat | None:
    """Returns the format that the name of an archive tells, or None for another name."""
    found = _NAME.search(location[-_LONGEST_SUFFIX:])
    if not found and location[:8].lower().startswith(("http://", "https://")):
        found = _NAME.search(_BEHIND_PATH.split(location, maxsplit=1)[0][-_LONGEST_SUFFIX:])
    return ArchiveFormat(found.lastgroup) if found and found.lastgroup else None


def split_member(uri: str) -> tuple[str, str] | None:
    """Returns the archive and the member that a URI names, or None if it names a file.

    Only what stands behind the name of an archive is a member: any directory's name may end in an
    exclamation mark. An archive within an archive is a member like others. Files of records have
    any name, where the user says what they are.
    """
    at = uri.find(MARK)
    while at > 0:
        if _is_archive(uri[:at]) or _ROW.fullmatch(uri, at + len(MARK)):
            return uri[:at], uri[at + len(MARK) :]
        at = uri.find(MARK, at + 1)
    return None


@functools.lru_cache(64)  # Each member of an archive has it.
def _is_archive(location: str) -> bool:
    return archive_format(location) is not None


def join_member(archive: str, member: str) -> str:
    """Returns the URI of a member of an archive."""
    return f"{archive}{MARK}{member}"
