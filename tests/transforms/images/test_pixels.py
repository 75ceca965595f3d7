"""Golden pixels: what each colour, orientation and resize rule must give."""

import dataclasses
import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import Reason
from tests import images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def decode(data, height=8, width=8, **options):
    options.setdefault("decode", "exact")
    return decode_image(data, DecodePolicy(image_size=(height, width), **options))


def solid(mode, colour, format="PNG", **options):
    return images.encode(Image.new(mode, (8, 8), colour), format, **options)


def array_image(values, format):
    return images.encode(Image.fromarray(values), format)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (solid("RGB", (10, 20, 30)), (10, 20, 30)),
        (solid("RGB", (10, 20, 30), "BMP"), (10, 20, 30)),
        (solid("RGB", (10, 20, 30), "TIFF"), (10, 20, 30)),
        (solid("RGB", (10, 20, 30), "WEBP", lossless=True), (10, 20, 30)),
        (solid("RGB", (10, 20, 30), "PPM"), (10, 20, 30)),
        (solid("L", 77), (77, 77, 77)),
        (solid("1", 1), WHITE),
        (solid("LA", (100, 0)), WHITE),
        (solid("LA", (100, 255)), (100, 100, 100)),
        (solid("RGBA", (255, 0, 0, 0)), WHITE),
        (solid("RGBA", (255, 0, 0, 255)), RED),
        # Half red over white: 255 stays, 0 becomes 255 * (1 - 128/255) = 127.
        (solid("RGBA", (255, 0, 0, 128)), (255, 127, 127)),
        (solid("RGB", RED, transparency=RED), WHITE),
        (solid("L", 9, transparency=9), WHITE),
        (solid("CMYK", (0, 255, 255, 0), "TIFF"), RED),
        # 16 bits: 65535 / 257 = 255, 257 * 100 = 25700, and rounding at 25700 + 129.
        (array_image(np.full((8, 8), 65535, np.uint16), "PNG"), WHITE),
        (array_image(np.full((8, 8), 25700, np.uint16), "PNG"), (100, 100, 100)),
        (array_image(np.full((8, 8), 25829, np.uint16), "TIFF"), (101, 101, 101)),
        (array_image(np.full((8, 8), 51400, np.int32), "TIFF"), (200, 200, 200)),
        (array_image(np.full((8, 8), 0.5, np.float32), "TIFF"), (128, 128, 128)),
        (array_image(np.full((8, 8), 200.0, np.float32), "TIFF"), (200, 200, 200)),
        (array_image(np.full((8, 8), np.nan, np.float32), "TIFF"), (0, 0, 0)),
    ],
)
def test_colours(data, expected):
    pixels = decode(data).pixels
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == expected).all()


def test_floats_and_integers_of_any_range_are_stretched():
    ramp = np.linspace(-1000, 3000, 64).reshape(8, 8)
    for dtype in (np.float32, np.int32):
        pixels = decode(array_image(ramp.astype(dtype), "TIFF")).pixels
        assert (pixels[0, 0, 0], pixels[-1, -1, 0]) == (0, 255)


def test_palettes_with_and_without_transparency():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 0, 255, 0])
    assert (decode(images.encode(image, "PNG")).pixels == GREEN).all()
    assert (decode(images.encode(image, "GIF")).pixels == GREEN).all()
    assert (decode(images.encode(image, "PNG", transparency=1)).pixels == WHITE).all()
    assert (decode(images.encode(image, "GIF", transparency=1)).pixels == WHITE).all()
    half = images.encode(image, "PNG", transparency=bytes([0, 128]))
    assert (decode(half).pixels == (127, 255, 127)).all()


def test_the_background_is_the_policys():
    data = solid("RGBA", (255, 0, 0, 0))
    assert (decode(data, background=(1, 2, 3)).pixels == (1, 2, 3)).all()


def test_cmyk_jpegs_with_and_without_adobes_inversion():
    # Cyan 0, magenta and yellow full: red ink.
    adobe = solid("CMYK", (0, 255, 255, 0), "JPEG", quality=100)
    assert np.abs(decode(adobe).pixels.astype(int) - RED).max() <= 3
    # The same samples without the Adobe marker are ink as it stands, not inverted:
    # stored (255, 0, 0, 255) is then full cyan and full black.
    marker = adobe.index(b"\xff\xee")
    (length,) = struct.unpack(">H", adobe[marker + 2 : marker + 4])
    plain = adobe[:marker] + adobe[marker + 2 + length :]
    assert np.abs(decode(plain).pixels.astype(int)).max() <= 3


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        out = io.BytesIO()
        options = {"lossless": True} if format == "WEBP" else {}
        frames[0].save(out, format, save_all=True, append_images=frames[1:], **options)
        assert (decode(out.getvalue()).pixels == RED).all(), format


