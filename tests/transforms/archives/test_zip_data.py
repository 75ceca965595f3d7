"""Data is decompressed alike by whichever library does it, whole or damaged."""

import io
import random
import zlib

import imagecodecs

from image_features.transforms.archives.checksum import crc32
from image_features.transforms.archives.zip_data import BadDataError, unpack

_DEFLATED = 8


def _outcome(data, size, *, exact):
    try:
        return unpack(io.BytesIO(data), len(data), _DEFLATED, size, exact=exact)
    except BadDataError as error:
        return str(error)


def test_what_is_deflated_comes_out_as_of_zlib():
    chosen = random.Random(0)
    for round in range(300):
        content = chosen.randbytes(200) * chosen.randrange(4) + b"abc" * chosen.randrange(200)
        packer = zlib.compressobj(chosen.randrange(10), zlib.DEFLATED, -zlib.MAX_WBITS)
        data = bytearray(packer.compress(content) + packer.flush() + bytes(round % 3))
        size = len(content)
        assert _outcome(bytes(data), size, exact=True) == content
        for _ in range(round % 4):
            data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        cut = bytes(data[: len(data) - chosen.randrange(4)])
        size += chosen.choice((0, 0, -1, 1, 1000))
        size = max(0, size)
        assert _outcome(cut, size, exact=True) == _outcome(cut, size, exact=False)


def test_no_more_is_made_of_nothing_than_a_byte():
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(2**20)) + packer.flush()
    assert len(_outcome(bomb, 0, exact=True)) == 1


def test_checksums_are_those_of_zlib():
    assert imagecodecs.DEFLATE.available
    for size in (0, 1, 7, 64, 65, 4096, 100_003):
        data = random.Random(size).randbytes(size)
        assert crc32(data) == zlib.crc32(data)
