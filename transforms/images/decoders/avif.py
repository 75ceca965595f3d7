"""AVIF by Pillow's libavif."""

from __future__ import annotations

from PIL import AvifImagePlugin

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.pillow import opened
from image_features.transforms.images.decoders.steps import take_steps
from image_features.transforms.images.headers.avif import checked, coloured
from image_features.transforms.images.headers.boxes import Box, boxes
from image_features.transforms.images.headers.header import Colour, Header
from image_features.transforms.images.headers.heif import read_picture
from image_features.transforms.images.headers.items import entries
from image_features.transforms.images.headers.nclx import profile_of
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.values import Reason


def decode_avif(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes an AVIF, and turns and crops it as its boxes say."""
    # Each thread more would take memory for pictures of its own.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    still = read_picture(data)
    still = coloured(still, checked(data, still.coded[0], still))
    assert still.colour is not None
    with opened(_without_exif(data), header) as image:
        image.load()
        if image.size != (still.width, still.height):
            raise DecodeError(Reason.CORRUPT, "The image's size is not the one that it says.")
        profile = still.profile or profile_of(still.colour, header.colour is Colour.GREY)
        return Raster(take_steps(image, still.steps), profile)


def _without_exif(data: bytes) -> bytes:
    """Hides EXIF from Pillow, which cannot open an AVIF in which it is damaged.

    It says nothing that counts: which way up a picture is, the boxes of a HEIF file tell.
    """
    places = [place for box in boxes(data) for place in _exif(box)]
    if not places:
        return data
    changed = bytearray(data)
    for place in places:
        changed[place : place + 4] = b"free"
    return bytes(changed)


def _exif(box: Box) -> list[int]:
    """Returns where items of EXIF are named in a box, those of tracks included."""
    if box.kind in (b"moov", b"trak"):
        return [place for child in box.children() for place in _exif(child)]
    information = box.child(b"iinf", 4) if box.kind == b"meta" else None
    if information is None:
        return []
    return [p for p, _ in entries(information) if box.data[p : p + 4] == b"Exif"]