def quadrants():
    """Red top left, green top right, blue bottom left, white bottom right; 32 x 16."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :16], pixels[:8, 16:] = RED, GREEN
    pixels[8:, :16], pixels[8:, 16:] = BLUE, WHITE
    return Image.fromarray(pixels)


# Corners (top left, top right, bottom left, bottom right) that a viewer sees, from the
# EXIF standard's meaning of each orientation: which side the stored row and column 0 are.
CORNERS = {
    1: (RED, GREEN, BLUE, WHITE),
    2: (GREEN, RED, WHITE, BLUE),
    3: (WHITE, BLUE, GREEN, RED),
    4: (BLUE, WHITE, RED, GREEN),
    5: (RED, BLUE, GREEN, WHITE),
    6: (BLUE, RED, WHITE, GREEN),
    7: (WHITE, GREEN, BLUE, RED),
    8: (GREEN, WHITE, RED, BLUE),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_orientations(orientation, format, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    if format == "WEBP":
        options = {"lossless": True}
    data = images.encode(quadrants(), format, exif=exif, **options)
    decoded = decode(data, 4, 4, decode=mode)
    seen = [decoded.pixels[y, x].astype(int) for y, x in ((0, 0), (0, 3), (3, 0), (3, 3))]
    assert np.abs(np.array(seen) - CORNERS[orientation]).max() <= 3
    assert (decoded.width, decoded.height) == ((32, 16) if orientation < 5 else (16, 32))


def test_stretch_averages_all_pixels_under_a_triangle():
    # Pillow's bilinear filter from 4 to 2 pixels: a triangle of half width 2 around
    # 1.0 and 3.0, sampled at 0.5, 1.5, ...: weights 3, 3, 1 of 7.
    row = np.array([[0, 70, 140, 210]], np.uint8)
    data = images.encode(Image.fromarray(row), "PNG")
    left, right = (3 * 0 + 3 * 70 + 140) / 7, (70 + 3 * 140 + 3 * 210) / 7
    assert decode(data, 1, 2).pixels[0, :, 0].tolist() == [round(left), round(right)]


def test_center_crop_keeps_the_middle():
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = GREEN
    data = images.encode(Image.fromarray(pixels), "PNG")
    assert (decode(data, resize="center_crop").pixels == GREEN).all()
    tall = images.encode(Image.fromarray(pixels.transpose(1, 0, 2)), "PNG")
    assert (decode(tall, resize="center_crop").pixels == GREEN).all()


def test_pad_keeps_everything_on_the_background():
    data = images.encode(Image.new("RGB", (16, 8), GREEN), "PNG")
    pixels = decode(data, resize="pad", background=BLUE).pixels
    assert (pixels[2:6] == GREEN).all()
    assert (pixels[:2] == BLUE).all()
    assert (pixels[6:] == BLUE).all()


@pytest.mark.parametrize("resize", ["stretch", "center_crop", "pad"])
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (3, 7)])
def test_any_aspect_ratio(resize, size):
    data = images.encode(Image.new("RGB", size, GREEN), "PNG")
    assert decode(data, resize=resize, background=GREEN).pixels.tolist() == [[list(GREEN)] * 8] * 8


def test_fast_and_exact_agree_closely():
    data = images.encode(images.noise(1, 500, 375), quality=92)
    exact = decode(data, 96, 96).pixels.astype(int)
    fast = decode(data, 96, 96, decode="fast").pixels.astype(int)
    assert not (exact == fast).all()
    assert np.abs(exact - fast).mean() < 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY_FILE),
        (images.HTML, Reason.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", Reason.UNSUPPORTED_FORMAT),
        (images.bomb(), Reason.TOO_MANY_PIXELS),
        (images.encode(images.gradient(), quality=95)[:-400], Reason.TRUNCATED),
        (images.encode(images.noise(0), "PNG")[:-400], Reason.TRUNCATED),
        (b"\xff\xd8\xff\xe0" + b"\0" * 30, Reason.CORRUPT),
    ],
)
def test_bad_files(data, reason):
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert caught.value.reason is reason


def test_a_file_over_the_byte_limit():
    with pytest.raises(DecodeError) as caught:
        decode(solid("L", 1), max_bytes=10)
    assert caught.value.reason is Reason.TOO_MANY_BYTES


def test_truncated_files_pass_if_allowed():
    whole = images.encode(images.noise(0), quality=95)
    cut = whole[: len(whole) * 3 // 4]
    upper = slice(0, 2)
    pixels = decode(cut, allow_truncated=True).pixels[upper].astype(int)
    assert np.abs(pixels - decode(whole).pixels[upper]).max() <= 3
    with pytest.raises(DecodeError) as caught:
        decode(cut)
    assert caught.value.reason is Reason.TRUNCATED


SEEDS = [
    images.encode(images.noise(3, 16, 12), format)
    for format in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")
]


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255))))
def test_mutated_files_end_in_pixels_or_a_decode_error(seed, changes):
    data = bytearray(seed)
    for position, value in changes:
        data[position % len(data)] = value
    try:
        assert decode(bytes(data), max_pixels=10**6).pixels.shape == (8, 8, 3)
    except DecodeError as error:
        assert error.message


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_no_image(data):
    with pytest.raises(DecodeError):
        decode(data)


def test_a_policy_is_kept_as_json_under_fixed_names():
    policy = DecodePolicy((96, 64), "pad", "exact", True, 10, 20, (1, 2, 3), 7.0)
    options = {
        "image_size": [96, 64],
        "resize": "pad",
        "decode": "exact",
        "allow_truncated": True,
        "max_pixels": 10,
        "max_bytes": 20,
        "background": [1, 2, 3],
        "timeout": 7.0,
        "decode_revision": 2,
    }
    assert json.dumps(policy.to_json()) == json.dumps(options)
    assert DecodePolicy.from_json(options | {"max_fetch_bytes": 30}) == policy
    named = dataclasses.replace(policy, interpolation="lanczos", antialias=False)
    assert named.to_json() == options | {"interpolation": "lanczos", "antialias": False}
    assert DecodePolicy.from_json(named.to_json()) == named
    # What an earlier version did not write has its default; its rules were the first edition.
    first = DecodePolicy((96, 64), decode_revision=1)
    assert DecodePolicy.from_json({"image_size": [96, 64]}) == first
    assert "decode_revision" not in first.to_json()
