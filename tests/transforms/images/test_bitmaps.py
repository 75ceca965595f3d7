"""What bitmaps, icons and netpbm's formats have beside their pixels, and files that end early."""

import struct
import tracemalloc

import numpy as np
import pytest

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.bmp import decode_bmp
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.picture import decode_picture
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import Reason
from tests.images import bitmap, icon, netpbm
from tests.images.bitmap_writer import colours, file_of, header, indices, packed, palette_of

LENIENT = DecodePolicy((12, 16), decode="exact", allow_truncated=True)


def sample(module, name):
    return next(sample for sample in module.samples() if sample.name == name)


@pytest.mark.parametrize(("kind", "expected"), [(b"MBED", b"a profile"), (b"LINK", b"")])
def test_a_profile_is_taken_from_the_file_and_never_from_another(kind, expected):
    place = 124 + len(b"rows") * 4
    head = header(32, size=124, width=2, height=2, profile=(kind, place, 9))
    data = file_of(head, b"", b"rows" * 4 + b"a profile")
    assert decode_bmp(data, read_header(data), LENIENT).profile == expected


# The last row of a bitmap's file is the picture's upper one; the part that is left may be so too.
@pytest.mark.parametrize(
    ("module", "name", "kept", "grey"),
    [
        (bitmap, "bmp_palette8", slice(6, None), slice(0, 5)),
        (bitmap, "bmp_rle8", slice(6, None), slice(0, 1)),
        (bitmap, "bmp_16_565", slice(8, None), slice(0, 2)),
        (netpbm, "pgm_1023", slice(0, 6), slice(9, None)),
        (netpbm, "pbm", slice(0, 5), slice(9, None)),
        (netpbm, "ppm_plain_255", slice(0, 4), slice(10, None)),
        (netpbm, "pfm_rgb_big_1", slice(7, None), slice(0, 3)),
    ],
)
def test_the_part_of_a_cut_file_is_shown_if_allowed(module, name, kept, grey):
    whole = sample(module, name)
    cut = whole.data[:-80] if module is bitmap else whole.data[: len(whole.data) * 2 // 3]
    strict = DecodePolicy((12, 16), decode="exact")
    with pytest.raises(DecodeError) as caught:
        decode_picture(cut, read_header(cut), strict)
    assert caught.value.reason is Reason.TRUNCATED
    height, width, _ = whole.expected.shape
    lenient = DecodePolicy((height, width), allow_truncated=True)
    seen = decode_picture(cut, read_header(cut), lenient).pixels.astype(int)
    assert np.abs(seen[kept] - whole.expected[kept]).max() <= 1
    assert (seen[grey] == 128).all()


def test_an_icon_that_lacks_its_mask_is_shown_if_allowed():
    table, chosen = colours(256), indices(256)
    data = icon.icon_of(icon.bitmap(8, table, chosen, chosen * 0))[:-48]
    seen = decode_picture(data, read_header(data), LENIENT)
    assert (seen.pixels == table[chosen]).all()
    seen = decode_picture(data[:-40], read_header(data[:-40]), LENIENT).pixels
    assert (seen[:3] == 128).all()
    assert (seen[3:] == table[chosen][3:]).all()


@pytest.mark.parametrize(
    "data",
    [
        icon.icon_of(icon.huge_png(20_000)),
        bitmap.file_of(header(1, width=60_000, height=60_000), bytes(8), b""),
        icon.icon_of(header(32, width=60_000, height=60_000)),
        b"P7\nWIDTH 99999\nHEIGHT 99999\nDEPTH 4\nMAXVAL 9\nTUPLTYPE RGB_ALPHA\nENDHDR\n",
        b"P6 99999 99999 65535\n",
    ],
    ids=["icon_png", "bitmap", "icon_bitmap", "pam", "ppm"],
)
def test_the_size_is_known_before_anything_is_decoded(data):
    tracemalloc.start()
    assert read_header(data).pixels >= 4 * 10**8
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_list_of_all_pictures_that_an_icon_can_have():
    picture = header(24, width=1, height=2) + bytes(8)
    entry = struct.pack("<4B2H2I", 1, 1, 0, 0, 1, 24, len(picture), 6 + 16 * 65535)
    data = struct.pack("<3H", 0, 1, 65535) + entry * 65535 + picture
    seen = decode_picture(data, read_header(data), LENIENT)
    assert (seen.width, seen.height, seen.pixels.max()) == (1, 1, 0)


def test_a_cursor_is_told_from_what_begins_as_one():
    targa = bytes([0, 0, 2, *[0] * 9]) + struct.pack("<HHBB", 4, 4, 24, 0) + bytes(48)
    with pytest.raises(DecodeError) as caught:
        read_header(targa)
    assert "Targa" in caught.value.message
    cursor = icon.icon_of(icon.bitmap(1, colours(2), indices(2), indices(2)), kind=2)
    assert read_header(cursor).format == "cur"


def test_text_that_begins_as_a_bitmap():
    with pytest.raises(DecodeError) as caught:
        read_header(b"BMW builds cars, and motorcycles too.")
    assert caught.value.reason is Reason.NOT_AN_IMAGE
    assert (
        read_header(file_of(header(8), palette_of(colours(256)), packed(indices(9), 8))).bits == 8
    )
