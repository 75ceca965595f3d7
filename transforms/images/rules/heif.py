"""The pixels of AVIF and HEIC that are read."""

from __future__ import annotations

from image_features.transforms.images.headers.header import Alpha, Colour
from image_features.transforms.images.rules.rule import Decoder, Rule

_ALPHAS = (Alpha.NONE, Alpha.STRAIGHT, Alpha.PREMULTIPLIED)
_BITS = (8, 10, 12)
HEIF = (
    Rule(
        ("avif",),
        (Colour.GREY, Colour.RGB, Colour.YCBCR),
        _BITS,
        Decoder.AVIF,
        "to RGB of 8 bits; cropped, turned and mirrored as its boxes say, the first frame of many",
        alphas=_ALPHAS,
    ),
    Rule(
        ("heic",),
        (Colour.GREY, Colour.YCBCR),
        _BITS,
        Decoder.HEIC,
        "to RGB of 8 bits; cropped, turned and mirrored as its boxes say",
        alphas=_ALPHAS,
    ),
)
