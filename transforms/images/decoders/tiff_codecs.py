"""The compressions of a TIFF that know nothing of samples."""

from __future__ import annotations

import lzma
import struct
import zlib

from PIL import Image

_LZW, _PACKBITS, _LZMA, _ZSTANDARD = 5, 32773, 34925, 50000
# What is fed to zlib and taken from it at once.
_PIECE, _MOST_AT_ONCE = 2**16, 2**20


def decompressed(compression: int, content: bytes, row_bytes: int, rows: int) -> bytes | bytearray:
    """Returns what a strip or tile holds, up to so many rows of so many bytes.

    Args:
      compression: The number of a compression of bytes, as the file has it.
      content: The bytes as they are stored.
      row_bytes: The bytes of a row.
      rows: The number of rows; what is beyond them is not decompressed.

    Raises:
      Exception: the content is damaged; each codec has an error of its own.
    """
    size = row_bytes * rows
    if compression in (_LZW, _PACKBITS):
        return _by_libtiff(compression, content, row_bytes, rows)
    if compression == _LZMA:
        return lzma.LZMADecompressor().decompress(content, size)
    if compression == _ZSTANDARD:
        import imagecodecs

        return bytes(imagecodecs.zstd_decode(content, out=size))
    return _inflated(content, size)


def _inflated(content: bytes, size: int) -> bytearray:
    """Inflates to no more than so many bytes, and with no second copy of them."""
    out, filled, codec = bytearray(size), 0, zlib.decompressobj()
    for start in range(0, len(content), _PIECE):
        piece = content[start : start + _PIECE]
        while piece and filled < size:
            inflated = codec.decompress(piece, min(_MOST_AT_ONCE, size - filled))
            out[filled : filled + len(inflated)] = inflated
            filled += len(inflated)
            piece = codec.unconsumed_tail
        if filled == size or codec.eof:
            break
    del out[filled:]
    return out


def _by_libtiff(compression: int, content: bytes, row_bytes: int, rows: int) -> bytes:
    """Decompresses by Pillow's libtiff, as a small TIFF of its own.

    libtiff has been fuzzed for years, and knows LZW as it was before TIFF 5. imagecodecs' LZW
    crashes on some damaged strips.
    """
    place = 8 + len(content) + len(content) % 2
    tags = (
        *((256, row_bytes), (257, rows), (258, 8), (259, compression), (262, 1)),
        *((273, 8), (278, rows), (279, len(content))),
    )
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"".join(
        (
            struct.pack("<2sHI", b"II", 42, place),
            content,
            b"\0" * (len(content) % 2),
            struct.pack("<H", len(tags)) + directory + bytes(4),
        )
    )
    # The decoder takes a mode, nothing, no file, and the place of the directory.
    options = ("L", "", False, place)
    return Image.frombytes("L", (row_bytes, rows), data, "libtiff", options).tobytes()
