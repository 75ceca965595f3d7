"""Images on their way into an archive: a file's bytes with the row that names it."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import struct
from collections.abc import Callable, Iterator

from image_features.transforms.values import Columns

_HEAD = struct.Struct("<QQ")


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image of an archive.

    Attributes:
      key: The stable identifier of the image, 32 hexadecimal digits.
      extension: The extension of its format, without a dot.
      uri: Where the image came from.
      columns: The manifest's other columns.
      data: The bytes of the file, as they were fetched.
    """

    key: str
    extension: str
    uri: str
    columns: Columns
    data: bytes

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.key}.{self.extension}"

    def to_bytes(self) -> bytes:
        """Returns the sample as a row of a piece, which lives no longer than its run."""
        row = pickle.dumps(
            (self.key, self.extension, self.uri, self.columns), pickle.HIGHEST_PROTOCOL
        )
        return b"".join((_HEAD.pack(len(row), len(self.data)), row, self.data))


class SampleStream:
    """Takes the bytes of samples in blocks of any size, and hands each sample on when it is whole.

    Args:
      add: The function that takes a sample.
    """

    def __init__(self, add: Callable[[Sample], object]) -> None:
        self._add = add
        self._bytes = bytearray()
        self._needed = _HEAD.size

    def write(self, data: bytes) -> int:
        """Takes a block."""
        self._bytes += data
        while len(self._bytes) >= self._needed:
            row, image = _HEAD.unpack_from(self._bytes)
            begin, end = _HEAD.size + row, _HEAD.size + row + image
            if len(self._bytes) < end:
                self._needed = end
                break
            key, extension, uri, columns = pickle.loads(self._bytes[_HEAD.size : begin])
            content = bytes(self._bytes[begin:end])
            self._add(Sample(key, extension, uri, columns, content))
            del self._bytes[:end]
            self._needed = _HEAD.size
        return len(data)

    @contextlib.contextmanager
    def whole(self) -> Iterator[SampleStream]:
        """Hands the stream to the body, which must end with a whole sample.

        Raises:
          ValueError: it does not.
        """
        yield self
        if self._bytes:
            raise ValueError(f"{len(self._bytes)} bytes are left of a sample that is not whole.")
