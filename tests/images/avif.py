"""AVIF files: what encoders write, and what only a writer of boxes does."""

from __future__ import annotations

import io
import struct

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.values import Reason
from tests.images.bmff import (
    ALPHA,
    Part,
    box,
    clap,
    full_box,
    grid,
    heif,
    imir,
    irot,
    nclx,
    part_of,
)
from tests.images.sample import Sample, as_rgb, grey, picture

WHITE = 255
_NO_PICTURE = full_box(b"meta", 0, 0, full_box(b"hdlr", 0, 0, bytes(4), b"mp7t", bytes(13)))
# The smallest size of a tile.
_SIDE = 64


def coded(pixels: npt.NDArray[np.uint8], bits: int = 8) -> Part:
    """Codes an image without loss, its levels spread over so many bits."""
    return part_of(lossless(pixels, bits))


def lossless(pixels: npt.NDArray[np.uint8], bits: int = 8) -> bytes:
    """Returns a file in which an image is coded without loss."""
    return imagecodecs.avif_encode(_deep(pixels, bits), bitspersample=bits)


def _deep(pixels: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.generic]:
    if bits == 8:
        return np.ascontiguousarray(pixels)
    return np.rint(pixels * ((2**bits - 1) / 255)).astype(np.uint16)


def _opacity() -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(grey()[::-1])


