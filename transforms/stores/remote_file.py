"""Files over a network that seek, in few requests."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from typing import IO, Any

from image_features.system.disks import named_file
from image_features.transforms.stores.range_reader import RangeReader
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.seeking import SeekingFile
from image_features.transforms.values import Reason

# A new connection and a request take about 100 ms over 50 ms of way, in which 4 MiB come.
READ_THROUGH = 4 * 2**20
# Who looks at the beginning to tell what a file is goes back to it.
_HEAD = 512 * 1024
# The directory of a .zip file or the footer of a Parquet file, and what comes behind a comment.
_END = 128 * 1024
_BLOCK = 2**18
_SPOOLED_IN_MEMORY = 16 * 2**20
_MOST_SPOOLED = 16 * 2**30


class RemoteFile(SeekingFile):
    """A file that is requested when it is read.

    Reading forward is one request, seeks over a little included. The beginning is kept. The end is
    read as a whole, since who asks for some of it asks for more. A file whose server sends no parts
    is read forward, too; when it is to be read backward, it is fetched anew into a temporary file,
    as far as it is read.

    Args:
      reader: The reader of the file.
    """

    def __init__(self, reader: RangeReader) -> None:
        super().__init__(reader.shown)
        self._reader = reader
        # The body goes on behind a block that begins at an offset.
        self._body: Generator[bytes, None, None] | None = None
        self._at = 0
        self._block = memoryview(b"")
        self._head = b""
        self._end_at = 0
        self._end = memoryview(b"")
        self._spool: IO[bytes] | None = None

    @property
    def version(self) -> str:
        """The version that is read; empty if the server tells none."""
        self._be_told()
        return self._reader.version

    @property
    def size(self) -> int | None:
        """The size of the file; None if the server does not tell it before the end."""
        self._be_told()
        return self._reader.size

    @property
    def in_parts(self) -> bool:
        """Whether reading may begin anywhere at the same cost."""
        self._be_told()
        return self._reader.in_parts

    def block(self) -> memoryview:
        """Reads some bytes as they came, without a copy; none at the end of the file."""
        block = self._found(self._position)
        self._position += len(block)
        return block

    def readinto(self, buffer: Any) -> int:
        block = self._found(self._position)
        size = min(len(buffer), len(block))
        buffer[:size] = block[:size]
        self._position += size
        return size

    def close(self) -> None:
        self._leave()
        if self._spool is not None:
            self._spool.close()
        super().close()

    def _be_told(self) -> None:
        if not self._reader.is_told:
            self._found(self._position)

    def _find_size(self) -> int:
        if not self._reader.is_told:
            self._find_end()
        self._be_told()
        while self._reader.size is None:
            self._spooled(self._at)  # Only the end of the body tells.
        return self._reader.size

    def _found(self, position: int) -> memoryview:
        """Returns some bytes from a position on; none at the end of the file."""
        size = self._reader.size
        if size is not None and position >= size:
            return memoryview(b"")
        gap = position - self._at - len(self._block)
        goes_on = self._body is not None and position >= self._at
        if position < len(self._head):
            return memoryview(self._head)[position:]
        # A body that is read to its end gives back its connection.
        if self._end and position >= self._end_at and not (goes_on and gap <= 0):
            return self._end[position - self._end_at :]
        if self._spool is not None:
            return self._spooled(position)
        if not goes_on or (gap > READ_THROUGH and self._reader.in_parts):
            self._leave()
            is_end = size is not None and position >= size - _END
            if is_end and self._reader.in_parts:
                self._find_end()
                if self._end and position >= self._end_at:
                    return self._end[position - self._end_at :]
            goes_back = is_end or position < self._at
            if goes_back and self._reader.is_told and not self._reader.in_parts:
                return self._spooled(position)
            self._at = position
        while position >= self._at + len(self._block):
            self._at += len(self._block)
            block = self._pull(self._at)
            self._block = memoryview(block)
            if not block:
                return self._block
            if self._at == len(self._head) < _HEAD:
                self._head += block
        self._block = self._block[position - self._at :]
        self._at = position
        return self._block

    def _find_end(self) -> None:
        if found := self._reader.end(_END):
            self._end_at, self._end = found[0], memoryview(found[1])

    def _pull(self, at: int) -> bytes:
        if self._body is None:
            self._body = self._reader.blocks(at)
        try:
            return next(self._body, b"")
        except BaseException:
            self._body = None  # It would look like the end of the file.
            raise

    def _leave(self) -> None:
        if self._body is not None:
            self._body.close()
        self._body, self._block = None, memoryview(b"")

    def _spooled(self, position: int) -> memoryview:
        """Returns some bytes out of a temporary file, which has all that comes before, too."""
        if self._spool is None:
            self._leave()
            self._spool = tempfile.SpooledTemporaryFile(_SPOOLED_IN_MEMORY)  # noqa: SIM115
            self._at = 0
        while position >= self._at:
            block = self._pull(self._at)
            if not block:
                break
            if self._at + len(block) > _MOST_SPOOLED:
                raise FetchError(
                    Reason.TOO_MANY_BYTES,
                    f"{self._reader.shown} is larger than {_MOST_SPOOLED} bytes, and its server "
                    "sends no ranges, so that it cannot be read: have it served by another, or "
                    "download it.",
                )
            with named_file(tempfile.gettempdir()):
                self._spool.seek(self._at)
                self._spool.write(block)
            self._at += len(block)
        self._spool.seek(position)
        return memoryview(self._spool.read(_BLOCK))
