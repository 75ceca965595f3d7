"""PNG files of every kind, and those that are none; some are what PngSuite's are."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.images.png_damaged import damaged
from tests.images.png_writer import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGBA,
    assemble,
    chunk,
    exif,
    pixels,
    write,
)
from tests.images.sample import Sample, as_rgb, grey, picture

_Array = npt.NDArray[Any]


def _depth(values: _Array, bits: int) -> _Array:
    """Returns 8-bit samples at another depth; 16 bits have lower bytes of their own."""
    if bits == 16:
        return np.clip(values.astype(np.int64) * 257 + (values * 37 % 200) - 100, 0, 65535)
    return values.astype(np.int64) >> (8 - bits)


def _eight(values: _Array, bits: int) -> _Array:
    white = 2**bits - 1
    return (values * 255 + white // 2) // white


def _blend(rgb: _Array, alpha: _Array) -> npt.NDArray[np.uint8]:
    """Returns a picture on white; `alpha` is of 0 to 1."""
    rgb = rgb if rgb.ndim == 3 else rgb[..., None]
    out = rgb * alpha[..., None] + 255 * (1 - alpha[..., None])
    return np.rint(np.broadcast_to(out, (*alpha.shape, 3))).astype(np.uint8)


def samples() -> list[Sample]:
    """Returns every kind of PNG."""
    return [*_kinds(), *_keys(), *_sizes(), *_chunks(), *damaged()]


def _source(kind: int, bits: int) -> _Array:
    """Returns samples [height, width, channels] of a colour type."""
    if kind == PALETTE:
        return (np.arange(192).reshape(12, 16, 1) * 5) % 2**bits
    values = grey()[..., None] if kind in (GREY, GREY_ALPHA) else picture()
    if kind in (GREY_ALPHA, RGBA):
        alpha = grey()[::-1, ::-1, None]
        values = np.concatenate((values, alpha), axis=2)
    return _depth(values, bits)


def _colours(bits: int) -> _Array:
    return (np.arange(3 * 2**bits).reshape(-1, 3) * 83 + 40) % 256


def _palette(bits: int) -> bytes:
    return chunk(b"PLTE", _colours(bits).astype(np.uint8).tobytes())


def _kinds() -> Iterable[Sample]:
    depths = {
        GREY: (1, 2, 4, 8, 16),
        RGB: (8, 16),
        PALETTE: (1, 2, 4, 8),
        GREY_ALPHA: (8, 16),
        RGBA: (8, 16),
    }
    names = {GREY: "grey", RGB: "rgb", PALETTE: "palette", GREY_ALPHA: "grey_alpha", RGBA: "rgba"}
    for kind, all_bits in depths.items():
        for bits in all_bits:
            values = _source(kind, bits)
            for interlace in (0, 1):
                name = f"png_{names[kind]}{bits}" + "_interlaced" * interlace
                if kind == PALETTE:
                    data = write(values, bits, kind, interlace=interlace, before=[_palette(bits)])
                    yield Sample(name, data, _colours(bits)[values[..., 0]].astype(np.uint8))
                    alphas = (np.arange(2**bits) * 67 + 1) % 256
                    alphas[0] = 0
                    before = [_palette(bits), chunk(b"tRNS", alphas.astype(np.uint8).tobytes())]
                    expected = _blend(_colours(bits)[values[..., 0]], alphas[values[..., 0]] / 255)
                    data = write(values, bits, kind, interlace=interlace, before=before)
                    yield Sample(f"{name}_alphas", data, expected)
                    continue
                data = write(values, bits, kind, interlace=interlace)
                if kind in (GREY, RGB):
                    eight = _eight(values, bits)
                    yield Sample(
                        name, data, np.broadcast_to(eight, (12, 16, 3)).astype(np.uint8), 0
                    )
                else:
                    white = 2**bits - 1
                    expected = _blend(values[..., :-1] / white * 255, values[..., -1] / white)
                    yield Sample(name, data, expected)


def _keys() -> Iterable[Sample]:
    for kind, bits in ((GREY, 1), (GREY, 2), (GREY, 4), (GREY, 8), (GREY, 16), (RGB, 8), (RGB, 16)):
        values = _source(kind, bits)
        # The neighbours of the key differ from it in the lowest bit, or in the lower byte.
        key = values[5, 7].copy()
        values[2, :8] = key
        values[3, :8] = key
        values[3, :8, -1] ^= 1
        opaque = np.any(values != key, axis=2)
        for interlace in (0, 1):
            trns = chunk(b"tRNS", key.astype(">u2").tobytes())
            data = write(values, bits, kind, interlace=interlace, before=[trns])
            name = f"png_{'grey' if kind == GREY else 'rgb'}{bits}_key" + "_interlaced" * interlace
            expected = _blend(_eight(values, bits), opaque.astype(float))
            yield Sample(name, data, expected)
    # Bits above the depth say nothing.
    values = _source(GREY, 2)
    data = write(values, 2, GREY, before=[chunk(b"tRNS", b"\xff\xfe")])
    yield Sample(
        "png_grey2_key_high_bits",
        data,
        _blend(_eight(values, 2), (values[..., 0] != 2).astype(float)),
        comparable="ImageMagick compares the bits above the depth too; libpng does not.",
    )


def _sizes() -> Iterable[Sample]:
    for side in (1, 2, 3, 4, 5, 7, 9):
        values = grey(side, side)
        for interlace in (0, 1):
            for bits in (1, 8):
                deep = _depth(values, bits)
                yield Sample(
                    f"png_side{side}_bits{bits}_{interlace}",
                    write(deep, bits, GREY, interlace=interlace),
                    as_rgb(_eight(deep, bits)),
                    0,
                )
    for kind in range(5):
        data = write(picture(), 8, RGB, filters=(kind,))
        yield Sample(f"png_filter{kind}", data, picture(), 0)


def _chunks() -> Iterable[Sample]:
    """Chunks beside the pixels, sound and not, which leave the picture as it is."""
    big = bytes(2**21)
    profile = chunk(b"iCCP", b"none\0\0" + zlib.compress(big))
    text = b"Raw profile type exif\0"
    raw = b"\nexif\n%8d\n%s\n" % (len(exif(6)), exif(6).hex().encode())
    sideways = {
        "exif": ([chunk(b"eXIf", exif(6))], []),
        "exif_with_a_prefix": ([chunk(b"eXIf", b"Exif\0\0" + exif(6))], []),
        "exif_after": ([], [chunk(b"eXIf", exif(6))]),
        "raw_exif_text": ([chunk(b"tEXt", text + raw)], []),
        "raw_exif_zipped": ([], [chunk(b"zTXt", text + b"\0" + zlib.compress(raw))]),
        "raw_exif_international": ([chunk(b"iTXt", text + b"\0\0\0\0" + raw)], []),
        "raw_exif_international_zipped": (
            [chunk(b"iTXt", text + b"\1\0\0\0" + zlib.compress(raw))],
            [],
        ),
        "exif_before_raw_exif": (
            [chunk(b"tEXt", text + raw.replace(b"00060000", b"00030000")), chunk(b"eXIf", exif(6))],
            [],
        ),
    }
    for name, (before, after) in sideways.items():
        data = write(picture(), 8, RGB, before=before, after=after)
        why = "ImageMagick 6 does not read EXIF in PNG."
        yield Sample(f"png_{name}", data, np.rot90(picture(), -1), 0, why)
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf="
    xmp += b"'http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description xmlns:tiff="
    xmp += b"'http://ns.adobe.com/tiff/1.0/' tiff:Orientation='6'/></rdf:RDF></x:xmpmeta>"
    many = [chunk(b"tEXt", b"k%d\0v" % i) for i in range(2000)]
    upright: dict[str, tuple[list[bytes], list[bytes]]] = {
        "xmp_orientation": ([chunk(b"iTXt", xmp)], []),
        "exif_orientation_9": ([chunk(b"eXIf", exif(9))], []),
        "exif_of_nothing": ([chunk(b"eXIf", b"")], []),
        "exif_garbage": ([chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")], []),
        "exif_with_a_wrong_crc": ([chunk(b"eXIf", exif(6), crc=1)], []),
        "raw_exif_garbage": ([chunk(b"tEXt", text + b"\nexif\n1\nxyz")], []),
        "text_large": ([chunk(b"tEXt", b"k\0" + b"a" * 2**21)], []),
        "text_international_large": ([chunk(b"iTXt", b"k\0\0\0\0\0" + b"a" * 2**21)], []),
        "text_zipped_large": ([chunk(b"zTXt", b"k\0\0" + zlib.compress(big))], []),
        "text_zipped_large_after": ([], [chunk(b"zTXt", b"k\0\0" + zlib.compress(big))]),
        "text_zipped_damaged": ([chunk(b"zTXt", b"k\0\0nothing")], []),
        "profile_large": ([profile], []),
        "profile_damaged": ([chunk(b"iCCP", b"k\0\0nothing")], []),
        "profile_twice": ([profile, profile], []),
        "many_texts": (many, many),
        "gamma": ([chunk(b"gAMA", struct.pack(">I", 100_000))], []),
        "gamma_of_nothing": ([chunk(b"gAMA", b"")], []),
        "background": ([chunk(b"bKGD", struct.pack(">3H", 255, 0, 0))], []),
        "suggested_palette": ([_palette(8)], []),
        "suggested_palette_damaged": ([chunk(b"cHRM", b"1", crc=1), chunk(b"sPLT", b"1")], []),
        "size_of_a_pixel": ([chunk(b"pHYs", struct.pack(">IIB", 3000, 1000, 1))], []),
        "time": ([], [chunk(b"tIME", b"\0")]),
        "private": ([chunk(b"abCd", b"x"), chunk(b"ABCD".swapcase(), b"")], []),
        "after_the_pixels": ([], [chunk(b"tRNS", bytes(6)), chunk(b"IDAT", b"late")]),
    }
    for kind in (b"tEXt", b"iCCP", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tIME", b"bKGD", b"hIST"):
        upright[f"wrong_crc_{kind.decode()}"] = ([chunk(kind, b"ab\0cd", crc=1)], [])
    upright["wrong_crc_after"] = ([], [chunk(b"tEXt", b"ab\0cd", crc=1)])
    told = dict.fromkeys(("text_large", "text_international_large"), "libvips refuses it.")
    told["gamma"] = "ImageMagick takes a gamma of 1 for linear light."
    for name, (before, after) in upright.items():
        data = write(picture(), 8, RGB, before=before, after=after)
        yield Sample(f"png_{name}", data, picture(), 0, told.get(name, ""))
    whole = write(picture(), 8, RGB)
    yield Sample("png_pixels_in_many_pieces", write(picture(), 8, RGB, piece=1), picture(), 0)
    yield Sample(
        "png_pixels_in_empty_pieces",
        whole.replace(b"\0\0\0\0IEND", 3 * chunk(b"IDAT", b"") + b"\0\0\0\0IEND"),
        picture(),
        0,
    )
    no_end = "ImageMagick refuses a file without an end."
    yield Sample("png_without_end", whole[:-12], picture(), 0, no_end)
    garbage = whole[:-12] + b"\1\2\3\4\5\6\7\x08\x09" * 9
    yield Sample("png_with_garbage_for_the_end", garbage, picture(), 0, no_end)
    yield Sample("png_with_more_behind", whole + bytes(999), picture(), 0)
    raw = pixels(picture(), 8, 0, (4,))
    stream = zlib.compress(raw + bytes(10**7))
    yield Sample("png_with_more_pixels", assemble(16, 12, 8, RGB, stream), picture(), 0)
    animation = [
        chunk(b"acTL", struct.pack(">II", 2, 0)),
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 16, 12, 0, 0, 1, 1, 0, 0)),
    ]
    other = [
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 16, 12, 0, 0, 1, 1, 0, 0)),
        chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(pixels(0 * picture(), 8, 0, (0,)))),
    ]
    yield Sample(
        "png_animated", write(picture(), 8, RGB, before=animation, after=other), picture(), 0
    )
    hidden = write(picture(), 8, RGB, before=animation[:1], after=other)
    yield Sample("png_animated_apart_from_its_still", hidden, picture(), 0)
    few = np.arange(192).reshape(12, 16) % 16
    data = write(
        few, 4, PALETTE, before=[chunk(b"PLTE", _colours(4)[:8].astype(np.uint8).tobytes())]
    )
    expected = np.where(few[..., None] < 8, _colours(4)[few], 0).astype(np.uint8)
    why = "ImageMagick shows another colour; libpng, and so browsers and libvips, black."
    yield Sample("png_indices_beyond_the_palette", data, expected, 0, why)
    opaque = np.where(few == 0, 0, np.where(few == 1, 128 / 255, 1))
    data = write(few, 4, PALETTE, before=[_palette(4), chunk(b"tRNS", b"\x00\x80")])
    yield Sample("png_few_alphas_in_a_palette", data, _blend(_colours(4)[few], opaque))
    layered = _source(RGBA, 8)
    data = write(layered, 8, RGBA, before=[chunk(b"tRNS", bytes(6), crc=0)])
    yield Sample("png_key_beside_alpha", data, _blend(layered[..., :3], layered[..., 3] / 255))
    data = write(few, 4, PALETTE, before=[_palette(8), chunk(b"tRNS", b"\xff" * 300)])
    yield Sample("png_palette_longer_than_its_bits", data, _colours(8)[few].astype(np.uint8), 0)
