"""What a column may hold, and the pixels that it becomes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.inference.columns import decode_value
from tests.images import encode, jpeg, noise, profiles

POLICY = DecodePolicy((96, 96))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_profiles_and_xmp_count_for_pictures_as_for_files(format):
    options = {"lossless": True} if format == "WEBP" else {}
    if format == "TIFF":
        options["tiffinfo"] = {700: jpeg.xmp(6)}
    elif format != "PNG":
        options["xmp"] = jpeg.xmp(6)
    wide = profiles.matrix_profile(profiles.PROPHOTO, 1.8)
    data = encode(noise(5, 120, 80), format, icc_profile=wide, **options)
    opened = Image.open(io.BytesIO(data))
    exact = DecodePolicy((96, 96), decode="exact")
    decoded = decode_value(opened, exact)
    np.testing.assert_array_equal(decoded, decode_image(data, exact).pixels, strict=True)
    assert ("xmp" in opened.info) == (format != "PNG")
    opened.info["icc_profile"] = None
    assert np.abs(decoded.astype(int) - decode_value(opened, exact)).mean() > 4


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_pictures_are_decoded_like_their_files(mode, orientation):
    image = noise(5, 120, 80)
    image = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    if mode == "RGBA":
        image.putalpha(noise(6, 120, 80).convert("L"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(image, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    opened = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(
        decode_value(opened, POLICY), decode_image(data, POLICY).pixels, strict=True
    )
