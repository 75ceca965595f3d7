"""The headers of .tar files: what they say of the member that follows."""

from __future__ import annotations

import functools
import struct
import zlib
from typing import NamedTuple

from image_features.transforms.archives.member import CorruptArchiveError, NotAnArchiveError
from image_features.transforms.archives.tape import Tape

BLOCK = 512
_ZEROS = bytes(BLOCK)
# A pax header, its data and the header of the member, which `read_headers` looks at together.
USUAL_HEADERS = 3 * BLOCK
_TYPE = 156
# Name, size, checksum, type, magic and prefix.
_FIELDS = struct.Struct("<100s24x12s12x8sB100x6s82x155s12x")
# Long names and pax headers are read into memory; other programs write a few hundred bytes.
_MAX_HEADER = 2**20
_MAX_SIZE = 2**62
# The types of members, as their headers have them.
_FILES = b"0\x007"
_WITHOUT_DATA = b"123456"  # Whatever size they claim.
_LONG_NAME, _LONG_LINK, _SPARSE, _GLOBAL = b"LKSg"
_PAX = b"xX"
_KINDS = {
    **dict.fromkeys(b"12", "links"),
    **dict.fromkeys(b"346", "devices"),
    ord("5"): "directories",
}


class TarMember(NamedTuple):
    """A member of a .tar file.

    Attributes:
      name: Its name; bytes that are not UTF-8 are surrogates.
      begin: The offset of the first header of the member.
      data: The offset of its data.
      size: The size of its data in bytes.
      kind: What it is, in a plural such as "links", if it is no file; empty for a file.
      problem: Why it cannot be read, in a phrase; empty if it can.
    """

    name: str
    begin: int
    data: int
    size: int
    kind: str
    problem: str = ""

    @property
    def end(self) -> int:
        """The offset of what follows."""
        return self.data + padded(self.size)


class _Header(NamedTuple):
    name: bytes
    size: int
    type: int
    extended: bool


class _NoHeaderError(ValueError):
    """A block that is no header; the message is a phrase."""


