"""Images on their way into an archive: a file's bytes with the row that names it."""

from __future__ import annotations

import dataclasses
import pickle
import struct
from collections.abc import Callable

from image_features.transforms.shards.row_stream import RowStream
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

    @classmethod
    def from_bytes(cls, data: bytes) -> Sample:
        """Returns the sample of a row of a piece."""
        row, _ = _HEAD.unpack_from(data)
        end = _HEAD.size + row
        key, extension, uri, columns = pickle.loads(data[_HEAD.size : end])
        return cls(key, extension, uri, columns, data[end:])


def sample_stream(add: Callable[[Sample], object]) -> RowStream:
    """Returns a stream that hands each sample on when it is whole."""
    return RowStream(_HEAD.size, _size_of, lambda row: add(Sample.from_bytes(row)))


def _size_of(head: bytes) -> int:
    return _HEAD.size + sum(_HEAD.unpack(head))
