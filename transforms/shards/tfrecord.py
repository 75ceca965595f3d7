"""TFRecord framing: length, masked CRC of the length, data, masked CRC of the data.

Format: tensorflow/core/lib/io/record_writer.h. The CRC is Castagnoli's, computed in C by
google-crc32c; the mask (rotate right 15, add 0xa282ead8) is the format's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c


class CorruptRecordError(ValueError):
    """A file is not a sequence of whole TFRecords."""


def frame(data: bytes) -> bytes:
    """Returns one framed record."""
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def read_records(file: BinaryIO, *, verify: bool = True) -> Iterator[bytes]:
    """Yields the records of a TFRecord file.

    Raises:
      CorruptRecordError: a record is cut short or a checksum does not match.
    """
    while header := file.read(12):
        if len(header) < 12 or (verify and _masked_crc(header[:8]) != header[8:]):
            raise CorruptRecordError("a record's length is cut short or corrupt")
        (length,) = struct.unpack("<Q", header[:8])
        body = file.read(length + 4)
        if len(body) < length + 4 or (verify and _masked_crc(body[:-4]) != body[-4:]):
            raise CorruptRecordError("a record's data is cut short or corrupt")
        yield body[:-4]


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
