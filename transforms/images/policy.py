"""The rules by which a file becomes pixels, as a run is given and records them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

MIB = 2**20
Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest", "area"]
Decode = Literal["fast", "exact", "preview"]
DECODES: tuple[Decode, ...] = get_args(Decode)
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)
# The first never takes a mean and the second always does, so that there is nothing to choose.
_WITHOUT_ANTIALIAS: tuple[Interpolation, ...] = ("nearest", "area")
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


def check_interpolation(interpolation: str, antialias: bool) -> None:
    """Makes sure that there is an interpolation, with or without antialias.

    Raises:
      ValueError: there is not.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is one of {', '.join(INTERPOLATIONS)}: {interpolation!r}.")
    if not antialias and interpolation in _WITHOUT_ANTIALIAS:
        raise ValueError(
            f"antialias is a choice for bilinear, bicubic and lanczos, not for {interpolation}: "
            "nearest never takes a mean of pixels, and area always does."
        )


@dataclasses.dataclass(frozen=True)
class DecodePolicy:
    """How a file becomes pixels.

    Attributes:
      image_size: (height, width) in pixels that the model takes.
      further_sizes: The other sizes that are wanted of each image, where several models take them.
      resize: `stretch` ignores the aspect ratio; `center_crop` scales the shorter side and
        cuts the longer one evenly; `pad` scales the longer side and fills the rest.
      decode: `fast` lets the JPEG decoder drop whole DCT scales before the resize; `exact`
        decodes every pixel; `preview` takes the preview that a camera has put into a JPEG where
        that is as good as the picture (see `preview`), and is `fast` for all others.
      allow_truncated: Whether a file that ends early is decoded, with its missing part grey.
      max_pixels: The most pixels of an image; larger ones fail by their header, before they are
        decoded. It bounds the memory of a decoder too (see `max_memory`).
      max_bytes: The most bytes of a file; larger ones fail before they are opened.
      background: The RGB colour behind transparent pixels, and around a padded image.
      timeout: The seconds that the decoding of one file may take.
      decode_revision: The edition of the rules in docs/images.md. Only the newest can be
        computed; an older one tells what a dataset was made with.
      interpolation: How a pixel of the result is made of those of the image. `bilinear`, `bicubic`
        and `lanczos` weigh by a kernel, `nearest` takes one pixel, `area` the mean of all.
      antialias: Whether the kernel is widened where the image is made smaller, so that every pixel
        counts. Without it only those next to a point do.

    Raises:
      ValueError: there is no such interpolation, or it knows no antialias.
    """

    NEWEST: ClassVar[int] = 2

    image_size: tuple[int, int]
    resize: Literal["stretch", "center_crop", "pad"] = "stretch"
    decode: Decode = "fast"
    allow_truncated: bool = False
    max_pixels: int = 64_000_000
    max_bytes: int = 50 * MIB
    background: tuple[int, int, int] = (255, 255, 255)
    timeout: float = 30.0
    decode_revision: int = NEWEST
    further_sizes: tuple[tuple[int, int], ...] = ()
    interpolation: Interpolation = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        check_interpolation(self.interpolation, self.antialias)

    @property
    def image_sizes(self) -> tuple[tuple[int, int], ...]:
        """Every size that is wanted of each image, the first one first."""
        return (self.image_size, *self.further_sizes)

    @property
    def margin(self) -> int:
        """How many times the size that is needed a decoder must leave; 0 if it may drop no pixel.

        What a decoder leaves are means. A model that was trained without any has never seen them,
        and the filter that is asked for decides the result only if there is something left to do.
        """
        if self.decode == "exact" or not self.antialias or self.interpolation == "nearest":
            return 0
        return 1 if self.interpolation == "bilinear" else 2

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
        # Only what differs from the default is there, as in datasets of before.
        if self.interpolation != "bilinear":
            options["interpolation"] = self.interpolation
        if not self.antialias:
            options["antialias"] = False
        return options

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> DecodePolicy:
        """Returns the policy that run.json holds; what it lacks has its default.

        Raises:
          KeyError: the image size is missing.
          ValueError: there is no such interpolation.
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
            interpolation=options.get("interpolation", cls.interpolation),
            antialias=options.get("antialias", cls.antialias),
        )
