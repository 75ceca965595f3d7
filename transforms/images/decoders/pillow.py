"""Pillow, by a closed list of its plugins."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import (
    AvifImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.orientation import orientation_of, without_xmp
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.values import Reason

# The plugin of each format. All are raster formats whose decoders take no part of a file as
# instructions to run. MPO, as some cameras write, comes with JPEG.
_PLUGINS = {
    "jpeg": "JPEG",
    "tiff": "TIFF",
    "avif": "AVIF",
    "jpeg2000": "JPEG2000",
}
# Image.open knows the plugins that have been imported. Others, such as that of EPS, which starts
# Ghostscript, never are.


def decode_pillow(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes a file by Pillow's plugin for its format, every pixel of it."""
    with opened(data, header) as image:
        image.load()
        # The orientation is read only now: the TIFF reader turns its image while it loads.
        return Raster(image, image.info.get("icc_profile") or b"", orientation_of(image))


@contextmanager
def opened(data: bytes, header: Header) -> Iterator[ImageFile.ImageFile]:
    """Opens a file by the one plugin of its format."""
    with Image.open(io.BytesIO(data), formats=(_PLUGINS[header.format],)) as image:
        assert isinstance(image, ImageFile.ImageFile)
        with without_xmp(image):
            yield image


def load(image: ImageFile.ImageFile) -> None:
    """Decodes an opened image.

    Raises:
      DecodeError: its codes are wrong, which does not tell that it ends early.
    """
    try:
        image.load()
    except OSError as error:
        if "broken data stream" not in str(error):
            raise
        raise DecodeError(
            Reason.CORRUPT, f"The pixels of the {image.format} image are compressed wrongly."
        ) from error
