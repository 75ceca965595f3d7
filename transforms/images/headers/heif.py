"""HEIF files of all kinds: HEIC, AVIF, and what has other codecs or is no picture at all."""

from __future__ import annotations

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.avif import read_avif
from image_features.transforms.images.headers.boxes import boxes, brands
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.heic import read_heic
from image_features.transforms.images.headers.still import Still, read_still
from image_features.transforms.values import Reason

_PICTURES = frozenset(
    {b"mif1", b"mif2", b"msf1", b"miaf", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
    | {b"hevm", b"hevs", b"avif", b"avis", b"avio", b"jpeg", b"jpgs", b"avci", b"avcs", b"j2ki"}
    | {b"j2is", b"vvic", b"vvis", b"evbi", b"evmi"}
)
_AV1, _HEVC = frozenset({b"av01"}), frozenset({b"hvc1", b"hev1"})
_OTHERS = {
    b"jpeg": "JPEG",
    b"avc1": "AVC (H.264)",
    b"vvc1": "VVC (H.266)",
    b"evc1": "EVC",
    b"j2k1": "JPEG 2000",
    b"unci": "uncompressed samples",
    b"iovl": "an overlay of pictures",
    b"iden": "a derived picture",
    b"tmap": "a tone-mapped picture",
}


def is_heif(data: bytes) -> bool:
    """Tells whether a file names a brand of pictures, unlike videos of the same family."""
    return data[4:8] == b"ftyp" and not _PICTURES.isdisjoint(brands(data))


def read_heif(data: bytes) -> Header:
    """Reads what a file of the ISO base media file format says of its pixels.

    Raises:
      DecodeError: it has no picture, one that no decoder here reads, or is damaged.
    """
    still = read_picture(data)
    if still.codec in _AV1:
        return read_avif(data, still)
    if still.codec in _HEVC:
        return read_heic(data, still)
    raise _other(still)


def read_picture(data: bytes) -> Still:
    """Reads which picture a file shows.

    Raises:
      DecodeError: it has none, or what tells of it is damaged.
    """
    kinds = {box.kind for box in boxes(data)}
    if b"meta" not in kinds and b"moov" in kinds and b"avis" not in brands(data):
        raise DecodeError(
            Reason.UNSUPPORTED_FORMAT, "The file is a HEIF sequence without a still picture."
        )
    return read_still(data, is_sequence=brands(data)[0] == b"avis" or b"meta" not in kinds)


def _other(still: Still) -> DecodeError:
    codec = _OTHERS.get(still.codec, repr(still.codec))
    return DecodeError(
        Reason.UNSUPPORTED_FORMAT,
        f"The file is HEIF with {codec}, which is not read; HEIC and AVIF are. Convert it.",
    )
