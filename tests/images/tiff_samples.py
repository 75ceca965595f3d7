"""TIFF: samples of every depth and meaning, with all that may be done to their bytes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
from PIL import Image

from image_features.transforms.values import Reason
from tests.images.sample import Sample, as_rgb, grey, picture
from tests.images.tiff_writer import (
    ALPHA,
    ANYTHING,
    CIE_LAB,
    CMYK,
    GREY,
    ICC_LAB,
    PALETTE,
    PREMULTIPLIED,
    RGB,
    WHITE_IS_ZERO,
    Layout,
    file_of,
    scaled,
    seen,
    tiff_of,
)

_LAYOUTS = (
    Layout(),
    Layout(order=">"),
    Layout(big=True, rows=12),
    Layout(order=">", big=True, tile=(16, 16)),
    Layout(compression=5),
    Layout(order=">", compression=8, rows=100),
    Layout(compression=32773, reverse=True),
    Layout(compression=34925, tile=(32, 16)),
    Layout(order=">", compression=50000),
    Layout(compression=32946, reverse=True),
    Layout(tile=(5, 7)),
)


def of_samples() -> Iterator[Sample]:
    """Yields every kind of samples, in compressions that know nothing of them."""
    for make in (_depths, _signs, _floats, _alphas, _palettes, _inks, _predictors):
        yield from make()


def _depths() -> Iterator[Sample]:
    layouts = itertools.cycle(_LAYOUTS)
    for bits in (1, 2, 3, 4, 6, 8, 10, 12, 14, 15, 16):
        values = scaled(grey(15), bits)
        colours = scaled(picture(15), bits)
        # Two layouts for each, so that all meet about all depths.
        for _ in range(2):
            layout = next(layouts)
            name = f"{bits}_{_named(layout)}"
            expected = as_rgb(seen(values, bits))
            yield Sample(f"tiff_grey{name}", tiff_of(values, bits, GREY, layout), expected, 0)
            inverted = tiff_of(values, bits, WHITE_IS_ZERO, layout)
            yield Sample(f"tiff_white0_{name}", inverted, 255 - expected, 0)
            data = tiff_of(colours, bits, RGB, layout)
            yield Sample(f"tiff_rgb{name}", data, seen(colours, bits), 0)
        planar = dataclasses.replace(next(layouts), planar=True)
        data = tiff_of(colours, bits, RGB, planar)
        yield Sample(f"tiff_planar{bits}_{_named(planar)}", data, seen(colours, bits), 0)


def _named(layout: Layout) -> str:
    tile = "tiles" if layout.tile else f"strips{layout.rows}"
    order = "le" if layout.order == "<" else "be"
    return f"{order}{'_big' * layout.big}_{layout.compression}_{tile}{'_rev' * layout.reverse}"


def _signs() -> Iterator[Sample]:
    layouts = itertools.cycle(_LAYOUTS)
    for bits in (8, 16):
        for name, values, photometric in (
            ("grey", grey(), GREY),
            ("white0", grey(), WHITE_IS_ZERO),
            ("rgb", picture(), RGB),
        ):
            unsigned = scaled(values, bits)
            signed = (unsigned.astype(np.int64) - 2 ** (bits - 1)).astype(f"i{bits // 8}")
            expected = seen(unsigned, bits)
            expected = expected if expected.ndim == 3 else as_rgb(expected)
            expected = 255 - expected if photometric == WHITE_IS_ZERO else expected
            data = tiff_of(signed, bits, photometric, next(layouts))
            # Viewers take them for unsigned, for shifted, or cut them off.
            wanted = Reason.UNSUPPORTED_PIXELS if bits == 8 else expected
            yield Sample(f"tiff_{name}_int{bits}", data, wanted, 1, "white is anywhere")
    for name, values in (("grey", grey()), ("rgb", picture())):
        expected = values if values.ndim == 3 else as_rgb(values)
        photometric = RGB if values.ndim == 3 else GREY
        for dtype in (np.uint32, np.int32, np.uint64, np.int64):
            bits = np.dtype(dtype).itemsize * 8
            narrow, wide = values.astype(dtype) * 257, values.astype(dtype) << (bits - 9)
            for kind, numbers in (("narrow", narrow), ("wide", wide)):
                data = tiff_of(numbers, bits, photometric, next(layouts))
                # No viewer agrees with another about where white is.
                yield Sample(
                    f"tiff_{name}_{np.dtype(dtype)}_{kind}", data, expected, 1, "white is anywhere"
                )
    inverted = tiff_of(grey().astype(np.uint32) * 257, 32, WHITE_IS_ZERO)
    yield Sample("tiff_white0_uint32", inverted, as_rgb(255 - grey()), 0, "white is anywhere")


def _floats() -> Iterator[Sample]:
    layouts = itertools.cycle(_LAYOUTS)
    for bits in (16, 32, 64):
        for name, values, photometric in (
            ("grey", grey(), GREY),
            ("white0", grey(), WHITE_IS_ZERO),
            ("rgb", picture(), RGB),
        ):
            expected = values if values.ndim == 3 else as_rgb(values)
            expected = 255 - expected if photometric == WHITE_IS_ZERO else expected
            for planar in (False, True) if photometric == RGB else (False,):
                layout = dataclasses.replace(next(layouts), planar=planar)
                data = tiff_of((values / 255).astype(f"f{bits // 8}"), bits, photometric, layout)
                kind = f"float{bits}{'_planar' * planar}"
                yield Sample(f"tiff_{name}_{kind}", data, expected, 1)
    yield Sample("tiff_grey_float24", _of_24_bits(), as_rgb(grey()), 1, "libvips refuses it")
    kept, stretched = grey().astype(np.float32) * 0.75, grey().astype(np.float32) * 40 - 3000
    told = "viewers cut what is above 1"
    data = tiff_of(kept, 32, GREY)
    yield Sample("tiff_grey_float32_to_255", data, as_rgb(np.rint(kept)), 1, told)
    data = tiff_of(stretched, 32, GREY)
    yield Sample("tiff_grey_float32_stretched", data, as_rgb(grey()), 1, told)
    holes = (grey() / 255).astype(np.float32)
    holes[0, 3], holes[2, 5], holes[3, 3] = np.nan, np.inf, -np.inf
    expected = as_rgb(grey())
    expected[0, 3], expected[2, 5], expected[3, 3] = 0, 255, 0
    data = tiff_of(holes, 32, GREY)
    yield Sample("tiff_grey_float32_holes", data, expected, 1, "viewers differ about no numbers")


def _of_24_bits() -> bytes:
    """Floats of a sign, 7 bits of exponent and 16 of fraction, as Adobe's technical note 3 has."""
    fractions, exponents = np.frexp(grey() / 255)
    numbers = np.rint((fractions * 2 - 1) * 2**16).astype(np.int64)
    numbers += (exponents - 1 + 63).astype(np.int64) << 16
    numbers[grey() == 0] = 0
    octets = numbers.astype(">u4").view(np.uint8).reshape(12, 16, 4)[..., 1:]
    blob = octets.tobytes()
    entries = {256: (4, [16]), 257: (4, [12]), 258: (3, [24]), 259: (3, [1]), 262: (3, [GREY])}
    entries |= {273: (4, [0]), 277: (3, [1]), 279: (4, [len(blob)]), 339: (3, [3])}
    return file_of(entries, [blob], order=">")


