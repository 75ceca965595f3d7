"""Pillow, by a closed list of its plugins."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.orientation import TRANSPOSED, orientation_of
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.images.resizing import draft_size
from image_features.transforms.values import Reason

# The plugin of each format; all are raster formats whose decoders take no part of a file as
# instructions to run. MPO, as some cameras write, comes with JPEG.
_PLUGINS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
    "avif": "AVIF",
    "ppm": "PPM",
    "ico": "ICO",
}
# Image.open knows only the commonest of these formats before all plugins are registered.
Image.init()


def decode_pillow(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes a file by Pillow's plugin for its format, every pixel of it."""
    with opened(data, header) as image:
        image.load()
        # The orientation is read only now: the TIFF reader turns its image while it loads.
        return Raster(image, image.info.get("icc_profile") or b"", orientation_of(image))


def decode_jpeg(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes a JPEG; with `decode=fast` at the smallest scale that is not below the target."""
    with opened(data, header) as image:
        orientation = orientation_of(image)
        if policy.decode == "fast" and isinstance(image, JpegImageFile):
            height, width = policy.image_size
            target = (height, width) if orientation in TRANSPOSED else (width, height)
            image.draft(None, draft_size(image.size, target, policy.resize))
        # The decoder gets the whole file in one call, as each waits for the interpreter's lock.
        image.decodermaxblock = max(image.decodermaxblock, len(data))
        image.load()
        return Raster(image, image.info.get("icc_profile") or b"", orientation)


@contextmanager
def opened(data: bytes, header: Header) -> Iterator[ImageFile.ImageFile]:
    """Opens a file by the one plugin of its format."""
    try:
        image = Image.open(io.BytesIO(data), formats=(_PLUGINS[header.format],))
    except UnidentifiedImageError as error:  # It tells an address in memory, and no cause.
        raise DecodeError(Reason.CORRUPT, "The image's header is damaged.") from error
    with image:
        assert isinstance(image, ImageFile.ImageFile)
        yield image
