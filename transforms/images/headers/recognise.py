"""Which format a file is of, by its first bytes and never by its name."""

from __future__ import annotations

import struct
from collections.abc import Callable

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.bmp import is_bmp, read_bmp
from image_features.transforms.images.headers.codestream import CODESTREAM
from image_features.transforms.images.headers.gif import read_gif
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.heif import is_heif, read_heif
from image_features.transforms.images.headers.ico import is_ico, read_ico
from image_features.transforms.images.headers.jpeg import read_jpeg
from image_features.transforms.images.headers.jpeg2000 import JP2, read_jpeg2000
from image_features.transforms.images.headers.others import refusal
from image_features.transforms.images.headers.png import read_png
from image_features.transforms.images.headers.pnm import is_pnm, read_pnm
from image_features.transforms.images.headers.tiff import read_tiff
from image_features.transforms.images.headers.webp import is_webp, read_webp
from image_features.transforms.values import Reason


def read_header(data: bytes) -> Header:
    """Reads what a file says of its pixels.

    Raises:
      DecodeError: the file is no image, is one of a format that is not read, or has a header that
        is damaged.
    """
    reader = next((read for is_of, read in _READERS if is_of(data)), None)
    if reader is None:
        raise refusal(data)
    try:
        return reader(data)
    except (struct.error, IndexError) as error:
        raise DecodeError(Reason.TRUNCATED, "The image ends within its header.") from error
    except DecodeError:
        raise
    except Exception as error:  # Readers may raise anything.
        raise DecodeError(Reason.CORRUPT, f"The image's header is damaged: {error}") from error


def _begins(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magics)


def _read_ico(data: bytes) -> Header:
    return read_ico(data, read_header)


# What has only few magic bytes comes last.
_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Header]], ...] = (
    (_begins(b"\xff\xd8\xff"), read_jpeg),
    (_begins(b"\x89PNG"), read_png),
    (is_webp, read_webp),
    (_begins(b"GIF87a", b"GIF89a"), read_gif),
    (_begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), read_tiff),
    (_begins(JP2, CODESTREAM), read_jpeg2000),
    (is_heif, read_heif),
    (is_pnm, read_pnm),
    (is_ico, _read_ico),
    (is_bmp, read_bmp),
)
