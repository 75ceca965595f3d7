"""The table of all pixels that are read: which decoder takes them, and what becomes of them.

docs/images.md shows it, and a test compares the two. A file of which no row tells ends as an error
row with the reason `unsupported_pixels`: nothing is guessed.
"""

from __future__ import annotations

import functools

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Alpha, Colour, Header, Sample
from image_features.transforms.images.rules.bmp import BMP
from image_features.transforms.images.rules.heif import HEIF
from image_features.transforms.images.rules.jpeg import JPEG
from image_features.transforms.images.rules.jpeg2000 import JPEG2000
from image_features.transforms.images.rules.pnm import PNM
from image_features.transforms.images.rules.rule import Rule
from image_features.transforms.images.rules.tiff import TIFF
from image_features.transforms.images.rules.web import GIF, PNG, WEBP
from image_features.transforms.values import Reason

RULES: tuple[Rule, ...] = (
    *JPEG,
    *TIFF,
    *BMP,
    *PNM,
    *JPEG2000,
    *HEIF,
    *PNG,
    *GIF,
    *WEBP,
)


def rule_for(header: Header) -> Rule:
    """Returns the row of the table that a file's pixels are of.

    Raises:
      DecodeError: there is none, with the reason `unsupported_pixels`.
    """
    if not header.unsupported:
        rule = _row(
            header.format,
            header.colour,
            header.bits,
            header.sample,
            header.alpha,
            header.planar,
            header.coding,
        )
        if rule:
            return rule
    raise DecodeError(Reason.UNSUPPORTED_PIXELS, _refusal(header))


@functools.lru_cache(maxsize=256)
def _row(
    format: str,
    colour: Colour,
    bits: int,
    sample: Sample,
    alpha: Alpha,
    planar: bool,
    coding: str,
) -> Rule | None:
    """Returns the row by the columns alone, of which few are ever different."""
    header = Header(format, 0, 0, colour, bits, sample, alpha, planar, coding)
    return next((rule for rule in RULES if rule.is_for(header)), None)


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
