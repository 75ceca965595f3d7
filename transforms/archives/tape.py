"""What is read forward of an archive: a file as it is, or what a compressed one holds."""

from __future__ import annotations

from typing import Any

from image_features.transforms.archives.member import CorruptArchiveError, NotAnArchiveError
from image_features.transforms.stores.compression import (
    DamagedFileError,
    Decompressed,
    decompressed,
)
from image_features.transforms.stores.ranged import RangedFile

_BLOCK = 2**18


class Tape:
    """The content of an archive, by offsets that do not go back.

    What was read last may be read again, in parts. Damage of a compressed file is an end of it.

    Args:
      file: The archive.
      plain: Whether it is known not to be compressed, so that its beginning is not looked at.

    Attributes:
      shown: The name of the archive in messages.
      compressed: Whether the archive is compressed, so that all before an offset has to be read.

    Raises:
      NotAnArchiveError: the archive is compressed in a way that is not read.
    """

    def __init__(self, file: RangedFile, *, plain: bool = False) -> None:
        self.shown = file.shown
        self._archive = file
        try:
            content: Any = file
            if not plain:
                content = decompressed(file, "", shown=file.shown, strict=False)
        except DamagedFileError as error:
            raise NotAnArchiveError(str(error)) from error
        self.compressed = isinstance(content, Decompressed)
        self._file = content
        self._error: DamagedFileError | None = None
        self._buffer = b""
        self._start = 0

    def read(self, offset: int, size: int) -> bytes:
        """Returns bytes of the content, fewer only at its end."""
        start = offset - self._start
        if start >= 0 and start + size <= len(self._buffer):
            return self._buffer[start : start + size]
        kept = self._buffer[start:] if 0 <= start < len(self._buffer) else b""
        if not kept and start != len(self._buffer):
            self._skip_to(offset)
        taken = self._take(size - len(kept))
        self._buffer = kept + taken if kept else taken
        self._start = offset
        return self._buffer

    def held(self, offset: int, size: int) -> bytes:
        """Returns bytes of the content if all of them have been read; none otherwise."""
        start = offset - self._start
        return self._buffer[start : start + size] if 0 <= start <= len(self._buffer) - size else b""

    def check_rest(self) -> None:
        """Reads a compressed file to its end, where its checksum is.

        Raises:
          CorruptArchiveError: the file is damaged.
        """
        while self.compressed and self._buffer:
            self._start += len(self._buffer)
            self._buffer = self._take(_BLOCK)
        if self._error:
            raise self.cut(self._start)

    def cut(self, offset: int) -> CorruptArchiveError:
        """Returns the error of an archive whose content ends at an offset, or somewhere before."""
        if self._error:
            end = self._start + len(self._buffer)
            return CorruptArchiveError(f"{self._error}, at byte {end} of its content")
        end = min(offset, self._start + len(self._buffer))
        if not self.compressed and (size := self._archive.size) is not None:
            end = min(offset, size)
        return CorruptArchiveError(f"{self.shown} is cut short at byte {end}")

    def _skip_to(self, offset: int) -> None:
        if not self.compressed:
            self._file.seek(offset)
            return
        at = self._start + len(self._buffer)
        self._buffer = b""
        while at < offset and (block := self._take(min(_BLOCK, offset - at))):
            at += len(block)
        self._start = at

    def _take(self, size: int) -> bytes:
        """Returns the next bytes of the file, fewer only at its end."""
        parts: list[bytes] = []
        while size > 0 and self._error is None:
            try:
                part = self._file.read(size)
            except DamagedFileError as error:
                self._error = error
                break
            if not part:
                break
            if len(part) == size and not parts:
                return part
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
