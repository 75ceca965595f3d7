"""JPEG: Pillow for samples of eight bits with loss, imagecodecs for all others."""

from __future__ import annotations

import contextlib

from PIL import Image, ImageFile

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.pillow import opened
from image_features.transforms.images.decoders.progressive import without_detail
from image_features.transforms.images.decoders.samples import to_eight_bits
from image_features.transforms.images.headers.header import Colour, Header
from image_features.transforms.images.headers.jpeg import segments
from image_features.transforms.images.orientation import TRANSPOSED, exif_orientation
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.images.resizing import draft_size
from image_features.transforms.values import Reason

_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"
_EIGHTH = 8
_MODES = {Colour.GREY: "L", Colour.CMYK: "CMYK"}


def decode_jpeg(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes a JPEG; by its policy at the smallest scale that leaves what the target needs."""
    profile, orientation = embedded(data)
    most = most_scale(header, policy, orientation in TRANSPOSED) if policy.margin else 1
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        return Raster(_leniently(data, header, _scale(most)), profile, orientation)
    if policy.decode == "preview" and most >= _EIGHTH:
        with contextlib.suppress(Exception):  # What is damaged is decoded as ever.
            small = without_detail(data, header)
            return Raster(decode_scaled(small, header, most), profile, orientation)
    return Raster(decode_scaled(data, header, most), profile, orientation)


def decode_scaled(data: bytes, header: Header, most: int) -> Image.Image:
    """Decodes a JPEG of eight bits with loss, at a scale that divides its sides by so much at most.

    Raises:
      OSError: the file is damaged, or ends early.
      ValueError: the file has not as many pixels as its header says.
    """
    scale = _scale(most)
    mode = _MODES.get(header.colour, "RGB")
    layout = "CMYK;I" if header.coding == "Adobe" else mode
    size = -(-header.width // scale), -(-header.height // scale)
    # Pillow's JPEG decoder itself. Its plugin would read all segments once more, in Python. The
    # pixels need no first colour, since the decoder writes all of them or raises an error.
    image = Image.new(mode, size, None)
    image.frombytes(data, "jpeg", (layout, "", scale, 0))
    return image


def decode_deep_jpeg(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes a JPEG of other samples than eight bits with loss, every pixel of it."""
    import imagecodecs  # It takes memory and time, of which no other decoder has need.

    profile, orientation = embedded(data)
    samples = imagecodecs.jpeg8_decode(data)
    if samples.shape[:2] != (header.height, header.width):
        raise DecodeError(Reason.CORRUPT, "The JPEG tells of two sizes.")
    reduced = to_eight_bits(samples, bits=header.bits)
    del samples
    return Raster(Image.fromarray(reduced), profile, orientation)


def _leniently(data: bytes, header: Header, scale: int) -> Image.Image:
    """Decodes as much as there is; only the way through Pillow's plugin does."""
    with opened(data, header) as image:
        image.draft(None, (header.width // scale, header.height // scale))
        image.load()
        return image


def most_scale(header: Header, policy: DecodePolicy, turned: bool) -> int:
    """Returns by how much both sides can be divided so that all that is needed is left.

    It is 0 for an image that is smaller than what is needed.
    """
    return min(_most_scale(header, size, policy, turned) for size in policy.image_sizes)


def _scale(most: int) -> int:
    """Returns the largest of the decoder's scales within a bound."""
    return 8 if most >= 8 else 4 if most >= 4 else 2 if most >= 2 else 1


def _most_scale(header: Header, size: tuple[int, int], policy: DecodePolicy, turned: bool) -> int:
    height, width = size
    target = (height, width) if turned else (width, height)
    needed = draft_size((header.width, header.height), target, policy.resize)
    return min(header.width // needed[0], header.height // needed[1]) // policy.margin


def embedded(data: bytes) -> tuple[bytes, int]:
    """Returns the profile of a JPEG, of any number of parts in any order, and the orientation."""
    exif, parts = b"", []
    for marker, position in segments(data):
        if marker not in (0xE1, 0xE2):
            continue
        start, end = position + 4, position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker == 0xE1 and not exif and data.startswith(_EXIF, start):
            exif = data[start:end]
        elif marker == 0xE2 and data.startswith(_PROFILE, start):
            parts.append(data[start + len(_PROFILE) : end])
    return _joined(parts) if parts else b"", exif_orientation(exif) if exif else 1


def _joined(parts: list[bytes]) -> bytes:
    parts.sort()
    # Each part has its number, from 1, and the number of all.
    numbers = [tuple(part[:2]) for part in parts]
    if numbers != [(number, len(parts)) for number in range(1, len(parts) + 1)]:
        return b""
    return b"".join(part[2:] for part in parts)
