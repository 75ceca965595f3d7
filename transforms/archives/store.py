"""The store of what lies in archives: one pass over one gives all members that are wanted."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from image_features.transforms.archives.archive import read_members
from image_features.transforms.archives.member import Wanted
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.stores import versions
from image_features.transforms.stores.files import reason_of
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import archive_format, join_member
from image_features.transforms.stores.ranged import RangedFile, open_ranged, version_of
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.store import Content
from image_features.transforms.stores.uris import redact_text, redact_uri
from image_features.transforms.values import Reason

# Thousands of members ask whether their archive is the same within moments.
_REMEMBERED_SECONDS = 60.0


class ArchiveStore:
    """Members of archives; safe in many threads.

    Args:
      http: How archives are fetched over http(s).
      max_bytes: Larger members fail.
      options: Which members or columns are images.
      sleep: Waits between attempts; a fake in tests.
    """

    def __init__(
        self,
        http: HttpPolicy,
        *,
        max_bytes: int,
        options: ArchiveOptions,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = http
        self._max_bytes = max_bytes
        self._options = options
        self._sleep = sleep
        self._asked: dict[str, _Asked] = {}
        self._lock = threading.Lock()

    def read(
        self, archive: str, wanted: Sequence[Wanted], until: float = math.inf
    ) -> Iterator[tuple[int, Content | FetchError]]:
        """Yields members as the archive is read, each once, by their positions; never raises.

        Args:
          archive: The location of the archive.
          wanted: The members.
          until: When reading ends, by the monotonic clock; what is left then has timed out.
        """
        left = set(range(len(wanted)))
        try:
            with open_ranged(archive, http=self._http, sleep=self._sleep) as opened:
                timed = until < math.inf
                file = cast(RangedFile, _TimedFile(opened, until)) if timed else opened
                for number, content in self._read(file, archive, wanted):
                    if number in left:
                        left.remove(number)
                        yield number, content
            failure = None
        except FetchError as error:
            failure = error
        except Exception as error:  # What is wrong with one archive must not fail others.
            reason = reason_of(error) if isinstance(error, OSError) else Reason.READ_FAILED
            message = f"{redact_uri(archive)} cannot be read: {redact_text(str(error))[:300]}"
            failure = FetchError(reason, message)
        for number in sorted(left):
            yield number, failure or _missing(archive, wanted[number])

    def is_unchanged(self, archive: str, version: str) -> bool:
        """Whether an archive is the one that a member's version was told of.

        Raises:
          FetchError: the archive cannot be reached.
        """
        with self._lock:
            asked = self._asked.setdefault(archive, _Asked())
        with asked.lock:
            if time.monotonic() > asked.until:
                asked.version = ""  # An archive that fails now is not asked for each member.
                asked.until = time.monotonic() + _REMEMBERED_SECONDS
                asked.version = version_of(archive, http=self._http, sleep=self._sleep)
        return versions.is_of_archive(version, asked.version)

    def _read(
        self, file: RangedFile, archive: str, wanted: Sequence[Wanted]
    ) -> Iterator[tuple[int, Content | FetchError]]:
        format = archive_format(archive)
        if format is None:
            raise FetchError(Reason.UNSUPPORTED_FORMAT, f"{redact_uri(archive)} is no archive.")
        taken = read_members(file, format, wanted, max_bytes=self._max_bytes, options=self._options)
        for number, data, detail in taken:
            if isinstance(data, FetchError):
                yield number, data
            elif not data:
                yield number, _empty(archive, wanted[number])
            else:
                yield number, Content(data, versions.of_member(file.version, detail))


@dataclasses.dataclass
class _Asked:
    """The version of an archive, and until when it is believed."""

    version: str = ""
    until: float = 0.0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


class _TimedFile(io.BufferedReader):
    """An archive that is read up to a moment, with the attributes of RangedFile."""

    def __init__(self, file: RangedFile, until: float) -> None:
        super().__init__(_TimedParts(file, until))
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _TimedParts(io.RawIOBase):
    def __init__(self, file: RangedFile, until: float) -> None:
        self._file = file
        self._until = until

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        if time.monotonic() > self._until:
            message = f"{self._file.shown} takes longer to read than there is time."
            raise FetchError(Reason.TIMEOUT, message)
        return self._file.readinto(buffer)


def _shown(archive: str, member: Wanted) -> str:
    return join_member(redact_uri(archive), member.name)


def _missing(archive: str, member: Wanted) -> FetchError:
    return FetchError(Reason.NOT_FOUND, f"{_shown(archive, member)} is not in the archive.")


def _empty(archive: str, member: Wanted) -> FetchError:
    return FetchError(Reason.EMPTY_FILE, f"{_shown(archive, member)} is empty.")
