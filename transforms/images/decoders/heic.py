"""HEIC by pillow-heif, which is an extra since its decoder is under the LGPL."""

from __future__ import annotations

import numpy as np
from PIL import Image

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.samples import to_eight_bits
from image_features.transforms.images.headers.header import Colour, Header
from image_features.transforms.images.headers.heif import read_picture
from image_features.transforms.images.headers.nclx import profile_of
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.values import Reason


def decode_heic(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes the picture that a HEIC shows; libheif turns and crops it."""
    try:
        import pillow_heif

        pillow_heif.libheif_version()  # Its libraries may be missing too.
    except ImportError as error:
        raise DecodeError(
            Reason.UNSUPPORTED_FORMAT,
            "The file is HEIC, for which the extra [heif] is missing: install it, "
            "by pip install 'image-feature-extractor[heif]'.",
        ) from error
    # No plugin is registered: what Pillow opens stays a closed list.
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = False
    still = read_picture(data)
    file = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    image = file[file.primary_index]
    if not image.info["primary"]:  # It is another one where that cannot be opened.
        raise DecodeError(Reason.CORRUPT, "The picture that the HEIC shows cannot be decoded.")
    samples = np.asarray(image)
    if (image.size[0], image.size[1]) != header.shown:
        raise DecodeError(Reason.CORRUPT, "The image's size is not the one that it says.")
    pixels = to_eight_bits(samples, bits=header.bits) if header.bits > 8 else samples
    mode = image.mode.split(";")[0].replace("I", "L")
    profile = still.profile
    if not profile and still.colour is not None:
        profile = profile_of(still.colour, header.colour is Colour.GREY)
    picture = Image.frombuffer(mode, image.size, np.ascontiguousarray(pixels), "raw", mode, 0, 1)
    return Raster(picture, profile)