def _alphas() -> Iterator[Sample]:
    alpha = np.rint(np.linspace(0, 255, 16 * 12)).astype(np.uint8).reshape(12, 16).T
    alpha = np.ascontiguousarray(alpha.reshape(12, 16))
    part = alpha[..., None] / 255
    for name, values, photometric in (("grey", as_rgb(grey()), GREY), ("rgb", picture(), RGB)):
        stored = values[..., :1] if photometric == GREY else values
        for bits, planar in itertools.product((8, 12, 16), (False, True)):
            layout = Layout(planar=planar, compression=8, rows=7)
            end = f"{name}_alpha{bits}{'_planar' * planar}"
            shown = np.rint(values * part + 255 * (1 - part)).astype(np.uint8)
            full = np.dstack([stored, alpha])
            data = tiff_of(scaled(full, bits), bits, photometric, layout, _extra(ALPHA))
            yield Sample(f"tiff_{end}", data, shown, 2)
            over = np.dstack([np.rint(stored * part), alpha])
            data = tiff_of(scaled(over, bits), bits, photometric, layout, _extra(PREMULTIPLIED))
            yield Sample(f"tiff_{end}_premultiplied", data, shown, 2)
            data = tiff_of(scaled(full, bits), bits, photometric, layout, _extra(ANYTHING))
            told = "ImageMagick takes what is not named for alpha"
            yield Sample(f"tiff_{end}_unnamed", data, values, 1, told)
    shown = np.rint(picture() * part + 255 * (1 - part)).astype(np.uint8)
    full = np.dstack([picture(), alpha])
    untold = tiff_of(full, 8, RGB)
    yield Sample("tiff_rgb_four_samples_without_a_word", untold, shown, 2)
    later = np.dstack([picture(), grey(), alpha])
    data = tiff_of(later, 8, RGB, Layout(), {338: (3, [ANYTHING, ALPHA])})
    yield Sample("tiff_rgb_alpha_after_another", data, shown, 2, "viewers take the first")
    floats = (full / 255).astype(np.float32)
    data = tiff_of(floats, 32, RGB, Layout(), _extra(ALPHA))
    yield Sample("tiff_rgb_float32_alpha", data, shown, 2)
    data = tiff_of(np.dstack([255 - grey(), alpha]), 8, WHITE_IS_ZERO, Layout(), _extra(ALPHA))
    shown = np.rint(as_rgb(grey()) * part + 255 * (1 - part)).astype(np.uint8)
    yield Sample("tiff_white0_alpha", data, shown, 2)
    bands = np.dstack([grey()] + [picture()[..., i % 3] for i in range(6)])
    data = tiff_of(scaled(bands, 16), 16, GREY)
    yield Sample("tiff_seven_bands", data, as_rgb(grey()), 0, "the first is shown")
    data = tiff_of(scaled(bands, 16), 16, GREY, Layout(planar=True))
    yield Sample("tiff_seven_bands_planar", data, as_rgb(grey()), 0, "the first is shown")


