"""The pixels of JPEG that are read."""

from __future__ import annotations

from image_features.transforms.images.headers.header import Colour
from image_features.transforms.images.rules.rule import Decoder, Rule

JPEG = (
    Rule(("jpeg",), (Colour.GREY,), (8,), Decoder.JPEG, "as it is", codings=("",)),
    Rule(("jpeg",), (Colour.RGB, Colour.YCBCR), (8,), Decoder.JPEG, "to RGB", codings=("",)),
    Rule(
        ("jpeg",),
        (Colour.CMYK,),
        (8,),
        Decoder.JPEG,
        "to RGB; 0 is no ink",
        codings=("",),
    ),
    Rule(
        ("jpeg",),
        (Colour.CMYK,),
        (8,),
        Decoder.JPEG,
        "to RGB; 0 is all ink; YCCK too",
        codings=("Adobe",),
    ),
    Rule(
        ("jpeg",),
        (Colour.GREY, Colour.RGB, Colour.YCBCR),
        (12,),
        Decoder.DEEP_JPEG,
        "to RGB, then to eight bits",
        codings=("",),
    ),
    Rule(
        ("jpeg",),
        (Colour.GREY, Colour.RGB),
        tuple(range(2, 17)),
        Decoder.DEEP_JPEG,
        "to eight bits",
        codings=("lossless",),
    ),
)
