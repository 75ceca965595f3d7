"""The pixels of BMP, ICO and CUR that are read."""

from __future__ import annotations

from image_features.transforms.images.headers.header import Alpha, Colour
from image_features.transforms.images.rules.rule import Decoder, Rule

# A mask may have any number of bits.
_ANY_MASK = tuple(range(1, 33))
BMP = (
    Rule(
        ("bmp",),
        (Colour.PALETTE,),
        (1, 2, 4, 8),
        Decoder.BITMAP,
        "through the palette; an index that it lacks is black",
        codings=("",),
    ),
    Rule(
        ("bmp",),
        (Colour.PALETTE,),
        (4, 8),
        Decoder.BITMAP,
        "through the palette; pixels that the run lengths skip have its first colour",
        codings=("run lengths",),
    ),
    Rule(
        ("bmp",),
        (Colour.RGB,),
        _ANY_MASK,
        Decoder.BITMAP,
        "white is all bits of a colour's mask; bits of no mask, as the fourth byte, do not count",
    ),
    Rule(
        ("bmp",),
        (Colour.RGB,),
        _ANY_MASK,
        Decoder.BITMAP,
        "the same; alpha that is 0 everywhere does not count",
        alphas=(Alpha.STRAIGHT,),
    ),
    Rule(
        ("ico", "cur"),
        (Colour.PALETTE,),
        (1, 2, 4, 8),
        Decoder.ICON,
        "the largest picture, the deepest of several; transparent where its mask says so",
        alphas=(Alpha.STRAIGHT,),
        codings=("",),
    ),
    Rule(
        ("ico", "cur"),
        (Colour.RGB,),
        _ANY_MASK,
        Decoder.ICON,
        "the same; the fourth byte is alpha, and the mask counts where that is 0 everywhere",
        alphas=(Alpha.STRAIGHT,),
        codings=("",),
    ),
    Rule(
        ("ico", "cur"),
        tuple(Colour),
        (1, 2, 4, 8, 16),
        Decoder.ENCLOSED,
        "the largest picture, where that is a PNG, as the PNG that it is",
        alphas=tuple(Alpha),
        codings=("png",),
    ),
)
