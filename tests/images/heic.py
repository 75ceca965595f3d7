"""HEIC files: coded by x265 through pillow-heif, put together by hand."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import numpy.typing as npt

from image_features.transforms.values import Reason
from tests.images.avif import on_white
from tests.images.bmff import ALPHA, Part, clap, grid, heif, imir, irot, nclx, part_of
from tests.images.sample import Sample, as_rgb, grey, picture

_SIDE = 64
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_DEEP_MODES = {1: "I;16", 3: "RGB;16", 4: "RGBA;16"}
# libheif codes no other side without a crop.
_WIDTH, _HEIGHT = 64, 64


def lossless(pixels: npt.NDArray[np.uint8], bits: int = 8, **options: object) -> bytes:
    """Returns a file in which an image is coded without loss."""
    import pillow_heif

    count = 1 if pixels.ndim == 2 else pixels.shape[2]
    values = np.ascontiguousarray(pixels)
    if bits > 8:
        deep = np.rint(values * ((2**bits - 1) / 255)).astype(np.uint16)
        values = deep << (16 - bits)
    mode = (_MODES if bits == 8 else _DEEP_MODES)[count]
    size = (pixels.shape[1], pixels.shape[0])
    image = pillow_heif.from_bytes(mode, size, values.tobytes())
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    out = io.BytesIO()
    options = {"quality": -1, "chroma": 444, "matrix_coefficients": 0, **options}
    image.save(out, **options)
    return out.getvalue()


def coded(pixels: npt.NDArray[np.uint8], bits: int = 8) -> Part:
    """Codes an image without loss."""
    return part_of(lossless(pixels, bits))


def shown() -> npt.NDArray[np.uint8]:
    """Returns the picture of these samples."""
    return picture(_WIDTH, _HEIGHT)


def samples() -> list[Sample]:
    """Returns the files, none without the extra."""
    if importlib.util.find_spec("pillow_heif") is None:
        return []
    return [*_encoded(), *_turned(), *_put_together(), *_bad()]


def _encoded() -> list[Sample]:
    found = []
    level = grey(_WIDTH, _HEIGHT)
    opacity = np.ascontiguousarray(level[::-1])
    for bits in (8, 10, 12):
        with_alpha = lossless(np.dstack([shown(), opacity]), bits)
        found += [
            Sample(f"heic_rgb_{bits}", lossless(shown(), bits), shown()),
            Sample(f"heic_grey_{bits}", lossless(level, bits, chroma=None), as_rgb(level)),
            Sample(f"heic_rgba_{bits}", with_alpha, on_white(shown(), opacity)),
        ]
    usual = {"quality": 90, "chroma": 420, "matrix_coefficients": 6}
    odd = lossless(picture(29, 37), **usual)
    return [
        *found,
        Sample("heic_subsampled", lossless(shown(), **usual), shown(), 8),
        Sample("heic_of_an_odd_size", odd, picture(29, 37), 16),
    ]


def _turned() -> list[Sample]:
    part, upright = coded(shown()), shown()
    exif = Part(b"Exif", b"\0\0\0\6Exif\0\0no directory of tags")
    return [
        *(
            Sample(f"heic_irot_{turns}", _rgb(part, irot(turns)), np.rot90(upright, turns))
            for turns in range(4)
        ),
        Sample("heic_imir_top", _rgb(part, imir(0)), upright[::-1]),
        Sample("heic_imir_left", _rgb(part, imir(1)), upright[:, ::-1]),
        Sample("heic_irot_imir", _rgb(part, irot(1), imir(0)), np.rot90(upright)[::-1]),
        Sample(
            "heic_clap",
            _rgb(part, clap(21, 10, (1, 2), (-4, 1)), irot(3)),
            np.rot90(upright[23:33, 22:43], 3),
        ),
        Sample(
            "heic_damaged_exif",
            heif(b"heic", [part.but(nclx(1, 13, 0)), exif], [(b"cdsc", 2, [1])]),
            upright,
        ),
    ]


def _rgb(part: Part, *properties: bytes) -> bytes:
    return heif(b"heic", [part.but(nclx(1, 13, 0), *properties)])


def _put_together() -> list[Sample]:
    big = picture(2 * _SIDE, 2 * _SIDE)
    halves = [half for row in np.split(big, 2) for half in np.split(row, 2, axis=1)]
    tiles = [coded(np.ascontiguousarray(half)).but(nclx(1, 13, 0)) for half in halves]
    whole = grid(2, 2, 2 * _SIDE - 10, 2 * _SIDE - 4, nclx(1, 13, 0), irot(3))
    part = coded(shown()).but(nclx(1, 13, 0))
    thumbnail = coded(np.zeros((_SIDE, _SIDE, 3), np.uint8))
    opacity = np.ascontiguousarray(grey(_WIDTH, _HEIGHT)[::-1])
    multiplied = np.rint(shown() * (opacity[..., None] / 255)).astype(np.uint8)
    alpha = part_of(lossless(opacity, chroma=None)).but(ALPHA)
    return [
        Sample(
            "heic_grid",
            heif(b"heic", [whole, *tiles], [(b"dimg", 1, [2, 3, 4, 5])]),
            np.rot90(big[: 2 * _SIDE - 4, : 2 * _SIDE - 10], 3),
        ),
        Sample(
            "heic_thumbnail",
            heif(b"heic", [part, thumbnail], [(b"thmb", 2, [1])]),
            shown(),
        ),
        Sample("heic_second_picture", heif(b"heic", [part, thumbnail]), shown()),
        Sample(
            "heic_premultiplied_alpha",
            heif(
                b"heic",
                [coded(multiplied).but(nclx(1, 13, 0)), alpha],
                [(b"auxl", 2, [1]), (b"prem", 1, [2])],
            ),
            on_white(shown(), opacity),
            2,
        ),
    ]


def _bad() -> list[Sample]:
    part = coded(shown()).but(nclx(1, 13, 0))
    sound = heif(b"heic", [part])
    pq = heif(b"heic", [coded(shown(), 10).but(nclx(9, 16, 0))])
    return [
        Sample("heic_lie", heif(b"heic", [part.but(size=(16, 16))]), Reason.CORRUPT),
        Sample("heic_larger_lie", heif(b"heic", [part.but(size=(640, 480))]), Reason.CORRUPT),
        Sample("heic_cut", sound[:-20], Reason.TRUNCATED),
        Sample("heic_cut_in_boxes", sound[:150], Reason.TRUNCATED),
        Sample("heic_pq", pq, Reason.UNSUPPORTED_PIXELS),
        Sample(
            "heic_without_parameters",
            sound.replace(b"hvcC", b"free"),
            Reason.CORRUPT,
        ),
        *(
            Sample(
                f"heif_{kind.decode()}",
                heif(b"mif1", [Part(kind, part.data, part.properties)]),
                Reason.UNSUPPORTED_FORMAT,
            )
            for kind in (b"jpeg", b"avc1", b"vvc1", b"unci", b"j2k1", b"iovl", b"abcd")
        ),
    ]
