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
    PNG = "Pillow, from the chunks that carry pixels"
    GIF = "Pillow, from the first frame"
    WEBP = "libwebp (imagecodecs), from the first frame"
    PILLOW = "Pillow"


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
_BLENDED = "; what is transparent is blended with the background"
RULES: tuple[Rule, ...] = (
    Rule(("jpeg",), (Colour.GREY,), (8,), Decoder.JPEG, "as it is"),
    Rule(("jpeg",), (Colour.RGB, Colour.YCBCR), (8,), Decoder.JPEG, "as it is"),
    Rule(("jpeg",), (Colour.CMYK,), (8,), Decoder.JPEG, "to RGB; ink of 0 is none, of Adobe's all"),
    # PNG. The colours that a row lists together are decoded alike.
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
    # GIF.
    Rule(
        ("gif",),
        (Colour.PALETTE,),
        (8,),
        Decoder.GIF,
        "the first frame on its canvas; the background shows where no pixel does",
        alphas=(Alpha.NONE, Alpha.KEY),
    ),
    # WebP.
    Rule(("webp",), (Colour.YCBCR, Colour.RGB), (8,), Decoder.WEBP, "as it is"),
    Rule(
        ("webp",),
        (Colour.YCBCR, Colour.RGB),
        (8,),
        Decoder.WEBP,
        "as it is, the first frame on its canvas" + _BLENDED,
        alphas=(Alpha.STRAIGHT,),
    ),
    # To be divided by format.
    Rule(
        ("bmp", "tiff", "avif", "ppm", "ico", "jpeg2000"),
        tuple(Colour),
        tuple(range(1, 65)),
        Decoder.PILLOW,
        "as Pillow reads it",
        tuple(Sample),
        _ANY_ALPHA,
        None,
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
