"""The data of entries of .zip files, decompressed within bounds."""

from __future__ import annotations

import bz2
import contextlib
import io
import lzma
import zlib
from typing import IO, Any

STORED = 0
_DEFLATED = 8
_BZIP2 = 12
_LZMA = 14
_READ = frozenset({STORED, _DEFLATED, _BZIP2, _LZMA})
_OTHERS = {
    1: "shrinking",
    2: "reducing",
    3: "reducing",
    4: "reducing",
    5: "reducing",
    6: "imploding",
    9: "Deflate64",
    10: "PKWARE's imploding",
    93: "Zstandard",
    95: "XZ",
    96: "JPEG recompression",
    98: "PPMd",
    99: "AES encryption",
}
_CHUNK = 2**20
_LZMA_HEAD = 4
_LZMA_PROPERTIES = 5
_SMALLEST_DICTIONARY = 4096


class BadDataError(ValueError):
    """Data that cannot be decompressed; the message is a phrase."""


def unread_method(method: int) -> str:
    """Returns the name of a method that is not read; empty for those that are."""
    return "" if method in _READ else _OTHERS.get(method, f"method {method}")


def unpack(file: IO[bytes], packed: int, method: int, limit: int, *, exact: bool = False) -> bytes:
    """Returns the data that follows in a file, and never more than a byte beyond a limit.

    Args:
      file: The file, whose position is that of the data.
      packed: The bytes that the data takes there.
      method: How it is compressed.
      limit: The bytes that it should have at most.
      exact: Whether it should have as many.

    Raises:
      BadDataError: it cannot be decompressed.
    """
    if method == STORED:
        data = file.read(min(packed, limit + 1))
        if len(data) < min(packed, limit + 1):
            raise BadDataError("the archive ends before it does")
        return data
    try:
        # Without a size nothing would bound what is made of it.
        if exact and limit and method == _DEFLATED and packed <= _CHUNK:
            return _inflated(file.read(packed), packed, limit)
        return _decompressed(file, packed, method, limit)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The disk has failed, and not bzip2, which has no error of its own.
        raise BadDataError(str(error)) from error


def _inflated(data: bytes, packed: int, size: int) -> bytes:
    """Returns the data of a size out of what is deflated."""
    import imagecodecs

    if imagecodecs.DEFLATE.available:
        # It takes two thirds of zlib's time, and tells no more than that something is wrong.
        with contextlib.suppress(imagecodecs.DeflateError):
            found = imagecodecs.deflate_decode(data, raw=True, out=size)
            if len(found) == size:
                return bytes(found)
    return _decompressed(io.BytesIO(data), packed, _DEFLATED, size)


def _decompressed(file: IO[bytes], packed: int, method: int, limit: int) -> bytes:
    if method == _LZMA:
        decompressor, taken = _lzma(file, packed, limit)
        packed -= taken
    elif method == _BZIP2:
        decompressor = bz2.BZ2Decompressor()
    else:
        decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    blocks = []
    room = limit + 1
    while packed > 0 and room > 0 and not decompressor.eof:
        chunk = file.read(min(packed, _CHUNK))
        if not chunk:
            raise BadDataError("the archive ends before it does")
        packed -= len(chunk)
        blocks.append(decompressor.decompress(chunk, room))
        room -= len(blocks[-1])
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _lzma(file: IO[bytes], packed: int, limit: int) -> tuple[Any, int]:
    """Returns a decompressor by the properties before the data, and the bytes that these take."""
    head = file.read(min(packed, _LZMA_HEAD + _LZMA_PROPERTIES))
    if len(head) < _LZMA_HEAD + _LZMA_PROPERTIES or head[2:4] != b"\x05\x00":
        raise BadDataError("the properties of LZMA are not there")
    literals, positions = head[4] % 9, head[4] // 9
    # A dictionary of gigabytes may be asked for, of which no more is used than there is data.
    dictionary = int.from_bytes(head[5:9], "little")
    filter_ = {
        "id": lzma.FILTER_LZMA1,
        "lc": literals,
        "lp": positions % 5,
        "pb": positions // 5,
        "dict_size": max(_SMALLEST_DICTIONARY, min(dictionary, limit)),
    }
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[filter_]), len(head)
    except ValueError as error:
        raise BadDataError("the properties of LZMA are not right") from error
