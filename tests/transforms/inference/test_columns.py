"""What a column may hold, and the pixels that it becomes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.inference.columns import decode_value
from tests.images import encode, noise

POLICY = DecodePolicy((96, 96))


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
