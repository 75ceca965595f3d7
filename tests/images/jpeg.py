"""JPEGs of every process, and of every meaning of their samples."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.values import Reason
from tests import images
from tests.images.jpeg_writer import (
    ADOBE,
    JFIF,
    Planes,
    flat_blocks,
    frame,
    lossless,
    segment,
)
from tests.images.sample import Sample, as_rgb, picture

_RGB = b"RGB"
_OLD = "ImageMagick 6 and libvips have a libjpeg that does not read them."
_INKS = "ImageMagick takes all inks without a profile for Adobe's."
# Grey that grows by 8 to the right and by 4 downwards, coded by libjpeg with arithmetic coding.
_ARITHMETIC = {
    "": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYG"
        "BwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkKCgr/yQALCAAIABABAREA/8wABgAQEAX/2gAIAQEAAD8A"
        "/wDu6T5LPSd57QXgUsSl+OMZoP/Z"
    ),
    "_progressive": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYG"
        "BwkIBgcJBwYGCAsICQoKCgoKBggLDAsKDAkKCgr/ygALCAAIABABAREA/8wABAAQ/9oACAEBAAAAAf8A"
        "3cv/zAAEEAX/2gAIAQEAAQUCFnBVEaeI0P/MAAQQBf/aAAgBAQAGPwIdpzz/zAAEEAX/2gAIAQEAAT8h"
        "phT/2gAIAQEAAAAQgP/MAAQQBf/aAAgBAQABPxAeuaGbwP/Z"
    ),
}


def samples() -> list[Sample]:
    """Returns the samples of JPEG."""
    return [*_colours(), *_samplings(), *_deep(), *_inks(), *_segments(), *_turned(), *_refused()]


def blocks(bits: int = 8, seed: int = 0) -> list[npt.NDArray[np.int64]]:
    """Returns red, green and blue of 4 x 2 blocks, with black and white."""
    values = np.random.default_rng(seed).integers(0, 2**bits, (3, 2, 4))
    values[:, 0, 0], values[:, 1, 3] = 0, 2**bits - 1
    return list(values)


def shown(planes: Planes, size: int = 8) -> npt.NDArray[np.uint8]:
    """Returns the picture of which each block shows one colour."""
    colours = np.stack(planes, axis=-1).astype(np.uint8)
    return colours.repeat(size, axis=0).repeat(size, axis=1)


def _grey(plane: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    return shown([plane] * 3)


def _ycbcr(planes: Planes) -> npt.NDArray[np.uint8]:
    """Returns the colours that JFIF gives to samples."""
    y, cb, cr = (plane.astype(float) for plane in planes)
    cb, cr = cb - 128, cr - 128
    channels = (y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb)
    return shown([np.rint(np.clip(channel, 0, 255)) for channel in channels])


def _adobe(transform: int) -> bytes:
    return segment(0xEE, ADOBE + bytes([transform]))


def _colours() -> list[Sample]:
    planes = blocks()
    by_scans = flat_blocks(
        planes, ids=_RGB, scans=[[0], [1], [2]], between=segment(0xFE, b"\xff\xda")
    )
    made = [
        Sample("jpeg_grey", flat_blocks(planes[:1], before=JFIF), _grey(planes[0])),
        Sample("jpeg_grey_extended", flat_blocks(planes[:1], process=0xC1), _grey(planes[0])),
        Sample("jpeg_grey_progressive", flat_blocks(planes[:1], process=0xC2), _grey(planes[0])),
        Sample("jpeg_rgb_by_names", flat_blocks(planes, ids=_RGB), shown(planes)),
        Sample("jpeg_rgb_by_adobe", flat_blocks(planes, before=_adobe(0)), shown(planes)),
        Sample("jpeg_rgb_progressive", flat_blocks(planes, ids=_RGB, process=0xC2), shown(planes)),
        Sample("jpeg_rgb_restarts", flat_blocks(planes, ids=_RGB, restart=3), shown(planes)),
        Sample("jpeg_rgb_scans", by_scans, shown(planes)),
        Sample("jpeg_ycbcr_by_jfif", flat_blocks(planes, ids=_RGB, before=JFIF), _ycbcr(planes)),
        Sample("jpeg_ycbcr_by_adobe", flat_blocks(planes, before=_adobe(1)), _ycbcr(planes)),
        Sample("jpeg_ycbcr_by_default", flat_blocks(planes, ids=(5, 6, 7)), _ycbcr(planes)),
    ]
    across, down = np.meshgrid(np.arange(16), np.arange(8))
    arithmetic = as_rgb(8 * across + 4 * down)
    for name, text in _ARITHMETIC.items():
        made.append(Sample(f"jpeg_grey_arithmetic{name}", base64.b64decode(text), arithmetic, 4))
    return made


def _samplings() -> list[Sample]:
    made = []
    for luma, chroma in (
        ((2, 1), (1, 1)),
        ((1, 2), (1, 1)),
        ((2, 2), (1, 1)),
        ((4, 1), (1, 1)),
        ((3, 1), (1, 1)),
        ((2, 2), (2, 1)),
        ((1, 1), (2, 2)),
    ):
        factors = [luma, chroma, chroma]
        most = max(luma[0], chroma[0]), max(luma[1], chroma[1])
        grey = blocks()[0].repeat(luma[1], axis=0).repeat(luma[0], axis=1)
        other = np.ones((2 * chroma[1], 4 * chroma[0]), int)
        full = blocks()[0].repeat(most[1], axis=0).repeat(most[0], axis=1)
        data = flat_blocks([grey, 100 * other, 160 * other], factors=factors)
        expected = _ycbcr([full, np.full_like(full, 100), np.full_like(full, 160)])
        name = "jpeg_sampling_" + "_".join(f"{h}x{v}" for h, v in factors[:2])
        # Brightness is smoothed where it is what has fewer samples.
        fancy = "" if luma == most else "Decoders smooth brightness differently."
        made.append(Sample(name, data, expected, 255 if fancy else 1, fancy))
    return made


def _deep() -> list[Sample]:
    made = []
    planes = blocks(12)
    reduced = [(plane * 255 + 2047) // 4095 for plane in planes]
    for name, process in (("12", 0xC1), ("12_progressive", 0xC2)):
        data = flat_blocks(planes[:1], bits=12, process=process)
        made.append(Sample(f"jpeg_grey_{name}", data, _grey(reduced[0]), 1, _OLD))
        data = flat_blocks(planes, bits=12, process=process, ids=_RGB)
        made.append(Sample(f"jpeg_rgb_{name}", data, shown(reduced), 1, _OLD))
    data = flat_blocks(planes, bits=12, process=0xC1, before=JFIF)
    made.append(Sample("jpeg_ycbcr_12", data, _ycbcr([plane / 16.06 for plane in planes]), 2, _OLD))
    for bits in (2, 8, 10, 12, 16):
        white = 2**bits - 1
        exact = [plane.repeat(4, axis=0).repeat(4, axis=1) for plane in blocks(bits)]
        reduced = [(plane * 255 + white // 2) // white for plane in exact]
        data = lossless(exact[:1], bits)
        made.append(Sample(f"jpeg_lossless_grey_{bits}", data, as_rgb(reduced[0]), 0, _OLD))
        data = lossless(exact, bits)
        made.append(Sample(f"jpeg_lossless_rgb_{bits}", data, shown(reduced, 1), 0, _OLD))
    return made


def _inks() -> list[Sample]:
    corners = np.array([[255 * (i >> bit & 1) for i in range(8)] for bit in range(3)])
    inks = [*corners.reshape(3, 2, 4), np.array([[0, 0, 0, 0], [0, 0, 0, 255]])]
    expected = shown([np.clip(255 - ink - inks[3], 0, 255) for ink in inks[:3]])
    inverted = [255 - ink for ink in inks]
    cyan, magenta, yellow = (ink.astype(float) for ink in inks[:3])
    y = 0.299 * cyan + 0.587 * magenta + 0.114 * yellow
    luma = [y, (yellow - y) / 1.772 + 128, (cyan - y) / 1.402 + 128]
    ycck = [*(np.rint(np.clip(part, 0, 255)).astype(int) for part in luma), inverted[3]]
    return [
        Sample("jpeg_cmyk", flat_blocks(inks), expected, 1, _INKS),
        Sample("jpeg_cmyk_by_adobe", flat_blocks(inverted, before=_adobe(0)), expected),
        Sample("jpeg_ycck", flat_blocks(ycck, before=_adobe(2)), expected, 2),
    ]


def _segments() -> list[Sample]:
    planes = blocks()
    expected = shown(planes)
    inner = flat_blocks(planes, process=0xC2)
    thumbnails = segment(0xE1, b"Exif\0\0" + inner) + segment(0xE0, b"JFXX\0\x10" + inner)
    progressive = flat_blocks(planes, ids=_RGB, process=0xC2, before=thumbnails)
    padded = flat_blocks(planes, ids=_RGB, before=b"\xff" * 9 + segment(0xFE, b"") + b"\xff\0ab")
    behind = flat_blocks(planes, ids=_RGB, process=0xC2, after=b"\xff\xd9" + b"\xff\xda\0\2" * 3000)
    two = [Image.fromarray(picture()), Image.fromarray(picture()[::-1])]
    several = images.encode(
        two[0], "MPO", save_all=True, append_images=two[1:], quality=100, subsampling=0
    )
    return [
        Sample("jpeg_thumbnails", progressive, expected),
        Sample("jpeg_padding", padded, expected),
        Sample("jpeg_trailing_scans", behind, expected),
        Sample("jpeg_of_several_pictures", several, picture(), 3),
    ]


def exif(orientation: int, order: str = ">", kind: int = 3) -> bytes:
    """Returns EXIF of an orientation and of nothing else."""
    value = struct.pack(order + {1: "B3x", 3: "H2x", 4: "I"}[kind], orientation)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tags = struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1)
    return b"Exif\0\0" + mark + tags + value + bytes(4)


def xmp(orientation: int) -> bytes:
    """Returns XMP of an orientation."""
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        b'tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>' % orientation
    )


def _turned() -> list[Sample]:
    planes = blocks()
    upright = np.rot90(shown(planes), -1)
    told = segment(0xE1, exif(6))
    untold = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(6))
    broken = segment(0xE1, exif(6)[:-8])
    made = []
    for name, before, expected in (
        ("exif", told, upright),
        ("exif_little_endian", segment(0xE1, exif(6, "<")), upright),
        ("exif_long", segment(0xE1, exif(6, kind=4)), upright),
        ("xmp", untold, shown(planes)),
        ("xmp_and_upright_exif", untold + segment(0xE1, exif(1)), shown(planes)),
        ("xmp_and_exif", segment(0xE1, exif(6)) + untold.replace(b'="6"', b'="3"'), upright),
        ("exif_cut", broken, shown(planes)),
        ("exif_of_no_way_up", segment(0xE1, exif(9)), shown(planes)),
    ):
        made.append(Sample(f"jpeg_{name}", flat_blocks(planes, ids=_RGB, before=before), expected))
    return made


def scan_bomb(scans: int, side: int = 4000, refined: bool = False) -> bytes:
    """Writes a progressive JPEG of many scans, of which each visits all blocks by a few bytes."""
    count = (side // 8) ** 2
    tables = segment(0xC4, b"\0" + _one_code(0) + b"\x10" + _one_code(0xE0))
    head = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64)
    head += frame(0xC2, 8, (side, side), [1], [(1, 1)]) + tables
    first = segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(count // 8 + 1)
    # Each run of ends of blocks takes 15 bits, and one that is too long ends with the scan.
    runs = "011111111111111" * (count // 32767 + 1)
    runs += "1" * (-len(runs) % 8)
    body = bytes(int(runs[i : i + 8], 2) for i in range(0, len(runs), 8)).replace(
        b"\xff", b"\xff\0"
    )
    band = segment(0xDA, bytes([1, 1, 0, 1, 63, 1 if refined else 0])) + body
    again = segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10])) + body if refined else band
    return head + first + band + again * (scans - 2) + b"\xff\xd9"


def _one_code(symbol: int) -> bytes:
    return bytes([1] + [0] * 15 + [symbol])


def _refused() -> list[Sample]:
    planes = blocks()
    whole = flat_blocks(planes, ids=_RGB)
    place = whole.index(b"\xff\xc0")
    lines = segment(0xDC, struct.pack(">H", 16))
    ls = b"\xff\xd8" + frame(0xF7, 8, (8, 8), [1], [(1, 1)]) + bytes(40)
    odd = flat_blocks(
        [planes[0].repeat(3, axis=1), planes[1].repeat(2, axis=1), planes[2]],
        factors=[(3, 1), (2, 1), (1, 1)],
    )
    hierarchy = flat_blocks(planes, before=frame(0xDE, 8, (32, 16), [1, 2, 3], [(1, 1)] * 3))
    fails: Sequence[tuple[str, bytes, Reason]] = (
        ("two_channels", flat_blocks(planes[:2]), Reason.UNSUPPORTED_PIXELS),
        ("five_channels", flat_blocks([*planes, *planes[:2]]), Reason.UNSUPPORTED_PIXELS),
        ("differential", flat_blocks(planes, process=0xC5), Reason.UNSUPPORTED_PIXELS),
        ("hierarchy", hierarchy, Reason.UNSUPPORTED_PIXELS),
        ("lossless_arithmetic", flat_blocks(planes, process=0xCB), Reason.UNSUPPORTED_PIXELS),
        ("cmyk_12", flat_blocks([*planes, planes[0]], bits=12), Reason.UNSUPPORTED_PIXELS),
        ("sampling_3_2_1", odd, Reason.UNSUPPORTED_PIXELS),
        (
            "height_behind",
            flat_blocks(planes, height=0, after=lines + b"\xff\xd9"),
            Reason.UNSUPPORTED_PIXELS,
        ),
        ("ls", ls, Reason.UNSUPPORTED_FORMAT),
        ("without_height", flat_blocks(planes, height=0), Reason.CORRUPT),
        ("without_samples", whole.replace(b"R\x11", b"R\x01"), Reason.CORRUPT),
        ("without_scan", whole[: whole.index(b"\xff\xda")], Reason.TRUNCATED),
        ("two_frames", whole[:place] + whole[place : place + 19] + whole[place:], Reason.CORRUPT),
        ("without_end", flat_blocks(planes, ids=_RGB, after=b""), Reason.TRUNCATED),
        ("cut", images.encode(images.noise(1))[:-300], Reason.TRUNCATED),
        ("scans", scan_bomb(1100, 64), Reason.TOO_COSTLY),
        ("segments", flat_blocks(planes, before=segment(0xFE, b"") * 11_000), Reason.TOO_COSTLY),
    )
    return [Sample(f"jpeg_{name}", data, reason) for name, data, reason in fails]
