"""The entries of .zip files, as records of the directory and headers before the data tell them.

The numbers in the names of fields and signatures are those of PKWARE's APPNOTE.TXT.
"""

from __future__ import annotations

import stat
import struct
import zlib
from typing import NamedTuple

from image_features.transforms.archives.member import member_name

LOCAL = b"PK\x03\x04"
CENTRAL = b"PK\x01\x02"
DESCRIPTOR = b"PK\x07\x08"
# What a descriptor takes at most, behind the data.
DESCRIPTOR_BYTES = 24

_LOCAL = struct.Struct("<4sHHHLLLLHH")
_CENTRAL = struct.Struct("<4sHHHHLLLLHHHHHLL")
LOCAL_BYTES = _LOCAL.size
CENTRAL_BYTES = _CENTRAL.size
_FIELD = struct.Struct("<HH")
_ENCRYPTED = 0x1
_DESCRIBED_BEHIND = 0x8
_UTF8 = 0x800
_ZIP64 = 0x1
_UNICODE_PATH = 0x7075
_IN_ZIP64 = 0xFFFFFFFF


class ZipEntry(NamedTuple):
    """One entry of a .zip file.

    Attributes:
      begin: Where its header begins in the file.
      name: Its name, without a leading `./`.
      method: How its data is compressed.
      encrypted: Whether it is.
      crc: The CRC-32 of the data.
      packed: The bytes that the data takes in the file.
      size: The bytes of the data.
      mode: The kind of file that it was, by Unix; 0 if that is not told.
      header: The bytes of its header, at least.
    """

    begin: int
    name: str
    method: int
    encrypted: bool
    crc: int
    packed: int
    size: int
    mode: int = 0
    header: int = LOCAL_BYTES

    @property
    def detail(self) -> str:
        """What changes when the data does."""
        return f"{self.size}:{self.crc:08x}"

    @property
    def end(self) -> int:
        """Where its data ends, at the least."""
        return self.begin + self.header + self.packed

    @property
    def is_directory(self) -> bool:
        return self.name.endswith("/") or stat.S_ISDIR(self.mode)


class LocalHeader(NamedTuple):
    """The fixed part of the header before an entry's data.

    Attributes:
      entry: The entry, of which name and sizes may still be missing.
      name_bytes: The length of the name that follows.
      extra_bytes: The length of the fields that follow the name.
      described_behind: Whether sizes and checksum may stand behind the data.
      utf8: Whether the name is said to be UTF-8.
    """

    entry: ZipEntry
    name_bytes: int
    extra_bytes: int
    described_behind: bool
    utf8: bool

    def whole(self, name: bytes, extra: bytes) -> tuple[ZipEntry, bool]:
        """Returns the entry by all that the header tells, and whether its fields are of Zip64."""
        fields = _extra_fields(extra)
        entry = self.entry
        size, packed, _ = _zip64(fields.get(_ZIP64, b""), entry.size, entry.packed, 0)
        entry = entry._replace(
            name=_name_of(name, self.utf8, fields),
            size=size,
            packed=packed,
            header=LOCAL_BYTES + len(name) + len(extra),
        )
        return entry, _ZIP64 in fields


def parse_local(begin: int, head: bytes) -> LocalHeader | None:
    """Returns the header whose first bytes these are, or None if they are those of no header."""
    if len(head) < LOCAL_BYTES or head[:4] != LOCAL:
        return None
    _, _, flags, method, _, crc, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(head)
    entry = ZipEntry(begin, "", method, bool(flags & _ENCRYPTED), crc, packed, size)
    behind = bool(flags & _DESCRIBED_BEHIND)
    return LocalHeader(entry, name_bytes, extra_bytes, behind, bool(flags & _UTF8))


class CentralRecord(NamedTuple):
    """The fixed part of a record of the directory.

    Attributes:
      fields: All its fields.
      more: The length of what follows: name, fields and comment.
    """

    fields: tuple[int, ...]
    more: int

    def whole(self, rest: bytes, shift: int) -> ZipEntry:
        """Returns the entry.

        Args:
          rest: What follows the fixed part.
          shift: The bytes that were put before the archive when it was finished already.
        """
        _, _, flags, method, _, crc, packed, size, *lengths = self.fields
        name_bytes, extra_bytes, _, _, _, attributes, begin = lengths
        fields = _extra_fields(rest[name_bytes : name_bytes + extra_bytes])
        size, packed, begin = _zip64(fields.get(_ZIP64, b""), size, packed, begin)
        return ZipEntry(
            begin + shift,
            _name_of(rest[:name_bytes], bool(flags & _UTF8), fields),
            method,
            bool(flags & _ENCRYPTED),
            crc,
            packed,
            size,
            attributes >> 16,
            LOCAL_BYTES + name_bytes,
        )


def parse_central(head: bytes) -> CentralRecord | None:
    """Returns the record whose first bytes these are, or None if they are those of none."""
    if len(head) < CENTRAL_BYTES or head[:4] != CENTRAL:
        return None
    fields = _CENTRAL.unpack(head)[1:]
    return CentralRecord(fields, sum(fields[8:11]))


def parse_descriptor(data: bytes, entry: ZipEntry, zip64: bool) -> tuple[ZipEntry, int] | None:
    """Returns an entry by what stands behind its data, and the length of that.

    The signature is optional, and not every writer that uses eight bytes for sizes says so.

    Args:
      data: What is behind the data of the entry.
      entry: The entry, whose packed size is known.
      zip64: Whether the header says that sizes take eight bytes.
    """
    starts = (4, 0) if data.startswith(DESCRIPTOR) else (0,)
    for start in starts:
        for form in ("<LQQ", "<LLL") if zip64 else ("<LLL", "<LQQ"):
            length = start + struct.calcsize(form)
            if len(data) < length:
                continue
            crc, packed, size = struct.unpack(form, data[start:length])
            # Half of a long size reads as a size of nothing, whose checksum would be 0.
            if packed == entry.packed and (size or not crc):
                return entry._replace(crc=crc, size=size), length
    return None


def _extra_fields(extra: bytes) -> dict[int, bytes]:
    """Returns the extra fields by their kinds, as far as they are whole."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        kind, length = _FIELD.unpack_from(extra, at)
        fields.setdefault(kind, extra[at + 4 : at + 4 + length])
        at += 4 + length
    return fields


def _zip64(field: bytes, *numbers: int) -> tuple[int, ...]:
    """Returns numbers, those that do not fit into four bytes from the field of Zip64."""
    wide = []
    for number in numbers:
        if number == _IN_ZIP64 and len(field) >= 8:
            number, field = int.from_bytes(field[:8], "little"), field[8:]
        wide.append(number)
    return tuple(wide)


def _name_of(raw: bytes, utf8: bool, fields: dict[int, bytes]) -> str:
    """Returns a name; what can be UTF-8 is, as Finder and others write it without saying so."""
    if not raw.isascii():
        field = fields.get(_UNICODE_PATH, b"")
        if field[:1] == b"\x01" and field[1:5] == zlib.crc32(raw).to_bytes(4, "little"):
            raw, utf8 = field[5:], True
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = raw.decode("utf-8", "surrogateescape") if utf8 else raw.decode("cp437")
    return member_name(name)
