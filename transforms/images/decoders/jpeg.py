"""JPEG: Pillow for samples of eight bits, imagecodecs for those of any other depth or no loss."""

from __future__ import annotations

from PIL import Image, ImageFile

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.pillow import opened
from image_features.transforms.images.decoders.samples import to_eight_bits
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.jpeg import FRAMES, segments
from image_features.transforms.images.orientation import TRANSPOSED, orientation_of
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.images.resizing import draft_size
from image_features.transforms.values import Reason

_PROFILE = b"ICC_PROFILE\0"


def decode_jpeg(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes a JPEG; with `decode=fast` at the smallest scale that is not below the target."""
    with opened(data, header) as image:
        if image.size != (header.width, header.height):
            # Pillow would let the decoder write beyond the rows that it has.
            raise DecodeError(Reason.CORRUPT, "The JPEG tells of two sizes.")
        orientation = orientation_of(image)
        if policy.decode == "fast":
            height, width = policy.image_size
            target = (height, width) if orientation in TRANSPOSED else (width, height)
            image.draft(None, draft_size(image.size, target, policy.resize))
        # The decoder gets the whole file in one call, as each waits for the interpreter's lock.
        image.decodermaxblock = max(image.decodermaxblock, len(data))
        image.load()
        return Raster(image, _profile(image), orientation)


def decode_deep_jpeg(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes a JPEG of other samples than eight bits with loss, every pixel of it."""
    import imagecodecs  # It takes memory and time, of which no other decoder has need.

    frame = next(position for marker, position in segments(data) if marker in FRAMES)
    # Pillow reads what the other segments say, if only the depth is none that it refuses.
    with opened(data[: frame + 4] + b"\x08" + data[frame + 5 :], header) as image:
        orientation, profile = orientation_of(image), _profile(image)
    samples = imagecodecs.jpeg8_decode(data)
    if samples.shape[:2] != (header.height, header.width):
        raise DecodeError(Reason.CORRUPT, "The JPEG tells of two sizes.")
    reduced = to_eight_bits(samples, bits=header.bits)
    del samples
    return Raster(Image.fromarray(reduced), profile, orientation)


def _profile(image: ImageFile.ImageFile) -> bytes:
    """Returns the profile of an opened JPEG, wherever its parts lie before the first scan."""
    parts = sorted(
        part
        for name, part in getattr(image, "applist", ())
        if name == "APP2" and part.startswith(_PROFILE)
    )
    place = len(_PROFILE)
    # Each part has its number, from 1, and the number of all.
    numbers = [tuple(part[place : place + 2]) for part in parts]
    if numbers != [(number, len(parts)) for number in range(1, len(parts) + 1)]:
        return b""
    return b"".join(part[place + 2 :] for part in parts)
