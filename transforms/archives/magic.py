"""Whether bytes begin like an encoded image, to tell images from other values."""

from __future__ import annotations

import re

_BEGINS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF.{4}WEBP|II[*+]\0|MM\0[*+]"
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51|.{4}ftyp(?:avi|hei|hev|mif|msf)"
    rb"|BM.{12}[\x0c\x28\x40\x6c\x7c]\0\0\0|P(?:[1-6Ff]\s+(?:#.*\n\s*)*-?\d|7\n)",
    re.DOTALL,
)


def looks_like_image(data: bytes) -> bool:
    """Whether data begins like a file of a common image format."""
    return _BEGINS.match(data[:64]) is not None
