"""The pixels of PNG, GIF and WebP that are read."""

from __future__ import annotations

from image_features.transforms.images.headers.header import Alpha, Colour
from image_features.transforms.images.rules.rule import Decoder, Rule

_BLENDED = "; what is transparent is blended with the background"
PNG = (
    Rule(
        ("png",),
        (Colour.GREY, Colour.PALETTE),
        (1, 2, 4, 8),
        Decoder.PNG,
        "the highest number of the bits is white; a palette's colours as they are",
    ),
    Rule(
        ("png",),
        (Colour.GREY,),
        (1, 2, 4),
        Decoder.PNG,
        "the highest number of the bits is white" + _BLENDED,
        alphas=(Alpha.KEY,),
    ),
    Rule(
        ("png",),
        (Colour.PALETTE,),
        (1, 2, 4, 8),
        Decoder.PNG,
        "as it is; each colour of the palette may have its alpha" + _BLENDED,
        alphas=(Alpha.STRAIGHT,),
    ),
    Rule(("png",), (Colour.RGB,), (8,), Decoder.PNG, "as it is"),
    Rule(
        ("png",),
        (Colour.GREY, Colour.RGB),
        (8,),
        Decoder.PNG,
        "as it is" + _BLENDED,
        alphas=(Alpha.KEY, Alpha.STRAIGHT),
    ),
    Rule(
        ("png",),
        (Colour.GREY, Colour.RGB),
        (16,),
        Decoder.PNG,
        "rounded to 8 bits",
    ),
    Rule(
        ("png",),
        (Colour.GREY, Colour.RGB),
        (16,),
        Decoder.PNG,
        "rounded to 8 bits; the transparent colour is compared with all 16" + _BLENDED,
        alphas=(Alpha.KEY, Alpha.STRAIGHT),
    ),
)
GIF = (
    Rule(
        ("gif",),
        (Colour.PALETTE,),
        (8,),
        Decoder.GIF,
        "the first frame on its canvas; the background shows where no pixel does",
        alphas=(Alpha.NONE, Alpha.KEY),
    ),
)
WEBP = (
    Rule(("webp",), (Colour.YCBCR, Colour.RGB), (8,), Decoder.WEBP, "as it is"),
    Rule(
        ("webp",),
        (Colour.YCBCR, Colour.RGB),
        (8,),
        Decoder.WEBP,
        "as it is, the first frame on its canvas" + _BLENDED,
        alphas=(Alpha.STRAIGHT,),
    ),
)
