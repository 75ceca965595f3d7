"""The pixels of TIFF that are read."""

from __future__ import annotations

import functools

from image_features.transforms.images.headers.header import Alpha, Colour, Sample
from image_features.transforms.images.rules.rule import Decoder, Rule

# Samples in compressions of bytes, then compressions that know of pixels.
_BYTES = ("no compression", "LZW", "Deflate", "PackBits", "LZMA", "Zstandard")
_TO_WHITE = "the highest number that the bits allow is white, or black where white is zero"
_WIDE = "divided by 257 within 16 bits, else stretched from lowest to highest"
_FLOAT = "within [0, 1] times 255, within [0, 255] kept, else stretched from lowest to highest"
_GREYS = (Colour.GREY, Colour.WHITE_IS_ZERO)
_ALPHAS = (Alpha.NONE, Alpha.STRAIGHT, Alpha.PREMULTIPLIED)
_UP_TO_16 = tuple(range(1, 17))
_strips = functools.partial(
    Rule, ("tiff",), decoder=Decoder.TIFF, planar=None, codings=_BYTES, alphas=(Alpha.NONE,)
)
_libtiff = functools.partial(Rule, ("tiff",), decoder=Decoder.LIBTIFF)
TIFF = (
    _strips((Colour.GREY, Colour.RGB), _UP_TO_16, becomes=_TO_WHITE, alphas=_ALPHAS),
    _strips((Colour.WHITE_IS_ZERO,), _UP_TO_16, becomes=_TO_WHITE, alphas=_ALPHAS[:2]),
    _strips((*_GREYS, Colour.RGB), (32, 64), becomes=_WIDE + "; inverted where white is zero"),
    _strips(
        (*_GREYS, Colour.RGB),
        (16, 32, 64),
        becomes=_WIDE + "; inverted where white is zero",
        samples=(Sample.SIGNED,),
    ),
    _strips(
        (Colour.GREY, Colour.RGB),
        (16, 24, 32, 64),
        becomes=_FLOAT,
        samples=(Sample.FLOAT,),
        alphas=_ALPHAS,
    ),
    _strips(
        (Colour.WHITE_IS_ZERO,),
        (16, 24, 32, 64),
        becomes=_FLOAT + "; then inverted",
        samples=(Sample.FLOAT,),
    ),
    _strips(
        (Colour.PALETTE,),
        _UP_TO_16,
        becomes="the colours of the palette",
        alphas=_ALPHAS[:2],
        planar=False,
    ),
    _strips((Colour.CMYK,), (8, 16), becomes="to RGB; ink of 0 is none"),
    _strips((Colour.LAB,), (8, 16), becomes="to sRGB"),
    _strips(
        (Colour.RGB,),
        (8,),
        becomes="as it is",
        alphas=_ALPHAS[:2],
        planar=False,
        codings=("WebP",),
    ),
    _libtiff((Colour.YCBCR,), (8,), becomes="to RGB", codings=(*_BYTES, "JPEG", "old JPEG")),
    _libtiff((*_GREYS, Colour.RGB), (8,), becomes="as it is", planar=None, codings=("JPEG",)),
    _libtiff(
        (Colour.GREY, Colour.RGB),
        (8,),
        becomes="as it is",
        alphas=(Alpha.STRAIGHT,),
        codings=("JPEG",),
    ),
    _libtiff((Colour.CMYK,), (8,), becomes="to RGB; ink of 0 is none", codings=("JPEG",)),
    _libtiff(_GREYS, (1,), becomes="as it is", codings=("CCITT",)),
)