def padded(size: int) -> int:
    """Returns the bytes that data of a size takes."""
    return -(-size // BLOCK) * BLOCK


def read_headers(tape: Tape, begin: int) -> TarMember | None:
    """Returns the member whose headers begin at an offset, or None at the mark of the end.

    Raises:
      CorruptArchiveError: the headers are damaged, or end too early.
      NotAnArchiveError: there is no header where the file begins.
    """
    if (held := tape.held(begin, USUAL_HEADERS)) and (member := _usual_member(held, begin)):
        return member
    at = begin
    name = b""
    pax: dict[bytes, bytes] = {}
    while True:
        block = tape.read(at, BLOCK)
        if len(block) < BLOCK:
            raise tape.cut(at + len(block))
        if block == _ZEROS:
            return None
        here = at
        try:
            header = _parse(block)
            at += BLOCK
            if header.type in (_LONG_NAME, _LONG_LINK, _GLOBAL) or header.type in _PAX:
                data = _header_data(tape, at, header.size)
                at += padded(header.size)
                if header.type == _LONG_NAME:
                    name = data.partition(b"\0")[0]
                elif header.type in _PAX:
                    pax = _pax_records(data)
                elif header.type == _GLOBAL and {b"path", b"size"} & _pax_records(data).keys():
                    raise ValueError("a global header that names members")
                continue
            return _member(tape, begin, at, header, name, pax)
        except _NoHeaderError as error:
            if here == 0:
                raise NotAnArchiveError(f"{tape.shown} is no .tar file.") from error
            raise CorruptArchiveError(f"{tape.shown} has {error} at byte {here}") from error
        except ValueError as error:
            raise CorruptArchiveError(f"{tape.shown} has {error} at byte {here}") from error


def _usual_member(held: bytes, begin: int) -> TarMember | None:
    """Returns a file that has a short pax header or none; None for all else, and what is damaged.

    Args:
      held: The bytes from the first header on, USUAL_HEADERS of them.
      begin: Their offset.
    """
    at = BLOCK
    pax: dict[bytes, bytes] = {}
    try:
        header = _parse(held[:BLOCK])
        if header.type in _PAX and 0 < header.size <= BLOCK:
            pax = _pax_records(held[BLOCK : BLOCK + header.size])
            header = _parse(held[USUAL_HEADERS - BLOCK :])
            at = USUAL_HEADERS
        size = _decimal(pax[b"size"]) if b"size" in pax else header.size
    except ValueError:
        return None
    name = pax.get(b"path") or header.name
    usual = header.type in _FILES and name[-1:] != b"/" and begin + at + size <= _MAX_SIZE
    for key in pax:
        usual = usual and key[:11] != b"GNU.sparse."
    if not usual:
        return None
    return TarMember(name.decode("utf-8", "surrogateescape"), begin, begin + at, size, "")


def _member(
    tape: Tape, begin: int, at: int, header: _Header, long_name: bytes, pax: dict[bytes, bytes]
) -> TarMember:
    while header.type == _SPARSE and header.extended:
        block = tape.read(at, BLOCK)
        if len(block) < BLOCK:
            raise tape.cut(at + len(block))
        header = header._replace(extended=bool(block[504]))
        at += BLOCK
    name = pax.get(b"path") or long_name or header.name
    size = _decimal(pax[b"size"]) if b"size" in pax else header.size
    if at + size > _MAX_SIZE:
        raise ValueError("an impossible size")
    kind = "" if header.type in _FILES or header.type == _SPARSE else "others"
    kind = _KINDS.get(header.type, kind)
    if header.type in _FILES and name.endswith(b"/"):
        kind = "directories"  # Before 1988 they had no type of their own.
    problem = ""
    if header.type == _SPARSE or any(key.startswith(b"GNU.sparse.") for key in pax):
        name = pax.get(b"GNU.sparse.name", name)
        problem = "it is stored as a sparse file, which is not read"
    if header.type in _WITHOUT_DATA:
        size = 0
    return TarMember(name.decode("utf-8", "surrogateescape"), begin, at, size, kind, problem)


def _parse(block: bytes) -> _Header:
    """Returns what a header says.

    Raises:
      ValueError: it is no header; the message is a phrase.
    """
    return (_parsed_pax if block[_TYPE] in _PAX else _parsed)(block)


def _parsed(block: bytes) -> _Header:
    name, size_field, stored, type_, magic, prefix = _FIELDS.unpack(block)
    try:
        checksum = _number(stored)
    except ValueError:
        checksum = -1
    total = _sum(block[:256]) + _sum(block[256:]) - sum(stored) + 8 * ord(" ")
    # Old programs took bytes for signed.
    if checksum != total and checksum != total - 256 * sum(byte > 127 for byte in block):
        raise _NoHeaderError("a header with a wrong checksum")
    name = name.partition(b"\0")[0]
    # GNU's magic ends otherwise, and other things follow.
    if magic == b"ustar\0" and prefix[0]:
        name = prefix.partition(b"\0")[0] + b"/" + name
    try:
        size = _number(size_field)
    except ValueError:
        raise ValueError("a header without a size") from None
    if size < 0:
        raise ValueError("a negative size")
    return _Header(name, size, type_, bool(block[482]))


_parsed_pax = functools.lru_cache(16)(_parsed)  # Those of an archive are mostly the same.


def _sum(half: bytes) -> int:
    # The lower half of the checksum is 1 more than a sum below 65521, and ten times as fast.
    return (zlib.adler32(half) & 0xFFFF) - 1


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:]) if field[0] == 0x80 else -1
    try:
        return int(field.rstrip(b"\0 "), 8)  # As almost all write it.
    except ValueError:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise ValueError("a pax header with a wrong number")
    return int(text)


def _header_data(tape: Tape, at: int, size: int) -> bytes:
    if size > _MAX_HEADER:
        raise ValueError(f"a header of {size} bytes, more than the {_MAX_HEADER} allowed,")
    # The header behind it is read along.
    data = tape.read(at, padded(size) + BLOCK)[:size]
    if len(data) < size:
        raise tape.cut(at + len(data))
    return data


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """Returns the records of a pax header, each of which is `LENGTH NAME=VALUE` and a line end."""
    records = {}
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        end = at + _decimal(data[at:space] if space > 0 else b"")
        if not space < end <= len(data) or data[end - 1] != ord("\n"):
            raise ValueError("a damaged pax header")
        name, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise ValueError("a damaged pax header")
        records[name] = value
        at = end
    return records