def _extra(kind: int) -> dict[int, tuple[int, list[int]]]:
    return {338: (3, [kind])}


def _palettes() -> Iterator[Sample]:
    for bits in (1, 2, 4, 8):
        count = 2**bits
        indices = (np.arange(16 * 12).reshape(12, 16) % count).astype(np.uint8)
        colours = np.random.default_rng(bits).integers(0, 256, (3, count))
        expected = np.moveaxis(colours, 0, 1)[indices].astype(np.uint8)
        for reverse in (False, True):
            layout = Layout(reverse=reverse, compression=5 if reverse else 1)
            for unit, name in ((257, "16"), (1, "8")):
                tags = {320: (3, (colours * unit).reshape(-1).tolist())}
                data = tiff_of(indices, bits, PALETTE, layout, tags)
                yield Sample(f"tiff_palette{bits}_of{name}{'_rev' * reverse}", data, expected, 0)
    alpha = np.where(np.arange(16) < 8, 0, 255).astype(np.uint8)[None].repeat(12, 0)
    tags = {320: (3, (colours * 257).reshape(-1).tolist()), **_extra(ALPHA)}
    data = tiff_of(np.dstack([indices, alpha]), 8, PALETTE, Layout(), tags)
    shown = np.where(alpha[..., None] == 0, 255, expected).astype(np.uint8)
    yield Sample("tiff_palette8_alpha", data, shown, 0, "ImageMagick refuses it")


def _inks() -> Iterator[Sample]:
    inks = np.dstack([255 - picture(), grey() // 4])
    expected = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))
    for bits, planar in itertools.product((8, 16), (False, True)):
        layout = Layout(planar=planar, compression=8, order=">")
        data = tiff_of(scaled(inks, bits), bits, CMYK, layout)
        yield Sample(f"tiff_cmyk{bits}{'_planar' * planar}", data, expected, 1, "another formula")
    # L of 100, 54 and 0; a and b of none, and of a red: CIE's numbers of sRGB's (255, 0, 0).
    lab = np.array([[[100, 0, 0], [54, 81, 70], [0, 0, 0], [54, 0, 0]]], np.float64)
    lab = lab.repeat(12, 0).repeat(4, 1)
    shown = np.array([[255, 255, 255], [255, 0, 0], [0, 0, 0], [130, 130, 130]], np.uint8)
    shown = shown[None].repeat(12, 0).repeat(4, 1)
    light, opponents = np.rint(lab[..., :1] * 2.55), lab[..., 1:]
    cie = np.dstack([light, opponents]).astype(np.int16).astype(np.uint8)
    yield Sample("tiff_cielab8", tiff_of(cie, 8, CIE_LAB), shown, 6)
    yield Sample("tiff_cielab8_planar", tiff_of(cie, 8, CIE_LAB, Layout(planar=True)), shown, 6)
    icc = np.dstack([light, opponents + 128]).astype(np.uint8)
    yield Sample("tiff_icclab8", tiff_of(icc, 8, ICC_LAB), shown, 6)
    cie16 = np.dstack([light * 257, opponents * 256]).astype(np.int32).astype(np.uint16)
    yield Sample("tiff_cielab16", tiff_of(cie16, 16, CIE_LAB, Layout(order=">")), shown, 6)


def _predictors() -> Iterator[Sample]:
    for bits, order, planar in itertools.product((8, 16, 32), "<>", (False, True)):
        values = picture().astype(np.int64) * (1 if bits == 8 else 257)
        values = values.astype(f"u{bits // 8}")
        layout = Layout(order=order, compression=5, predictor=2, planar=planar)
        data = tiff_of(values, bits, RGB, layout)
        name = f"tiff_predictor2_{bits}_{'le' if order == '<' else 'be'}{'_planar' * planar}"
        yield Sample(name, data, picture(), 0)
    for bits, order, tile in itertools.product((16, 32, 64), "<>", (None, (16, 32))):
        layout = Layout(order=order, compression=8, predictor=3, tile=tile)
        values = (picture() / 255).astype(f"f{bits // 8}")
        data = tiff_of(values, bits, RGB, layout)
        name = f"tiff_predictor3_{bits}_{'le' if order == '<' else 'be'}{'_tiles' * bool(tile)}"
        yield Sample(name, data, picture(), 1)
    values = (grey() / 255).astype(np.float32)
    data = tiff_of(values, 32, GREY, Layout(compression=50000, predictor=2))
    yield Sample("tiff_predictor2_float32", data, as_rgb(grey()), 1)
    data = tiff_of(grey(), 8, GREY, Layout(), {317: (3, [2])})
    yield Sample("tiff_predictor_without_compression", data, as_rgb(grey()), 0)
