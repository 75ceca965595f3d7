"""The pixels of netpbm's formats that are read."""

from __future__ import annotations

from image_features.transforms.images.headers.header import Alpha, Colour, Sample
from image_features.transforms.images.rules.rule import Decoder, Rule

PNM = (
    # PBM, PGM, PPM, PAM and PFM. White may be any number of up to 16 bits.
    Rule(("ppm",), (Colour.WHITE_IS_ZERO,), (1,), Decoder.NETPBM, "as it is: 1 is black"),
    Rule(
        ("ppm",),
        (Colour.GREY, Colour.RGB),
        tuple(range(1, 17)),
        Decoder.NETPBM,
        "white is what the file says, not what the bits could hold",
        alphas=(Alpha.NONE, Alpha.STRAIGHT),
    ),
    Rule(
        ("ppm",),
        (Colour.GREY, Colour.RGB),
        (32,),
        Decoder.NETPBM,
        "floats, by the rule above; all colours by the same range",
        (Sample.FLOAT,),
    ),
)
