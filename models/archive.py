"""Unpacking of model archives, which may be hostile."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zlib
from typing import BinaryIO, cast

from image_features.errors import ModelError
from image_features.models import limits
from image_features.models.addresses import shown
from image_features.models.misfits import what_file
from image_features.models.sources.form import refuse_pointer

_HEADER_BYTES = 1024  # The bytes of the stream that are allowed for each member's headers.
_SLACK_BYTES = 2**20
_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")


class _TooLarge(Exception):
    """The decompressed stream has passed its limit."""


class _Bounded(io.RawIOBase):
    """A stream that fails once more than `limit` bytes were read.

    Sizes in tar headers bound the files; this bounds the headers, which may be as large.
    """

    def __init__(self, source: BinaryIO, limit: int) -> None:
        self._source = source
        self._left = limit

    def readable(self) -> bool:
        """Returns True, always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes."""
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        data = self._source.read(wanted)
        self._left -= len(data)
        if self._left < 0:
            raise _TooLarge
        return data


def is_archive(name: str) -> bool:
    """Whether a path or URL (without query) names an archive; its content says of which kind."""
    return name.lower().endswith(_SUFFIXES)


def unpack(path: str, directory: str, source: str) -> None:
    """Unpacks a tar archive, compressed or not, into an existing directory.

    Args:
      path: The archive, a local file.
      directory: The directory to fill; nothing is written outside it.
      source: The user's name of the archive, for messages.

    Raises:
      ModelError: The file is no such archive, is damaged, exceeds a limit, or has a member that
        is absolute, climbs with "..", is a device, or links outside.
    """
    bound = limits.MAX_UNPACKED_BYTES + _HEADER_BYTES * limits.MAX_MEMBERS + _SLACK_BYTES
    try:
        refuse_pointer(path, f"The model archive {shown(source)!r}")
        with _decompressed(path) as plain:
            stream = _Bounded(plain, bound)
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                _unpack_members(archive, directory, source)
    except _TooLarge:
        raise _too_large(source) from None
    except tarfile.FilterError as error:
        raise _unsafe(source, error.tarinfo.name, str(error)) from error
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        other = what_file(path)
        why = f"it is {other[0]}" if other else str(error)
        raise ModelError(
            f"The model archive {shown(source)!r} is not a whole gzipped tar file ({why}); "
            "download it again, and check that the address names the archive itself."
        ) from error
    except OSError as error:
        raise ModelError(
            f"The model archive {shown(source)!r} cannot be unpacked ({error}); "
            "check the file, and the free space of the cache directory."
        ) from error


def _decompressed(path: str) -> BinaryIO:
    """Opens an archive, compressed or not, whatever its name says."""
    with open(path, "rb") as file:
        head = file.read(512)
    if head.startswith(b"BZh"):
        return cast(BinaryIO, bz2.open(path))
    if head.startswith(b"\xfd7zXZ"):
        return cast(BinaryIO, lzma.open(path))
    if head[257:].startswith(b"ustar"):
        return open(path, "rb")
    return cast(BinaryIO, gzip.open(path))


def _unpack_members(archive: tarfile.TarFile, directory: str, source: str) -> None:
    total = 0
    for count, member in enumerate(archive, start=1):
        total += member.size
        if total > limits.MAX_UNPACKED_BYTES or count > limits.MAX_MEMBERS:
            raise _too_large(source)
        if member.name.startswith(("/", "\\")) or os.path.isabs(member.name):
            raise _unsafe(source, member.name, "its path is absolute")
        if ".." in member.name.replace("\\", "/").split("/"):
            raise _unsafe(source, member.name, "its path contains '..'")
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise _unsafe(source, member.name, "it is a device or another special file")
        archive.extract(member, directory, filter="data")


def _too_large(source: str) -> ModelError:
    return ModelError(
        f"The model archive {shown(source)!r} unpacks to more than {limits.MAX_UNPACKED_BYTES} "
        "bytes or "
        f"{limits.MAX_MEMBERS} files, which no feature model needs; check what it is, and if you "
        "trust it unpack it yourself and name the directory."
    )


def _unsafe(source: str, member: str, reason: str) -> ModelError:
    return ModelError(
        f"The model archive {shown(source)!r} was refused because of its member {member!r}: "
        f"{reason}; "
        "get the model from a source you trust."
    )
