"""Cameras' raws that are told by their first bytes; those built as a TIFF are told by its tags."""

from __future__ import annotations

from typing import NoReturn

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason

# Olympus, Panasonic, Fujifilm, Sigma, Minolta, and Canon's first.
CAMERA_RAWS = (
    *(b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM"),
    b"II\x1a\0\0\0HEAPCCDR",
)


def refuse_camera_raw(data: bytes) -> NoReturn:
    """Refuses a camera's raw.

    Raises:
      DecodeError: always.
    """
    raise DecodeError(
        Reason.UNSUPPORTED_FORMAT,
        "The file is a camera's raw, which is not read. Develop it, as to JPEG.",
    )
