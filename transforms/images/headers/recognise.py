"""Which format a file is of, by its first bytes and never by its name."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

from PIL import Image, UnidentifiedImageError

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.codestream import CODESTREAM
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.heif import read_heif
from image_features.transforms.images.headers.jpeg import read_jpeg
from image_features.transforms.images.headers.jpeg2000 import JP2, read_jpeg2000
from image_features.transforms.values import Reason

_FORMATS = ("PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO")
Image.init()


def read_header(data: bytes) -> Header:
    """Reads what a file says of its pixels.

    Raises:
      DecodeError: the file is no image, is one of a format that is not read, or has a header that
        is damaged.
    """
    reader = next((read for magic, read in _READERS if data.startswith(magic)), _opened)
    if data[4:8] == b"ftyp":
        reader = read_heif
    try:
        return reader(data)
    except (struct.error, IndexError) as error:
        raise DecodeError(Reason.TRUNCATED, "The image ends within its header.") from error
    except DecodeError:
        raise
    except Exception as error:  # Readers may raise anything.
        raise DecodeError(Reason.CORRUPT, f"The image's header is damaged: {error}") from error


def _opened(data: bytes) -> Header:
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return Header((image.format or "").lower(), *image.size)
    except UnidentifiedImageError as error:  # It is an OSError too.
        raise DecodeError(
            Reason.NOT_AN_IMAGE,
            f"The file is no image of a known format; it begins with {data[:24]!r}.",
        ) from error


_READERS: tuple[tuple[bytes, Callable[[bytes], Header]], ...] = (
    (b"\xff\xd8\xff", read_jpeg),
    (JP2, read_jpeg2000),
    (CODESTREAM, read_jpeg2000),
)
