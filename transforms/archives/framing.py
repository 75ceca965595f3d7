"""TFRecord framing: length, masked CRC of the length, data, masked CRC of the data.

Format: tensorflow/core/lib/io/record_writer.h. The CRC is Castagnoli's, computed in C by
google-crc32c; the mask (rotate right 15, add 0xa282ead8) is the format's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

import google_crc32c

HEAD = 12  # The length and its checksum.
TAIL = 4  # The checksum of the data.
_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")


class CorruptRecordError(ValueError):
    """A file is not a sequence of whole TFRecords."""


def frame(data: bytes) -> bytes:
    """Returns one framed record."""
    length = struct.pack("<Q", len(data))
    return length + masked_crc(length) + data + masked_crc(data)


def data_of(framed: bytes) -> bytes:
    """Returns the data of one framed record."""
    return framed[HEAD:-TAIL]


def length_of(head: bytes) -> int | None:
    """Returns the length that the head of a record tells, or None if it is none."""
    if len(head) < HEAD:
        return None
    length, check = _HEAD.unpack(head)
    return int(length) if _masked(head[:8]) == check else None


def frame_size(head: bytes) -> int:
    """Returns the size of the framed record that begins with a head, which was checked before."""
    return HEAD + int.from_bytes(head[:8], "little") + TAIL


def read_frames(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the framed records of a TFRecord file.

    Raises:
      CorruptRecordError: a record is cut short or a checksum does not match.
    """
    while head := file.read(HEAD):
        length = length_of(head)
        if length is None:
            raise CorruptRecordError("a record's length is cut short or corrupt")
        body = file.read(length + TAIL)
        if len(body) < length + TAIL or masked_crc(body[:-TAIL]) != body[-TAIL:]:
            raise CorruptRecordError("a record's data is cut short or corrupt")
        yield head + body


def read_records(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the data of the records of a TFRecord file.

    Raises:
      CorruptRecordError: a record is cut short or a checksum does not match.
    """
    return map(data_of, read_frames(file))


def masked_crc(data: bytes) -> bytes:
    """Returns the checksum of data as the format keeps it, 4 bytes."""
    return _TAIL.pack(_masked(data))


def _masked(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
