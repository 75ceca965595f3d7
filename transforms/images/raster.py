"""What a decoder gives: samples of eight bits, not yet upright nor in the model's colours."""

from __future__ import annotations

import dataclasses

from PIL import Image


@dataclasses.dataclass(frozen=True, slots=True)
class Raster:
    """The decoded samples of a file.

    Attributes:
      image: An image in a mode that `colour.to_rgb` takes, at the file's size or, where the decoder
        has dropped scales, a smaller one.
      profile: The ICC profile that the file embeds for these samples; empty if there is none.
      orientation: The EXIF orientation, 1 to 8, by which the image has still to be turned.
    """

    image: Image.Image
    profile: bytes = b""
    orientation: int = 1
