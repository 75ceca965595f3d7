"""Whether bytes begin as images do: only such bytes make a column or a feature one of images."""

from __future__ import annotations

import re

# Decoders look closer; here a value is told from hashes, vectors and texts.
_IMAGE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF.{4}WEBP|II[*+]\0|MM\0[*+]"
    rb"|BM.{12}[\x0c-\x7c]\0\0\0|\0\0[\x01\x02]\0[^\0]\0|P[1-7FfGg][\s#]"
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51|.{4}ftyp(?:avi[fos]|hei[cmsx]|hev[cmsx]|mi[af][1f2]|msf1)",
    re.DOTALL,
)


def begins_like_image(data: bytes) -> bool:
    """Whether bytes begin as a file of one of the usual formats of images."""
    return _IMAGE.match(data) is not None
