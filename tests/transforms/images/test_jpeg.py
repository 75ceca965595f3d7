"""What JPEGs cost is known before they are decoded, and what is in their segments is found."""

import time

import numpy as np
import pytest
from PIL import Image

from image_features.transforms.images import pixels
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Colour
from image_features.transforms.images.headers.jpeg import read_jpeg
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.table import rule_for
from image_features.transforms.values import Reason
from tests import images
from tests.images import jpeg, profiles
from tests.images.jpeg_writer import flat_blocks, lossless, segment

MIB = 2**20


def test_jpegs_without_loss_are_decoded_whole_in_a_fast_decode():
    # Pillow would drop scales, its decoder would not, and write beyond the rows that Pillow has.
    planes = [plane.repeat(40, axis=0).repeat(40, axis=1) for plane in jpeg.blocks()]
    seen = decode_image(lossless(planes, 8), DecodePolicy((2, 4)))
    assert (seen.width, seen.height) == (160, 80)
    assert np.abs(seen.pixels.astype(int) - np.stack(jpeg.blocks(), axis=-1)).max() <= 60


def test_passes_are_those_of_the_frame_alone():
    ordinary = images.encode(images.noise(0), progressive=True)
    assert read_jpeg(ordinary).passes == 10
    hidden = flat_blocks(jpeg.blocks(), before=segment(0xE1, b"Exif\0\0" + b"\xff\xda\0\2" * 5000))
    assert read_jpeg(hidden).passes == 1
    behind = ordinary + b"\xff\xda\0\2" * 5000
    assert read_jpeg(behind).passes == 10
    assert read_jpeg(jpeg.scan_bomb(900, 64)).passes == 900
    between = segment(0xFE, b"\xff\xd9")  # The end of a frame is not what a comment says.
    many = flat_blocks(jpeg.blocks(), scans=[[0], [1], [2]] * 300, between=between)
    assert read_jpeg(many).passes == 900


@pytest.mark.parametrize("refined", [False, True])
def test_scans_that_take_long_end_at_the_timeout(refined):
    start = time.monotonic()
    with pytest.raises(DecodeError) as caught:
        decode_image(jpeg.scan_bomb(990, 7992, refined), DecodePolicy((8, 8), timeout=0.5))
    assert caught.value.reason is Reason.TOO_COSTLY
    assert "--decode_timeout" in caught.value.message
    assert time.monotonic() - start < 10


def test_memory_is_that_of_the_scale_which_is_decoded():
    photograph = images.encode(Image.new("RGB", (4000, 3000)), quality=50)
    in_scans = images.encode(Image.new("RGB", (4000, 3000)), quality=50, progressive=True)

    def memory(data, decode):
        header = read_jpeg(data)
        return pixels._memory(header, rule_for(header), DecodePolicy((96, 96), decode=decode))

    assert memory(photograph, "fast") < 3 * MIB
    assert memory(photograph, "exact") > 90 * MIB
    # All coefficients are held, whatever scale they are shown at.
    assert 30 * MIB < memory(in_scans, "fast") < 60 * MIB
    assert memory(in_scans, "exact") <= DecodePolicy((96, 96), max_pixels=12_000_000).max_memory


@pytest.mark.parametrize(
    ("options", "colour"),
    [
        ({"ids": b"RGB"}, Colour.RGB),
        ({"ids": b"RGB", "before": segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")}, Colour.YCBCR),
        ({"before": segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")}, Colour.RGB),
        ({"ids": (0, 1, 2)}, Colour.YCBCR),
    ],
)
def test_the_meaning_of_three_channels(options, colour):
    assert read_jpeg(flat_blocks(jpeg.blocks(), **options)).colour is colour


def test_every_cut_of_a_header_is_told():
    whole = images.encode(images.noise(0, 16, 16), icc_profile=bytes(300), exif=jpeg.exif(6))
    for length in range(3, whole.index(b"\xff\xda")):
        with pytest.raises(DecodeError) as caught:
            decode_image(whole[:length], DecodePolicy((8, 8)))
        assert caught.value.reason in (Reason.CORRUPT, Reason.TRUNCATED)


def part(number, count, body):
    return segment(0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + body)


def test_profiles_lie_in_parts_anywhere_before_the_scan():
    wide = profiles.matrix_profile(profiles.PROPHOTO, 1.80078125)
    planes = jpeg.blocks()
    plain = jpeg.shown(planes)
    converted = profiles.to_srgb(plain, profiles.PROPHOTO, 1.80078125)
    parts = [part(1, 3, wide[:100]), part(2, 3, wide[100:150]), part(3, 3, wide[150:])]
    untold = flat_blocks(planes, ids=b"RGB")
    scan = untold.index(b"\xff\xda")
    for data, expected in (
        (flat_blocks(planes, ids=b"RGB", before=b"".join(parts[::-1])), converted),
        (untold[:scan] + b"".join(parts) + untold[scan:], converted),
        (flat_blocks(planes, ids=b"RGB", before=b"".join(parts[:2])), plain),
        (flat_blocks(planes, ids=b"RGB", before=b"".join([parts[0], *parts])), plain),
    ):
        seen = decode_image(data, DecodePolicy(plain.shape[:2], decode="exact")).pixels
        assert np.abs(seen.astype(int) - expected).max() <= 1


def test_a_cut_jpeg_gives_what_there_is_if_allowed():
    inks = [np.full((4, 4), value) for value in (0, 255, 255, 255)]
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
    for before, expected in ((adobe, (0, 255, 255)), (b"", (0, 0, 0))):
        cut = flat_blocks(inks, before=before, after=b"")
        for decode in ("exact", "fast"):
            policy = DecodePolicy((4, 4), decode=decode, allow_truncated=True)
            assert np.abs(decode_image(cut, policy).pixels[0, 0].astype(int) - expected).max() <= 1
