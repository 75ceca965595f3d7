"""HEIC: what the boxes of a HEIF file and the HEVC data in it say of a picture."""

from __future__ import annotations

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Colour, Header
from image_features.transforms.images.headers.hevc import Sequence, read_sequences
from image_features.transforms.images.headers.items import Item
from image_features.transforms.images.headers.nclx import why_unsupported
from image_features.transforms.images.headers.still import Still
from image_features.transforms.values import Reason

_UNSPECIFIED = (2, 2, 2)
# Measured for a pixel of 10 bits: as it is coded, in planes of RGB, side by side, and in 8 bits.
_GREY_BYTES, _RGB_BYTES, _ALPHA_BYTES = 6, 14, 17


def read_heic(data: bytes, still: Still) -> Header:
    """Reads what a HEIC says of its pixels, and whether its HEVC data agrees.

    Raises:
      DecodeError: they contradict each other, or are damaged.
    """
    sequences = [_checked(data, item, still) for item in (*still.coded, *still.alpha)]
    first = sequences[0]
    colour = still.colour or _UNSPECIFIED
    is_grey = first.is_grey and not still.alpha
    return Header(
        "heic",
        still.width,
        still.height,
        Colour.GREY if first.is_grey else Colour.YCBCR,
        first.bits,
        alpha=still.transparency,
        passes=2,
        steps=len(still.coded),
        pixel_bytes=_GREY_BYTES if is_grey else _ALPHA_BYTES if still.alpha else _RGB_BYTES,
        unsupported=why_unsupported(colour, bool(still.profile)),
        shown=still.shown,
    )


def _checked(data: bytes, item: Item, still: Still) -> Sequence:
    """Reads the parameters of an image, whose size has to be the one that its box says."""
    configuration, size = item.property(b"hvcC"), item.property(b"ispe")
    if configuration is None or configuration.end - configuration.start < 23:
        raise DecodeError(Reason.CORRUPT, "An image of the HEIC has no parameters of its codec.")
    declared = (still.width, still.height) if size is None else size.read("II", 4)
    sequences = read_sequences(configuration.content, item.content(data))
    for sequence in sequences:
        if (sequence.width, sequence.height) != declared:
            raise DecodeError(
                Reason.CORRUPT,
                f"The HEIC says that an image has {declared[0]} x {declared[1]} pixels, but the "
                f"data is for {sequence.width} x {sequence.height}.",
            )
    return sequences[0]
