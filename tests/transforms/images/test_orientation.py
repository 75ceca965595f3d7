"""Orientation comes from EXIF alone, and costs no more than one tag."""

import struct
import time

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from image_features.transforms.images.orientation import exif_orientation
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from tests import images
from tests.images import jpeg
from tests.images.sample import picture


def xmp_options(format, orientation):
    text = jpeg.xmp(orientation)
    if format == "PNG":
        told = PngImagePlugin.PngInfo()
        told.add_itxt("XML:com.adobe.xmp", text.decode())
        return {"pnginfo": told}
    return {"tiffinfo": {700: text}} if format == "TIFF" else {"xmp": text}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_turns_no_picture(format):
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(
        format, {}
    )
    data = images.encode(Image.fromarray(picture()), format, **options, **xmp_options(format, 6))
    assert b'tiff:Orientation="6"' in data
    seen = decode_image(data, DecodePolicy((12, 16), decode="exact"))
    assert (seen.width, seen.height) == (16, 12)
    assert np.abs(seen.pixels.astype(int) - picture()).max() <= 3


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_exif_tells_the_orientation_in_any_number(order, kind):
    told = jpeg.exif(6, order, kind)
    assert exif_orientation(told) == exif_orientation(told[6:]) == 6
    assert exif_orientation(b"Exif\0\0" + told) == 6  # Some writers set the mark twice.


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0XX*\0\0\0\0\x08",
        jpeg.exif(0),
        jpeg.exif(9),
        jpeg.exif(6)[:-8],
        b"MM\0*\xff\xff\xff\xff",
        jpeg.exif(6).replace(b"\1\x12\0\3\0\0\0\1", b"\1\x12\0\3\0\0\0\2"),
        jpeg.exif(6).replace(b"\1\x12\0\3\0\0\0\1", b"\1\x12\0\2\0\0\0\1"),
    ],
)
def test_exif_that_is_not_sound_turns_nothing(exif):
    assert exif_orientation(exif) == 1


def test_exif_of_many_long_tags_takes_no_memory():
    # Pillow would copy eight megabytes for each of 60,000 tags.
    count, size = 60_000, 8_000_000
    tags = b"".join(struct.pack(">HHII", 1000 + tag, 7, size, 8) for tag in range(count))
    exif = b"MM\0*" + struct.pack(">IH", 8, count) + tags + bytes(4 + size)
    data = images.encode(images.gradient(), "PNG", exif=exif)
    start = time.process_time()
    assert decode_image(data, DecodePolicy((8, 8))).width == 64
    assert time.process_time() - start < 2
