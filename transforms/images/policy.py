"""The rules by which a file becomes pixels, as a run is given and records them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

MIB = 2**20
# The packages beside Pillow and numpy of whose versions pixels depend.
DECODING_PACKAGES = ("imagecodecs", "pillow-heif")


# No row of the table in docs/images.md needs more for a pixel: OpenJPEG has an int for each sample,
# and some decoders have a whole picture of their own beside Pillow's and the one that is upright.
_PIXEL_BYTES = 24
# This is for files that are small or have no pixels, and for the stacks of decoders' threads.
_ROOM = 128 * MIB + 8 * MIB * (os.cpu_count() or 1)


def memory_for(pixels: int) -> int:
    """Returns the most bytes that the decoding of a file of so many pixels may take."""
    return _PIXEL_BYTES * pixels + _ROOM


@dataclasses.dataclass(frozen=True)
class DecodePolicy:
    """How a file becomes pixels.

    Attributes:
      image_size: (height, width) in pixels that the model takes.
      further_sizes: The other sizes that are wanted of each image, where several models take them.
      resize: `stretch` ignores the aspect ratio; `center_crop` scales the shorter side and
        cuts the longer one evenly; `pad` scales the longer side and fills the rest.
      decode: `fast` lets the JPEG decoder drop whole DCT scales before the resize; `exact`
        decodes every pixel.
      allow_truncated: Whether a file that ends early is decoded, with its missing part grey.
      max_pixels: The most pixels of an image; larger ones fail by their header, before they are
        decoded. It bounds the memory of a decoder too (see `max_memory`).
      max_bytes: The most bytes of a file; larger ones fail before they are opened.
      background: The RGB colour behind transparent pixels, and around a padded image.
      timeout: The seconds that the decoding of one file may take.
      decode_revision: The edition of the rules in docs/images.md. Only the newest can be
        computed; an older one tells what a dataset was made with.
    """

    NEWEST: ClassVar[int] = 2

    image_size: tuple[int, int]
    resize: Literal["stretch", "center_crop", "pad"] = "stretch"
    decode: Literal["fast", "exact"] = "fast"
    allow_truncated: bool = False
    max_pixels: int = 64_000_000
    max_bytes: int = 50 * MIB
    background: tuple[int, int, int] = (255, 255, 255)
    timeout: float = 30.0
    decode_revision: int = NEWEST
    further_sizes: tuple[tuple[int, int], ...] = ()

    @property
    def image_sizes(self) -> tuple[tuple[int, int], ...]:
        """Every size that is wanted of each image, the first one first."""
        return (self.image_size, *self.further_sizes)

    @property
    def max_memory(self) -> int:
        """The most bytes that the decoding of one file may take, as of one of `max_pixels`."""
        return memory_for(self.max_pixels)

    def to_json(self) -> dict[str, Any]:
        """Returns the policy as run.json and the fingerprint of a run hold it."""
        options: dict[str, Any] = {
            "image_size": list(self.image_size),
            "resize": self.resize,
            "decode": self.decode,
            "allow_truncated": self.allow_truncated,
            "max_pixels": self.max_pixels,
            "max_bytes": self.max_bytes,
            "background": list(self.background),
        }
        if self.decode_revision > 1:  # Versions up to 0.2 recorded neither.
            options |= {"timeout": self.timeout, "decode_revision": self.decode_revision}
        if self.further_sizes:
            options["further_sizes"] = [list(size) for size in self.further_sizes]
        return options

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> DecodePolicy:
        """Returns the policy that run.json holds; what it lacks has its default.

        Raises:
          KeyError: the image size is missing.
        """
        height, width = options["image_size"]
        red, green, blue = options.get("background", cls.background)
        return cls(
            image_size=(height, width),
            resize=options.get("resize", cls.resize),
            decode=options.get("decode", cls.decode),
            allow_truncated=options.get("allow_truncated", cls.allow_truncated),
            max_pixels=options.get("max_pixels", cls.max_pixels),
            max_bytes=options.get("max_bytes", cls.max_bytes),
            background=(red, green, blue),
            timeout=options.get("timeout", cls.timeout),
            decode_revision=options.get("decode_revision", 1),
            further_sizes=tuple((int(h), int(w)) for h, w in options.get("further_sizes", ())),
        )
