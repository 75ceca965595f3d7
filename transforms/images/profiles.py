"""Embedded colour profiles (ICC), by which the samples of an image become sRGB."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

# The colour space that a profile must be of, by the mode of the image.
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}
# Other classes convert between profiles, or between the names of colours.
_CLASSES = frozenset({b"mntr", b"scnr", b"prtr", b"spac"})
_HEADER = 128
# The profiles of presses take up to some 3 MiB.
_LARGEST = 4 * 2**20
_TAG = 12
_MOST_TAGS = 100
# A chain of elements that any number of tables may share costs more than the size of a file tells.
_UNBOUNDED = b"mpet"
_KEPT = 32
# Levels of 255 within which rounding differs, and beyond which white is not white any more.
_SAME, _WRONG = 1, 128


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Converts an image by the profile that it embeds; its own pixels stay as they are.

    It may be called from several threads, which convert side by side.

    Args:
      image: An image in the mode L, RGB or CMYK, where ink is 255.
      profile: The bytes of an ICC profile, of whatever kind.

    Returns:
      An image in the mode RGB; None where the profile would change nothing, is damaged or is not
      one of the image's own colour space.
    """
    convert = _conversion(profile, image.mode)
    return None if convert is None else convert(image)


@functools.lru_cache(maxsize=_KEPT)
def _conversion(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    if not _is_of_use(profile, mode):
        return None
    before = _colours(mode)
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "L":  # Its 256 levels are soon converted, and more precisely than by short cuts.
        flags |= ImageCms.Flags.NOOPTIMIZE
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags,
        )
        assert isinstance(transform, ImageCms.ImageCmsTransform)
        after = transform.apply(before)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None  # An image with a bad profile is still an image.
    moved = np.abs(np.asarray(after).astype(int) - np.asarray(before.convert("RGB")))
    # The last colour of the grid is white, or all ink; the first is black, or none.
    ends = moved[0, [0, -1]] if mode != "CMYK" else moved[0, [0]]
    if moved.max() <= _SAME or ends.max() >= _WRONG:
        return None
    return functools.partial(_by_levels, after) if mode == "L" else transform.apply


def _by_levels(levels: Image.Image, image: Image.Image) -> Image.Image:
    """Converts grey by what becomes of each level."""
    tables = [list(channel.tobytes()) for channel in levels.split()]
    return Image.merge("RGB", [image.point(table) for table in tables])


def _is_of_use(profile: bytes, mode: str) -> bool:
    """Tells whether a profile has the form and the colour space that an image of a mode needs."""
    if not _HEADER + 4 <= len(profile) <= _LARGEST or profile[36:40] != b"acsp":
        return False
    if profile[12:16] not in _CLASSES or profile[16:20] != _SPACES.get(mode):
        return False
    count = int.from_bytes(profile[_HEADER : _HEADER + 4])
    table = range(_HEADER + 4, _HEADER + 4 + _TAG * count, _TAG)
    return count <= _MOST_TAGS and not any(
        profile.startswith(_UNBOUNDED, int.from_bytes(profile[entry + 4 : entry + 8]))
        for entry in table
    )


def _colours(mode: str) -> Image.Image:
    """Returns an image of one row: a grid of all colours of a mode."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    levels = np.linspace(0, 255, 256 if channels == 1 else 9 if channels == 3 else 5)
    grid = np.meshgrid(*[np.rint(levels).astype(np.uint8)] * channels, indexing="ij")
    flat = np.stack([axis.ravel() for axis in grid], axis=-1)[None]
    return Image.frombytes(mode, (flat.shape[1], 1), flat.tobytes())
