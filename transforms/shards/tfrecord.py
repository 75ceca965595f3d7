"""TFRecord framing: length, masked CRC of the length, data, masked CRC of the data.

Format: tensorflow/core/lib/io/record_writer.h. The CRC is Castagnoli's, computed in C by
google-crc32c; the mask (rotate right 15, add 0xa282ead8) is the format's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

import google_crc32c

_HEAD = 12  # The length and its checksum.
_TAIL = 4  # The checksum of the data.


class CorruptRecordError(ValueError):
    """A file is not a sequence of whole TFRecords."""


def frame(data: bytes) -> bytes:
    """Returns one framed record."""
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def data_of(framed: bytes) -> bytes:
    """Returns the data of one framed record."""
    return framed[_HEAD:-_TAIL]


def read_frames(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the framed records of a TFRecord file.

    Raises:
      CorruptRecordError: a record is cut short or a checksum does not match.
    """
    while head := file.read(_HEAD):
        if len(head) < _HEAD or _masked_crc(head[:8]) != head[8:]:
            raise CorruptRecordError("a record's length is cut short or corrupt")
        (length,) = struct.unpack("<Q", head[:8])
        body = file.read(length + _TAIL)
        if len(body) < length + _TAIL or _masked_crc(body[:-_TAIL]) != body[-_TAIL:]:
            raise CorruptRecordError("a record's data is cut short or corrupt")
        yield head + body


def read_records(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the data of the records of a TFRecord file.

    Raises:
      CorruptRecordError: a record is cut short or a checksum does not match.
    """
    return map(data_of, read_frames(file))


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
