"""What PNG, GIF and WebP cost, and what of them is kept beside the pixels."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.picture import decode_picture
from image_features.transforms.images.pixels import _is_quick, decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.table import rule_for
from image_features.transforms.values import Reason
from tests import images
from tests.images import gif, png_writer, webp
from tests.images.png_writer import RGB, RGBA, chunk
from tests.images.sample import picture

POLICY = DecodePolicy((12, 16), decode="exact")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def raster(data):
    from image_features.transforms.images.picture import _DECODERS

    header = read_header(data)
    return _DECODERS[rule_for(header).decoder](data, header, POLICY)


def png(*before, after=()):
    return png_writer.write(picture(), 8, RGB, before=before, after=after)


@pytest.mark.parametrize(
    "data",
    [
        images.encode(images.noise(0, 1024, 768), "PNG"),
        images.encode(images.noise(0, 1024, 768), "WEBP"),
        images.encode(images.noise(0, 1024, 768), "WEBP", lossless=True),
        images.encode(images.noise(0, 1024, 768), "GIF"),
        png_writer.assemble(3000, 3000, 8, RGBA, b""),
    ],
)
def test_pictures_of_the_web_stay_in_the_thread(data):
    assert _is_quick(read_header(data), len(data))


@pytest.mark.parametrize(
    "data",
    [
        png_writer.assemble(6000, 6000, 8, RGBA, b""),
        png_writer.assemble(5200, 5200, 16, RGB, b""),
        # Deflate without a pixel: many tables of codes, each of a dozen bytes.
        png_writer.assemble(8, 8, 8, RGB, bytes(11_000_000)),
        png(*[chunk(b"tEXt", b"k\0v")] * 250_000),
        gif.screen(6000, 6000, bytes(6)) + gif.frame(np.zeros((8, 8), int)),
        webp.riff(webp.chunk(b"VP8L", struct.pack("<BI", 0x2F, 6999 << 14 | 6999))),
    ],
)
def test_what_may_take_seconds_goes_to_the_child(data):
    assert not _is_quick(read_header(data), len(data))


def test_the_tables_of_a_lossless_webp_are_counted():
    # 65,536 sets of codes in 300 KB, which libwebp gives 364 MB for a megapixel.
    said = struct.pack("<BI", 0x2F, 1023 << 14 | 1023)
    header = read_header(webp.riff(webp.chunk(b"VP8L", said + bytes(300_000))))
    assert header.pixels * header.pixel_bytes > 364 * 2**20
    photograph = read_header(images.encode(images.noise(0, 500, 375), "WEBP", lossless=True))
    assert photograph.pixels * photograph.pixel_bytes < 70 * 2**20


def test_exif_of_many_tags_that_name_the_same_bytes_is_not_copied():
    tags = b"".join(struct.pack(">HHII", 0x9000, 7, 900_000, 8) for _ in range(20_000))
    exif = struct.pack(">2sHIH", b"MM", 42, 8, 20_000) + tags + bytes(1_000_000)
    lossless = webp.bitstream(Image.fromarray(picture()), lossless=True)
    for data in (
        png(chunk(b"eXIf", exif)),
        webp.riff(webp.extended(16, 12, webp.EXIF), *lossless, webp.chunk(b"EXIF", exif)),
    ):
        tracemalloc.start()
        decode_image(data, POLICY)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
        tracemalloc.stop()


def test_a_profile_is_handed_on_and_one_that_is_damaged_is_not():
    zipped = chunk(b"iCCP", b"a name\0\0" + zlib.compress(PROFILE))
    assert raster(png(zipped)).profile == PROFILE
    assert raster(png(zipped, zipped)).profile == PROFILE
    wrong = chunk(b"iCCP", b"a name\0\0" + zlib.compress(PROFILE), crc=0)
    endless = chunk(b"iCCP", b"a name\0\0" + zlib.compress(bytes(2**23)))
    # Five million bytes of blocks of nothing.
    nothing = chunk(b"iCCP", b"a name\0\0\x78\x01" + b"\0\0\0\xff\xff" * 10**6)
    cut = chunk(b"iCCP", b"a name\0\0" + zlib.compress(PROFILE)[:-9])
    for bad in (wrong, endless, nothing, cut, chunk(b"iCCP", b"")):
        assert raster(png(bad)).profile == b""
    assert raster(png(after=[zipped])).profile == b""
    lossless = webp.bitstream(Image.fromarray(picture()), lossless=True)
    data = webp.riff(webp.extended(16, 12, 0x20), webp.chunk(b"ICCP", PROFILE), *lossless)
    assert raster(data).profile == PROFILE
    assert raster(webp.riff(*lossless)).profile == b""


@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_that_ends_early_is_grey_from_there_if_that_is_allowed(bits):
    values = picture() if bits == 8 else 257 * picture().astype(int)
    rows = png_writer.pixels(values, bits, 0, (0,))
    whole = png_writer.assemble(16, 12, bits, RGB, zlib.compress(rows[: len(rows) // 2]))
    lenient = DecodePolicy((12, 16), decode="exact", allow_truncated=True)
    for data in (whole, whole[:-20]):
        pixels = decode_image(data, lenient).pixels
        assert (pixels[:5] == picture()[:5]).all()
        assert (pixels[7:] == 128).all()
        with pytest.raises(DecodeError) as caught:
            decode_image(data, POLICY)
        assert caught.value.reason is Reason.TRUNCATED


def test_a_last_row_of_the_very_grey_of_missing_rows_is_a_row():
    grey = np.full((12, 16, 3), 128)
    assert (decode_image(png_writer.write(grey, 8, RGB), POLICY).pixels == 128).all()
    interlaced = png_writer.write(grey, 8, RGB, interlace=1)
    assert (decode_image(interlaced, POLICY).pixels == 128).all()


def test_a_background_shows_where_a_frame_does_not():
    data = gif.screen(16, 12, bytes(6)) + gif.frame(np.zeros((4, 4), int), (2, 2))
    policy = DecodePolicy((12, 16), background=(1, 2, 3))
    pixels = decode_picture(data, read_header(data), policy).pixels
    assert (pixels[:2] == (1, 2, 3)).all()
    assert (pixels[2:6, 2:6] == 0).all()
    assert (pixels[6:] == (1, 2, 3)).all()


@pytest.mark.parametrize(("form", "name"), [(b"WAVE", "WAV"), (b"AVI ", "AVI"), (b"ABCD", "RIFF")])
def test_what_else_comes_in_riff_is_named(form, name):
    with pytest.raises(DecodeError, match=name) as caught:
        decode_image(webp.riff(webp.chunk(b"fmt ", bytes(16)), form=form), POLICY)
    assert caught.value.reason is Reason.NOT_AN_IMAGE
