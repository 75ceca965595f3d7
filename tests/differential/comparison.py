"""What a file shows here and in other viewers."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ImageCms

from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from tests.differential.faults import excuse_of
from tests.differential.viewers import ImageMagick, NotShownError, Vips

_TOLERANCE = 2


def decoded(data: bytes) -> npt.NDArray[np.uint8]:
    """Decodes a file exactly, at its own size, as uint8 [height, width, 3].

    Raises:
      DecodeError: the file gives no pixels.
    """
    header = read_header(data)
    seen = decode_image(data, DecodePolicy((header.height, header.width), decode="exact"))
    if (seen.width, seen.height) == (header.width, header.height):
        return seen.pixels
    return decode_image(data, DecodePolicy((seen.height, seen.width), decode="exact")).pixels


def compare(
    name: str,
    path: pathlib.Path,
    viewers: Sequence[ImageMagick | Vips],
    disagreements: list[str],
    tolerance: int = _TOLERANCE,
) -> None:
    """Fails a test unless a file shows what one of the viewers shows.

    A file that no viewer reads is skipped, and so is one whose viewers are known to be wrong. Where
    only one of them shows the same, that is noted.
    """
    profile = path.with_name("srgb.icc")
    profile.write_bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    ours = decoded(path.read_bytes())
    said: dict[str, str] = {}
    agree = []
    for viewer in viewers:
        try:
            theirs = viewer.show(path, profile)
        except NotShownError as error:
            said[viewer.name] = f"does not read it: {error}"
            continue
        said[viewer.name] = _difference(ours, theirs, tolerance)
        agree.append(not said[viewer.name])
    if not agree:
        pytest.skip(f"{name}: {said}")
    different = {viewer: what for viewer, what in said.items() if what}
    if not any(agree) and (excuse := excuse_of(name)):
        pytest.skip(f"{name}: {excuse}")
    assert any(agree), f"{name}: {different}"
    if not all(agree):
        disagreements.append(f"{name}: {different}")


def _difference(ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8], tolerance: int) -> str:
    """Returns a phrase on how two pictures differ; empty if they do not."""
    if ours.shape != theirs.shape:
        return f"shows {theirs.shape[1]} x {theirs.shape[0]} pixels, not {ours.shape[1::-1]}"
    difference = np.abs(ours.astype(int) - theirs)
    if difference.max() <= tolerance:
        return ""
    row, column, _ = np.unravel_index(difference.argmax(), difference.shape)
    return (
        f"differs by up to {difference.max()}, {difference.mean():.2f} on average: at column "
        f"{column} of row {row} it shows {theirs[row, column].tolist()}, not "
        f"{ours[row, column].tolist()}"
    )
