"""The pixels of JPEG 2000 that are read."""

from __future__ import annotations

from image_features.transforms.images.headers.header import Alpha, Colour, Sample
from image_features.transforms.images.rules.rule import Decoder, Rule

_BITS = tuple(range(1, 17))
_ALPHAS = (Alpha.NONE, Alpha.STRAIGHT, Alpha.PREMULTIPLIED)
JPEG2000 = (
    Rule(
        ("jpeg2000",),
        (Colour.GREY, Colour.RGB),
        _BITS,
        Decoder.JPEG2000,
        "to 8 bits; white is all bits",
        alphas=_ALPHAS,
    ),
    Rule(
        ("jpeg2000",),
        (Colour.GREY, Colour.RGB),
        _BITS,
        Decoder.JPEG2000,
        "to 8 bits; the lowest number is black, the highest white",
        samples=(Sample.SIGNED,),
    ),
    Rule(
        ("jpeg2000",),
        (Colour.PALETTE,),
        _BITS,
        Decoder.JPEG2000,
        "through the palette, its colours to 8 bits; an index beyond it is its last colour",
        alphas=_ALPHAS,
    ),
    Rule(
        ("jpeg2000",),
        (Colour.YCBCR, Colour.CMYK),
        _BITS,
        Decoder.JPEG2000,
        "to 8 bits and to RGB; half as many samples of colour (4:2:0, 4:2:2) are repeated",
    ),
)
