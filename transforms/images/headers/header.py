"""What an image file says of its pixels before any is decoded."""

from __future__ import annotations

import dataclasses
import enum


class Colour(enum.StrEnum):
    """What the samples of a pixel mean."""

    GREY = "grey"
    WHITE_IS_ZERO = "grey, white is zero"
    PALETTE = "palette"
    RGB = "RGB"
    YCBCR = "YCbCr"
    CMYK = "CMYK"
    LAB = "Lab"
    OTHER = "other"


class Sample(enum.StrEnum):
    """How a sample is a number."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    FLOAT = "float"


class Alpha(enum.StrEnum):
    """How a file tells which pixels are transparent."""

    NONE = "none"
    STRAIGHT = "alpha"
    PREMULTIPLIED = "premultiplied alpha"
    KEY = "a transparent colour"


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What decides how a file is decoded, and what that will cost.

    Attributes:
      format: Pillow's name of the format in lower case.
      width: The width in pixels as stored, before the image is turned upright.
      height: The height in pixels as stored.
      colour: What the samples mean.
      bits: The bits of a sample, of the deepest where they differ.
      sample: How a sample is a number.
      alpha: How transparency is told.
      planar: Whether each channel is stored on its own.
      coding: The compression, where the way to the pixels depends on it; else empty.
      passes: The times that a decoder goes over all pixels, as for the scans of a JPEG.
      steps: The parts of the file that are taken one by one in Python: chunks, strips, frames.
      pixel_bytes: The bytes of memory for a decoded pixel at the height of decoding.
      kept_bytes: The bytes for each stored pixel that are held until the decoder has ended, even
        where scales are dropped.
      shown: The width and the height of the upright picture, where the decoder turns or crops it
        as the file says; None if EXIF alone decides.
      unsupported: Why the pixels cannot be had, where the file says something that the columns of
        the table do not cover; else empty.
    """

    format: str
    width: int
    height: int
    colour: Colour = Colour.RGB
    bits: int = 8
    sample: Sample = Sample.UNSIGNED
    alpha: Alpha = Alpha.NONE
    planar: bool = False
    coding: str = ""
    passes: int = 1
    steps: int = 0
    pixel_bytes: int = 8
    kept_bytes: int = 0
    unsupported: str = ""
    shown: tuple[int, int] | None = None

    @property
    def pixels(self) -> int:
        """The number of pixels."""
        return self.width * self.height
