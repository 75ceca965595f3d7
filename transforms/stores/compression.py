"""Compressed files, told by their first bytes, and read as what they hold."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any, BinaryIO, cast

from image_features.errors import ImageFeaturesError

# What files begin with, by the suffixes that tell the same.
_MAGIC = {
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\0",
    ".zst": b"\x28\xb5\x2f\xfd",
}
_UNREAD = {
    ".zip": b"PK\x03\x04",
    ".7z": b"7z\xbc\xaf\x27\x1c",
    ".lz4": b"\x04\x22\x4d\x18",
    ".Z": b"\x1f\x9d",
    ".rar": b"Rar!\x1a\x07",
}
# Its first block or its end, since a file of text may well begin with "BZh".
_BEHIND_BZH = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
_BLOCK = 2**18
# Twice what xz -9 needs; a file may claim gigabytes.
_XZ_MEMORY = 128 * 2**20
_LOST_BY_ZST = 512  # So much before damage may be lost, which is a block of a .tar.


class DamagedFileError(ImageFeaturesError, OSError):
    """A compressed file that does not hold what it should; the message is for the user."""


def without_suffix(path: str) -> str:
    """Returns a path without the suffix that says how it is compressed."""
    suffix = _suffix_of(path, _MAGIC)
    return path[: -len(suffix)] if suffix else path


def decompressed(file: IO[bytes], path: str, *, shown: str, strict: bool) -> IO[bytes]:
    """Returns the content of a file, decompressed if its first bytes say that it is compressed.

    Args:
      file: The file, at its beginning.
      path: The path that may end in a compression's suffix.
      shown: The file's name in messages.
      strict: Whether a file must be compressed if its suffix says so. A server may have
        decompressed it on the way.

    Raises:
      DamagedFileError: the file is not what its suffix says, or is compressed in another way.
    """
    if not isinstance(file, io.BufferedReader):
        file = io.BufferedReader(cast(Any, file), _BLOCK)
    head = file.peek(16)[:16]
    for suffix, magic in _UNREAD.items():
        if head.startswith(magic):
            raise DamagedFileError(
                f"{shown} is compressed as {suffix}, which is not read: unpack it, or use "
                f"{', '.join(_MAGIC)}"
            )
    for suffix, magic in _MAGIC.items():
        if head.startswith(magic) and (suffix != ".bz2" or head[4:10] in _BEHIND_BZH):
            return cast(BinaryIO, Decompressed(file, suffix, shown))
    expected = _suffix_of(path, _MAGIC)
    if expected and strict:
        raise DamagedFileError(
            f"{shown} is empty, or damaged: its name ends in {expected}, but its content is not "
            "compressed so"
        )
    return file


class Decompressed(io.RawIOBase):
    """The content of a compressed file; whatever is wrong with it ends in DamagedFileError.

    Args:
      file: The compressed file.
      suffix: The suffix that stands for its compression; `.zlib` for a bare stream of zlib.
      shown: The file's name in messages.
    """

    def __init__(self, file: IO[bytes], suffix: str, shown: str) -> None:
        self._shown = shown
        if suffix == ".gz":
            self._content: Any = gzip.GzipFile(fileobj=file)
            self._read = self._content.read1
        elif suffix == ".zlib":
            self._content = _Zlib(file)
            self._read = self._content.read
        else:
            self._content = (
                _Zst(file) if suffix == ".zst" else _Streams(file, _DECOMPRESSORS[suffix])
            )
            self._read = self._content.read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._read(min(len(buffer), _BLOCK))
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise DamagedFileError(f"{self._shown} is damaged or cut short: {error}") from error
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._content.close()
        super().close()


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".bz2": bz2.BZ2Decompressor,
    ".xz": functools.partial(lzma.LZMADecompressor, memlimit=_XZ_MEMORY),
}


class _Zlib:
    """The content of a stream of zlib."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        while not self._stream.eof:
            data = self._stream.unconsumed_tail or self._file.read(_BLOCK)
            content = self._stream.decompress(data, size)
            if content:
                return content
            if not data:
                raise EOFError("its end is missing")
        if self._stream.unused_data or self._file.read(1):
            raise EOFError("something else is behind its end")
        return b""

    def close(self) -> None:
        self._file.close()


class _Streams:
    """The content of concatenated streams; the classes of files pass over what follows one."""

    def __init__(self, file: IO[bytes], decompressor: Callable[[], Any]) -> None:
        self._file = file
        self._decompressor = decompressor
        self._stream = decompressor()

    def read(self, size: int) -> bytes:
        while True:
            data = b""
            if self._stream.eof:
                data = self._stream.unused_data.lstrip(b"\0")
                while not data and (more := self._file.read(_BLOCK)):
                    data = more.lstrip(b"\0")
                if not data:
                    return b""
                self._stream = self._decompressor()
            elif self._stream.needs_input and not (data := self._file.read(_BLOCK)):
                raise EOFError("its end is missing")
            if content := self._stream.decompress(data, size):
                return bytes(content)

    def close(self) -> None:
        self._file.close()


class _Zst:
    """The content of a zst file; pyarrow keeps nothing of what it read before it met damage."""

    def __init__(self, file: IO[bytes]) -> None:
        import pyarrow as pa

        # It reads concatenated files too, and refuses what is left over behind one.
        self._content = pa.CompressedInputStream(file, "zstd")
        self._error: OSError | None = None

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0 and self._error is None:
            try:
                part = self._content.read(min(size, _LOST_BY_ZST))
            except OSError as error:
                self._error = error
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        if self._error and not parts:
            raise self._error
        return b"".join(parts)

    def close(self) -> None:
        self._content.close()


def _suffix_of(path: str, suffixes: Any) -> str:
    return next((suffix for suffix in suffixes if path.lower().endswith(suffix)), "")