def on_white(pixels: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns an image on white, as its opacity says."""
    share = alpha[..., None] / 255
    return np.rint(pixels * share + WHITE * (1 - share)).astype(np.uint8)


def samples() -> list[Sample]:
    """Returns the files."""
    return [*_encoded(), *_turned(), *_put_together(), *_bad()]


def _encoded() -> list[Sample]:
    found = []
    opacity = _opacity()
    for bits in (8, 10, 12):
        with_alpha = np.dstack([picture(), opacity])
        grey_with_alpha = np.dstack([grey(), opacity])
        found += [
            Sample(f"avif_rgb_{bits}", lossless(picture(), bits), picture()),
            Sample(f"avif_grey_{bits}", lossless(grey(), bits), as_rgb(grey())),
            Sample(f"avif_rgba_{bits}", lossless(with_alpha, bits), on_white(picture(), opacity)),
            Sample(
                f"avif_grey_alpha_{bits}",
                lossless(grey_with_alpha, bits),
                on_white(as_rgb(grey()), opacity),
            ),
        ]
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        data = _by_pillow(Image.fromarray(picture()), subsampling=subsampling)
        tolerance = 4 if subsampling == "4:4:4" else 16
        found.append(Sample(f"avif_{subsampling.replace(':', '')}", data, picture(), tolerance))
    narrow = _by_pillow(Image.fromarray(picture()), subsampling="4:4:4", range="limited")
    found.append(Sample("avif_limited_range", narrow, picture(), 4))
    frames = [Image.fromarray(picture()), Image.new("RGB", (16, 12))]
    data = _by_pillow(frames[0], subsampling="4:4:4", save_all=True, append_images=frames[1:])
    found.append(Sample("avif_sequence", _without_times(data), picture(), 4))
    return found


def _without_times(data: bytes) -> bytes:
    """Returns a sequence without the time at which it was written, the same bytes every time."""
    timeless = bytearray(data)
    for kind in (b"mvhd", b"tkhd", b"mdhd"):
        start = data.index(kind) + 4
        size = 16 if data[start] else 8  # Created and modified, by the version of the box.
        timeless[start + 4 : start + 4 + size] = bytes(size)
    return bytes(timeless)


def _by_pillow(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "AVIF", quality=100, **options)
    return out.getvalue()


def _without_times(data: bytes) -> bytes:
    """Removes when a sequence was made, so that it has the same bytes each time."""
    changed = bytearray(data)
    for kind in (b"mvhd", b"tkhd", b"mdhd"):
        start = changed.index(kind) + 8  # Behind the version, which is 1, and the flags.
        changed[start : start + 16] = bytes(16)
    return bytes(changed)


def _turned() -> list[Sample]:
    part, upright = coded(picture()), picture()
    exif = Part(b"Exif", struct.pack(">I", 0) + _exif_of(6))
    damaged = Part(b"Exif", b"\0\0\0\0no directory of tags")
    about = [(b"cdsc", 2, [1])]
    return [
        *(
            Sample(
                f"avif_irot_{turns}",
                heif(b"avif", [part.but(nclx(1, 13, 0), irot(turns))]),
                np.rot90(upright, turns),
            )
            for turns in range(4)
        ),
        Sample("avif_imir_top", _rgb(part, imir(0)), upright[::-1]),
        Sample("avif_imir_left", _rgb(part, imir(1)), upright[:, ::-1]),
        Sample("avif_irot_imir", _rgb(part, irot(1), imir(0)), np.rot90(upright)[::-1]),
        Sample(
            "avif_clap",
            _rgb(part, clap(9, 4, (1, 2), (-1, 1)), irot(3)),
            np.rot90(upright[3:7, 4:13], 3),
        ),
        Sample(
            "avif_exif_does_not_turn",
            heif(b"avif", [part.but(nclx(1, 13, 0)), exif], about),
            upright,
        ),
        Sample(
            "avif_exif_does_not_turn_twice",
            heif(b"avif", [part.but(nclx(1, 13, 0), irot(3)), exif], about),
            np.rot90(upright, 3),
        ),
        Sample(
            "avif_damaged_exif",
            heif(b"avif", [part.but(nclx(1, 13, 0)), damaged], about),
            upright,
        ),
    ]


def _rgb(part: Part, *properties: bytes) -> bytes:
    return heif(b"avif", [part.but(nclx(1, 13, 0), *properties)])


def _exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()[6:]


def _put_together() -> list[Sample]:
    big = picture(2 * _SIDE, _SIDE)
    left, right = (coded(np.ascontiguousarray(side)) for side in np.split(big, 2, axis=1))
    shown = grid(1, 2, 2 * _SIDE - 8, _SIDE - 2, nclx(1, 13, 0))
    tiles = [left.but(nclx(1, 13, 0)), right.but(nclx(1, 13, 0))]
    opacity = _opacity()
    share = opacity[..., None] / 255
    multiplied = coded(np.rint(picture() * share).astype(np.uint8)).but(nclx(1, 13, 0))
    alpha = coded(opacity).but(ALPHA)
    return [
        Sample(
            "avif_grid",
            heif(b"avif", [shown, *tiles], [(b"dimg", 1, [2, 3])]),
            big[: _SIDE - 2, : 2 * _SIDE - 8],
        ),
        Sample(
            "avif_premultiplied_alpha",
            heif(b"avif", [multiplied, alpha], [(b"auxl", 2, [1]), (b"prem", 1, [2])]),
            on_white(picture(), opacity),
            2,
        ),
    ]


def _bad() -> list[Sample]:
    part = coded(picture()).but(nclx(1, 13, 0))
    sound = heif(b"avif", [part])
    alpha = coded(_opacity()).but(ALPHA)
    tile = part.but()
    pq, hlg = (heif(b"avif", [coded(picture()).but(nclx(9, t, 0))]) for t in (16, 18))
    short = heif(b"avif", [grid(1, 2, 32, 12, nclx(1, 13, 0)), tile], [(b"dimg", 1, [2])])
    loose = heif(b"avif", [grid(1, 2, 16, 12, nclx(1, 13, 0)), tile, tile], [(b"dimg", 1, [2, 3])])
    other_alpha = coded(np.zeros((6, 8), np.uint8)).but(ALPHA)
    empty = Part(b"av01", b"", part.properties)
    beyond = sound.replace(struct.pack(">I", len(part.data)) + b"\0\0\0", b"\x7f\xff\xff\xff\0\0\0")
    return [
        Sample("avif_lie", heif(b"avif", [part.but(size=(8, 8))]), Reason.CORRUPT),
        Sample("avif_larger_lie", heif(b"avif", [part.but(size=(32, 24))]), Reason.CORRUPT),
        Sample(
            "avif_alpha_lie",
            heif(b"avif", [part, other_alpha.but(size=(16, 12))], [(b"auxl", 2, [1])]),
            Reason.CORRUPT,
        ),
        Sample(
            "avif_alpha_of_another_size",
            heif(b"avif", [part, other_alpha], [(b"auxl", 2, [1])]),
            Reason.UNSUPPORTED_PIXELS,
        ),
        Sample("avif_grid_without_tile", short, Reason.CORRUPT),
        Sample("avif_grid_of_too_many", loose, Reason.CORRUPT),
        Sample("avif_clap_outside", _rgb(part, clap(20, 4, (0, 1), (0, 1))), Reason.CORRUPT),
        Sample("avif_pq", pq, Reason.UNSUPPORTED_PIXELS),
        Sample("avif_hlg", hlg, Reason.UNSUPPORTED_PIXELS),
        Sample("avif_constant_luminance", _matrix(part, 10), Reason.UNSUPPORTED_PIXELS),
        Sample("avif_cut", sound[:-20], Reason.TRUNCATED),
        Sample("avif_cut_in_boxes", sound[:200], Reason.TRUNCATED),
        Sample("avif_extent_beyond_the_file", beyond, Reason.TRUNCATED),
        Sample("avif_no_primary", sound.replace(b"pitm", b"free"), Reason.CORRUPT),
        Sample("avif_no_size", sound.replace(b"ispe", b"free"), Reason.CORRUPT),
        Sample("avif_no_data", heif(b"avif", [empty]), Reason.CORRUPT),
        Sample(
            "avif_damaged_data",
            heif(b"avif", [Part(b"av01", part.data[:24] + bytes(40), part.properties)]),
            Reason.CORRUPT,
        ),
        Sample("avif_only_alpha", heif(b"avif", [Part(b"Exif", alpha.data)]), Reason.CORRUPT),
        Sample("mp4", _video(b"isom"), Reason.NOT_AN_IMAGE),
        Sample("mp4_with_a_box_meta", _video(b"isom") + _NO_PICTURE, Reason.NOT_AN_IMAGE),
        Sample("quicktime", _video(b"qt  "), Reason.NOT_AN_IMAGE),
        Sample("cr3", _video(b"crx "), Reason.UNSUPPORTED_FORMAT),
        Sample("heif_sequence", _video(b"hevc"), Reason.UNSUPPORTED_FORMAT),
    ]


def _matrix(part: Part, matrix: int) -> bytes:
    plain = Part(part.kind, part.data, tuple(p for p in part.properties if p[4:8] != b"colr"))
    return heif(b"avif", [plain.but(nclx(9, 14, matrix))])


def _video(brand: bytes) -> bytes:
    return box(b"ftyp", brand, bytes(4), brand) + box(b"moov", box(b"mvhd", bytes(100)))
