"""SeekingFile: a file without a buffer that keeps where it is to be read next."""

from __future__ import annotations

import abc
import io
import os


class SeekingFile(io.RawIOBase):
    """A file that is sought without being touched, except for its end.

    Subclasses read from `_position` on and move it, and tell where the end is.

    Args:
      shown: The file's name in messages.
    """

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += self._find_size()
        if offset < 0:
            raise ValueError(f"{self.shown} has nothing before its first byte")
        self._position = offset
        return offset

    @abc.abstractmethod
    def _find_size(self) -> int:
        """Returns the size of the file, whatever it takes."""
