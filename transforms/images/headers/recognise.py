"""Which format a file is of, by its first bytes and never by its name."""

from __future__ import annotations

import struct
from collections.abc import Callable

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.bmp import is_bmp, read_bmp
from image_features.transforms.images.headers.boxes import brands
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
    reader = next((read for is_of, read, _ in _READERS if is_of(data)), None)
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


def extension_of(data: bytes) -> str:
    """Returns the usual extension of a file's format, without a dot; empty for what is not read.

    Nothing is said of whether the file decodes.
    """
    found = next((extension for is_of, _, extension in _READERS if is_of(data)), "")
    return found if isinstance(found, str) else found(data)


def _begins(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magics)


def _read_ico(data: bytes) -> Header:
    return read_ico(data, read_header)


def _jpeg2000(data: bytes) -> str:
    return "jp2" if data.startswith(JP2) else "j2c"


def _heif(data: bytes) -> str:
    return "heic" if {b"avif", b"avis"}.isdisjoint(brands(data)) else "avif"


def _pnm(data: bytes) -> str:
    return _NETPBM.get(data[:2], "pnm")


_NETPBM = {
    **dict.fromkeys((b"P1", b"P4"), "pbm"),
    **dict.fromkeys((b"P2", b"P5"), "pgm"),
    **dict.fromkeys((b"P3", b"P6"), "ppm"),
    **dict.fromkeys((b"PF", b"Pf"), "pfm"),
    b"P7": "pam",
}
_IsOf = Callable[[bytes], bool]
_Read = Callable[[bytes], Header]
# What has only few magic bytes comes last.
_READERS: tuple[tuple[_IsOf, _Read, str | Callable[[bytes], str]], ...] = (
    (_begins(b"\xff\xd8\xff"), read_jpeg, "jpg"),
    (_begins(b"\x89PNG"), read_png, "png"),
    (is_webp, read_webp, "webp"),
    (_begins(b"GIF87a", b"GIF89a"), read_gif, "gif"),
    (_begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), read_tiff, "tif"),
    (_begins(JP2, CODESTREAM), read_jpeg2000, _jpeg2000),
    (is_heif, read_heif, _heif),
    (is_pnm, read_pnm, _pnm),
    (is_ico, _read_ico, "ico"),
    (is_bmp, read_bmp, "bmp"),
)
