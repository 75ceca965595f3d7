"""AVIF: what the boxes of a HEIF file and the AV1 data in it say of a picture."""

from __future__ import annotations

import dataclasses

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.av1 import Sequence, read_sequences
from image_features.transforms.images.headers.header import Colour, Header
from image_features.transforms.images.headers.items import Item
from image_features.transforms.images.headers.nclx import why_unsupported
from image_features.transforms.images.headers.still import Still
from image_features.transforms.values import Reason

_IDENTITY = 0
# Measured for a pixel: as it is coded, as libavif and as Pillow have it, and on the background.
_GREY_BYTES, _RGB_BYTES, _ALPHA_BYTES = 7, 11, 19


def read_avif(data: bytes, still: Still) -> Header:
    """Reads what an AVIF says of its pixels, and whether its AV1 data agrees.

    Raises:
      DecodeError: they contradict each other, or are damaged.
    """
    sequences = [checked(data, item, still) for item in (*still.coded, *still.alpha)]
    first = sequences[0]
    still = coloured(still, first)
    assert still.colour is not None
    return Header(
        "avif",
        still.width,
        still.height,
        _colour(first, still.colour),
        first.bits,
        alpha=still.transparency,
        passes=2,
        steps=len(still.coded),
        pixel_bytes=_ALPHA_BYTES if still.alpha else _GREY_BYTES if first.is_grey else _RGB_BYTES,
        unsupported=why_unsupported(still.colour, bool(still.profile)),
        shown=still.shown,
    )


def coloured(still: Still, sequence: Sequence) -> Still:
    """Returns a picture with the colours of its AV1 data, where its boxes do not tell them."""
    if still.colour is not None:
        return still
    return dataclasses.replace(still, colour=sequence.colour)


def checked(data: bytes, item: Item, still: Still) -> Sequence:
    """Reads the sequence header of an image, whose size has to be the one that its box says."""
    size = item.property(b"ispe")
    declared = (still.width, still.height) if size is None else size.read("II", 4)
    sequences = read_sequences(item.content(data))
    for sequence in sequences:
        if (sequence.width, sequence.height) != declared:
            raise DecodeError(
                Reason.CORRUPT,
                f"The AVIF says that an image has {declared[0]} x {declared[1]} pixels, but the "
                f"data is for {sequence.width} x {sequence.height}.",
            )
    return sequences[0]


def _colour(sequence: Sequence, colour: tuple[int, int, int]) -> Colour:
    if sequence.is_grey:
        return Colour.GREY
    return Colour.RGB if colour[2] == _IDENTITY else Colour.YCBCR
