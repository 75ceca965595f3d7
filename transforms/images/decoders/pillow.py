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
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.orientation import without_xmp
from image_features.transforms.values import Reason

# The plugin of each format. All are raster formats whose decoders take no part of a file as
# instructions to run. MPO, as some cameras write, comes with JPEG.
_PLUGINS = {
    "jpeg": "JPEG",
    "tiff": "TIFF",
    "avif": "AVIF",
}
# Image.open knows the plugins that have been imported. Others, such as that of EPS, which starts
# Ghostscript, never are.


@contextmanager
def opened(data: bytes, header: Header) -> Iterator[ImageFile.ImageFile]:
    """Opens a file by the one plugin of its format."""
    try:
        image = Image.open(io.BytesIO(data), formats=(_PLUGINS[header.format],))
    except UnidentifiedImageError as error:  # It tells an address in memory, and no cause.
        raise DecodeError(Reason.CORRUPT, "The image's header is damaged.") from error
    with image:
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
