"""The table of all pixels that are read: which decoder takes them, and what becomes of them.

docs/images.md shows it, and a test compares the two. A file of which no row tells ends as an error
row with the reason `unsupported_pixels`: nothing is guessed.
"""

from __future__ import annotations

import dataclasses
import enum
import functools

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Alpha, Colour, Header, Sample
from image_features.transforms.values import Reason


class Decoder(enum.StrEnum):
    """What reads the samples of a file; `picture.py` has the function of each."""

    JPEG = "Pillow (libjpeg-turbo), which may drop scales"
    PILLOW = "Pillow"
    BITMAP = "numpy"
    ICON = "numpy, with the icon's mask"
    ENCLOSED = "what reads the PNG"
    NETPBM = "numpy, by netpbm's rules"


@dataclasses.dataclass(frozen=True)
class Rule:
    """A row of the table.

    Attributes:
      formats: The formats, by Pillow's names in lower case.
      colours: What the samples may mean.
      bits: The bits that a sample may have.
      decoder: What reads them.
      becomes: What is done, in a phrase for the documentation.
      samples: How a sample may be a number.
      alphas: How transparency may be told.
      planar: Whether channels may be stored on their own: None for both.
      codings: The codings that the row is for; None for all.
    """

    formats: tuple[str, ...]
    colours: tuple[Colour, ...]
    bits: tuple[int, ...]
    decoder: Decoder
    becomes: str
    samples: tuple[Sample, ...] = (Sample.UNSIGNED,)
    alphas: tuple[Alpha, ...] = (Alpha.NONE,)
    planar: bool | None = False
    codings: tuple[str, ...] | None = None

    def is_for(self, header: Header) -> bool:
        """Tells whether a file's pixels are of this row."""
        return (
            header.format in self.formats
            and header.colour in self.colours
            and header.bits in self.bits
            and header.sample in self.samples
            and header.alpha in self.alphas
            and self.planar in (None, header.planar)
            and (self.codings is None or header.coding in self.codings)
        )


_ANY_ALPHA = tuple(Alpha)
_ANY_MASK = tuple(range(1, 33))
RULES: tuple[Rule, ...] = (
    Rule(("jpeg",), (Colour.GREY,), (8,), Decoder.JPEG, "as it is"),
    Rule(("jpeg",), (Colour.RGB, Colour.YCBCR), (8,), Decoder.JPEG, "as it is"),
    Rule(("jpeg",), (Colour.CMYK,), (8,), Decoder.JPEG, "to RGB; ink of 0 is none, of Adobe's all"),
    # To be divided by format.
    Rule(
        ("png", "webp", "gif", "tiff", "avif", "jpeg2000"),
        tuple(Colour),
        tuple(range(1, 65)),
        Decoder.PILLOW,
        "as Pillow reads it",
        tuple(Sample),
        _ANY_ALPHA,
        None,
    ),
    # BMP, ICO and CUR. A mask may have any number of bits.
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
        alphas=_ANY_ALPHA,
        codings=("png",),
    ),
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


@functools.lru_cache(maxsize=256)
def _row(kind: Header) -> Rule | None:
    return next((rule for rule in RULES if rule.is_for(kind)), None)


def rule_for(header: Header) -> Rule:
    """Returns the row of the table that a file's pixels are of.

    Raises:
      DecodeError: there is none, with the reason `unsupported_pixels`.
    """
    if not header.unsupported:
        # Nothing but the columns of the table decides, so that few headers are different.
        kind = dataclasses.replace(header, width=0, height=0, passes=1, steps=0)
        if rule := _row(kind):
            return rule
    raise DecodeError(Reason.UNSUPPORTED_PIXELS, _refusal(header))


def _refusal(header: Header) -> str:
    what = header.unsupported or (
        f"{header.bits}-bit {header.sample} {header.colour} samples"
        + (f" with {header.alpha}" if header.alpha is not Alpha.NONE else "")
        + (", each channel on its own" if header.planar else "")
        + (f", coded as {header.coding}" if header.coding else "")
    )
    return (
        f"The {header.format} image has {what}, which are not read; docs/images.md has the table "
        "of what is. Convert it, as to PNG of 8 bits."
    )
