"""TIFF: every kind of samples, with all that may be done to their bytes, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import itertools
import struct
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.values import Reason
from tests.images.sample import Sample, as_rgb, grey, picture
from tests.images.tiff_writer import Layout, file_of, tiff_of

_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _CIE_LAB, _ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
_PREMULTIPLIED, _ALPHA, _ANYTHING = 1, 2, 0
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


def samples() -> list[Sample]:
    """Returns the samples of TIFF."""
    each = (
        _depths,
        _signs,
        _floats,
        _alphas,
        _palettes,
        _inks,
        _predictors,
        _coded,
        _odd,
        _refused,
    )
    return list(itertools.chain.from_iterable(make() for make in each))


def _scaled(values: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """Returns values of eight bits as unsigned numbers of other bits."""
    dtype = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return np.rint(values / 255 * (2**bits - 1)).astype(dtype)


def _seen(values: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    return np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)


def _depths() -> Iterator[Sample]:
    layouts = itertools.cycle(_LAYOUTS)
    for bits in (1, 2, 3, 4, 6, 8, 10, 12, 14, 15, 16):
        values = _scaled(grey(15), bits)
        colours = _scaled(picture(15), bits)
        # Two layouts for each, so that all meet about all depths.
        for _ in range(2):
            layout = next(layouts)
            name = f"{bits}_{_named(layout)}"
            expected = as_rgb(_seen(values, bits))
            yield Sample(f"tiff_grey{name}", tiff_of(values, bits, _GREY, layout), expected, 0)
            inverted = tiff_of(values, bits, _WHITE_IS_ZERO, layout)
            yield Sample(f"tiff_white0_{name}", inverted, 255 - expected, 0)
            data = tiff_of(colours, bits, _RGB, layout)
            yield Sample(f"tiff_rgb{name}", data, _seen(colours, bits), 0)
        planar = dataclasses.replace(next(layouts), planar=True)
        data = tiff_of(colours, bits, _RGB, planar)
        yield Sample(f"tiff_planar{bits}_{_named(planar)}", data, _seen(colours, bits), 0)


def _named(layout: Layout) -> str:
    tile = "tiles" if layout.tile else f"strips{layout.rows}"
    order = "le" if layout.order == "<" else "be"
    return f"{order}{'_big' * layout.big}_{layout.compression}_{tile}{'_rev' * layout.reverse}"


def _signs() -> Iterator[Sample]:
    layouts = itertools.cycle(_LAYOUTS)
    for bits in (8, 16):
        for name, values, photometric in (
            ("grey", grey(), _GREY),
            ("white0", grey(), _WHITE_IS_ZERO),
            ("rgb", picture(), _RGB),
        ):
            unsigned = _scaled(values, bits)
            signed = (unsigned.astype(np.int64) - 2 ** (bits - 1)).astype(f"i{bits // 8}")
            expected = _seen(unsigned, bits)
            expected = expected if expected.ndim == 3 else as_rgb(expected)
            expected = 255 - expected if photometric == _WHITE_IS_ZERO else expected
            data = tiff_of(signed, bits, photometric, next(layouts))
            yield Sample(f"tiff_{name}_int{bits}", data, expected, 0)
    for name, values in (("grey", grey()), ("rgb", picture())):
        expected = values if values.ndim == 3 else as_rgb(values)
        photometric = _RGB if values.ndim == 3 else _GREY
        for dtype in (np.uint32, np.int32, np.uint64, np.int64):
            bits = np.dtype(dtype).itemsize * 8
            narrow, wide = values.astype(dtype) * 257, values.astype(dtype) << (bits - 9)
            for kind, numbers in (("narrow", narrow), ("wide", wide)):
                data = tiff_of(numbers, bits, photometric, next(layouts))
                # No viewer agrees with another about where white is.
                yield Sample(
                    f"tiff_{name}_{np.dtype(dtype)}_{kind}", data, expected, 1, "white is anywhere"
                )
    inverted = tiff_of(grey().astype(np.uint32) * 257, 32, _WHITE_IS_ZERO)
    yield Sample("tiff_white0_uint32", inverted, as_rgb(255 - grey()), 0, "white is anywhere")


def _floats() -> Iterator[Sample]:
    layouts = itertools.cycle(_LAYOUTS)
    for bits in (16, 32, 64):
        for name, values, photometric in (
            ("grey", grey(), _GREY),
            ("white0", grey(), _WHITE_IS_ZERO),
            ("rgb", picture(), _RGB),
        ):
            expected = values if values.ndim == 3 else as_rgb(values)
            expected = 255 - expected if photometric == _WHITE_IS_ZERO else expected
            for planar in (False, True) if photometric == _RGB else (False,):
                layout = dataclasses.replace(next(layouts), planar=planar)
                data = tiff_of((values / 255).astype(f"f{bits // 8}"), bits, photometric, layout)
                kind = f"float{bits}{'_planar' * planar}"
                yield Sample(f"tiff_{name}_{kind}", data, expected, 1)
    kept, stretched = grey().astype(np.float32) * 0.75, grey().astype(np.float32) * 40 - 3000
    told = "viewers cut what is above 1"
    data = tiff_of(kept, 32, _GREY)
    yield Sample("tiff_grey_float32_to_255", data, as_rgb(np.rint(kept)), 1, told)
    data = tiff_of(stretched, 32, _GREY)
    yield Sample("tiff_grey_float32_stretched", data, as_rgb(grey()), 1, told)
    holes = (grey() / 255).astype(np.float32)
    holes[0, 3], holes[2, 5], holes[3, 3] = np.nan, np.inf, -np.inf
    expected = as_rgb(grey())
    expected[0, 3], expected[2, 5], expected[3, 3] = 0, 255, 0
    data = tiff_of(holes, 32, _GREY)
    yield Sample("tiff_grey_float32_holes", data, expected, 1, "viewers differ about no numbers")


def _alphas() -> Iterator[Sample]:
    alpha = np.rint(np.linspace(0, 255, 16 * 12)).astype(np.uint8).reshape(12, 16).T
    alpha = np.ascontiguousarray(alpha.reshape(12, 16))
    part = alpha[..., None] / 255
    for name, values, photometric in (("grey", as_rgb(grey()), _GREY), ("rgb", picture(), _RGB)):
        stored = values[..., :1] if photometric == _GREY else values
        for bits, planar in itertools.product((8, 12, 16), (False, True)):
            layout = Layout(planar=planar, compression=8, rows=7)
            end = f"{name}_alpha{bits}{'_planar' * planar}"
            shown = np.rint(values * part + 255 * (1 - part)).astype(np.uint8)
            full = np.dstack([stored, alpha])
            data = tiff_of(_scaled(full, bits), bits, photometric, layout, _extra(_ALPHA))
            yield Sample(f"tiff_{end}", data, shown, 2)
            over = np.dstack([np.rint(stored * part), alpha])
            data = tiff_of(_scaled(over, bits), bits, photometric, layout, _extra(_PREMULTIPLIED))
            yield Sample(f"tiff_{end}_premultiplied", data, shown, 2)
            data = tiff_of(_scaled(full, bits), bits, photometric, layout, _extra(_ANYTHING))
            told = "ImageMagick takes what is not named for alpha"
            yield Sample(f"tiff_{end}_unnamed", data, values, 1, told)
    shown = np.rint(picture() * part + 255 * (1 - part)).astype(np.uint8)
    full = np.dstack([picture(), alpha])
    untold = tiff_of(full, 8, _RGB)
    yield Sample("tiff_rgb_four_samples_without_a_word", untold, shown, 2)
    later = np.dstack([picture(), grey(), alpha])
    data = tiff_of(later, 8, _RGB, Layout(), {338: (3, [_ANYTHING, _ALPHA])})
    yield Sample("tiff_rgb_alpha_after_another", data, shown, 2, "viewers take the first")
    floats = (full / 255).astype(np.float32)
    data = tiff_of(floats, 32, _RGB, Layout(), _extra(_ALPHA))
    yield Sample("tiff_rgb_float32_alpha", data, shown, 2)
    data = tiff_of(np.dstack([255 - grey(), alpha]), 8, _WHITE_IS_ZERO, Layout(), _extra(_ALPHA))
    shown = np.rint(as_rgb(grey()) * part + 255 * (1 - part)).astype(np.uint8)
    yield Sample("tiff_white0_alpha", data, shown, 2)
    bands = np.dstack([grey()] + [picture()[..., i % 3] for i in range(6)])
    data = tiff_of(_scaled(bands, 16), 16, _GREY)
    yield Sample("tiff_seven_bands", data, as_rgb(grey()), 0, "the first is shown")
    data = tiff_of(_scaled(bands, 16), 16, _GREY, Layout(planar=True))
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
                data = tiff_of(indices, bits, _PALETTE, layout, tags)
                yield Sample(f"tiff_palette{bits}_of{name}{'_rev' * reverse}", data, expected, 0)
    alpha = np.where(np.arange(16) < 8, 0, 255).astype(np.uint8)[None].repeat(12, 0)
    tags = {320: (3, (colours * 257).reshape(-1).tolist()), **_extra(_ALPHA)}
    data = tiff_of(np.dstack([indices, alpha]), 8, _PALETTE, Layout(), tags)
    shown = np.where(alpha[..., None] == 0, 255, expected).astype(np.uint8)
    yield Sample("tiff_palette8_alpha", data, shown, 0, "ImageMagick refuses it")


def _inks() -> Iterator[Sample]:
    inks = np.dstack([255 - picture(), grey() // 4])
    expected = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))
    for bits, planar in itertools.product((8, 16), (False, True)):
        layout = Layout(planar=planar, compression=8, order=">")
        data = tiff_of(_scaled(inks, bits), bits, _CMYK, layout)
        yield Sample(f"tiff_cmyk{bits}{'_planar' * planar}", data, expected, 1, "another formula")
    # L of 100, 54 and 0; a and b of none, and of a red: CIE's numbers of sRGB's (255, 0, 0).
    lab = np.array([[[100, 0, 0], [54, 81, 70], [0, 0, 0], [54, 0, 0]]], np.float64)
    lab = lab.repeat(12, 0).repeat(4, 1)
    shown = np.array([[255, 255, 255], [255, 0, 0], [0, 0, 0], [130, 130, 130]], np.uint8)
    shown = shown[None].repeat(12, 0).repeat(4, 1)
    light, opponents = np.rint(lab[..., :1] * 2.55), lab[..., 1:]
    cie = np.dstack([light, opponents]).astype(np.int16).astype(np.uint8)
    yield Sample("tiff_cielab8", tiff_of(cie, 8, _CIE_LAB), shown, 6)
    yield Sample("tiff_cielab8_planar", tiff_of(cie, 8, _CIE_LAB, Layout(planar=True)), shown, 6)
    icc = np.dstack([light, opponents + 128]).astype(np.uint8)
    yield Sample("tiff_icclab8", tiff_of(icc, 8, _ICC_LAB), shown, 6)
    cie16 = np.dstack([light * 257, opponents * 256]).astype(np.int32).astype(np.uint16)
    yield Sample("tiff_cielab16", tiff_of(cie16, 16, _CIE_LAB, Layout(order=">")), shown, 6)


def _predictors() -> Iterator[Sample]:
    for bits, order, planar in itertools.product((8, 16, 32), "<>", (False, True)):
        values = picture().astype(np.int64) * (1 if bits == 8 else 257)
        values = values.astype(f"u{bits // 8}")
        layout = Layout(order=order, compression=5, predictor=2, planar=planar)
        data = tiff_of(values, bits, _RGB, layout)
        name = f"tiff_predictor2_{bits}_{'le' if order == '<' else 'be'}{'_planar' * planar}"
        yield Sample(name, data, picture(), 0)
    for bits, order, tile in itertools.product((16, 32, 64), "<>", (None, (16, 32))):
        layout = Layout(order=order, compression=8, predictor=3, tile=tile)
        values = (picture() / 255).astype(f"f{bits // 8}")
        data = tiff_of(values, bits, _RGB, layout)
        name = f"tiff_predictor3_{bits}_{'le' if order == '<' else 'be'}{'_tiles' * bool(tile)}"
        yield Sample(name, data, picture(), 1)
    values = (grey() / 255).astype(np.float32)
    data = tiff_of(values, 32, _GREY, Layout(compression=50000, predictor=2))
    yield Sample("tiff_predictor2_float32", data, as_rgb(grey()), 1)
    data = tiff_of(grey(), 8, _GREY, Layout(), {317: (3, [2])})
    yield Sample("tiff_predictor_without_compression", data, as_rgb(grey()), 0)


def _pillow(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "TIFF", **options)
    return out.getvalue()


def _coded() -> Iterator[Sample]:
    bilevel = (grey() > 127).astype(np.uint8) * 255
    for compression in ("tiff_ccitt", "group3", "group4"):
        data = _pillow(Image.fromarray(bilevel).convert("1"), compression=compression)
        yield Sample(f"tiff_{compression}", data, as_rgb(bilevel), 0)
    smooth = np.asarray(Image.fromarray(picture()).resize((32, 32), Image.Resampling.BILINEAR))
    image = Image.fromarray(smooth)
    for mode in ("L", "RGB", "CMYK"):
        converted = image.convert(mode)
        data = _pillow(converted, compression="jpeg", quality=98)
        expected = np.asarray(converted.convert("RGB"))
        yield Sample(f"tiff_jpeg_{mode.lower()}", data, expected, 6)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=98, subsampling=0)
    stream = jpeg.getvalue()
    entries = {256: (4, [32]), 257: (4, [32]), 258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6])}
    entries |= {273: (4, [0]), 277: (3, [3]), 278: (4, [32]), 279: (4, [len(stream)])}
    entries |= {530: (3, [1, 1])}
    yield Sample("tiff_jpeg_ycbcr", file_of(entries, [stream]), smooth, 6)
    entries[259] = (3, [6])
    entries |= {513: (4, [0]), 514: (4, [len(stream)])}
    # Both tags point to the stream, as old writers have it.
    data = file_of({**entries, 513: (4, [8])}, [stream])
    yield Sample("tiff_old_jpeg", data, smooth, 6, "ImageMagick warns")
    for channels, kinds in ((3, []), (4, [_ALPHA])):
        array = np.dstack([picture(), np.full((12, 16), 255, np.uint8)])[..., :channels]
        array = np.ascontiguousarray(array)
        blob = bytes(imagecodecs.webp_encode(array, lossless=True))
        entries = {256: (4, [16]), 257: (4, [12]), 258: (3, [8] * channels), 259: (3, [50001])}
        entries |= {262: (3, [2]), 273: (4, [0]), 277: (3, [channels]), 279: (4, [len(blob)])}
        entries |= {338: (3, kinds)} if kinds else {}
        yield Sample(f"tiff_webp_{channels}", file_of(entries, [blob]), picture(), 0)
    yield from _subsampled()


def _subsampled() -> Iterator[Sample]:
    # A picture of one colour in each 4 x 4 pixels, so that no filter between them matters.
    blocks = picture(4, 3).astype(np.float64)
    red, green, blue = np.moveaxis(blocks, 2, 0)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    cb, cr = (blue - light) / 1.772 + 128, (red - light) / 1.402 + 128
    shown = picture(4, 3).repeat(4, 0).repeat(4, 1)
    for across, down in ((1, 1), (2, 1), (2, 2), (4, 4)):
        units = []
        for top, left in itertools.product(range(0, 12, down), range(0, 16, across)):
            where = top // 4, left // 4
            units += [light[where]] * (across * down) + [cb[where], cr[where]]
        content = np.rint(np.clip(units, 0, 255)).astype(np.uint8).tobytes()
        for compression, blob in ((1, content), (5, bytes(imagecodecs.lzw_encode(content)))):
            entries = {256: (4, [16]), 257: (4, [12]), 258: (3, [8, 8, 8]), 273: (4, [0])}
            entries |= {259: (3, [compression]), 262: (3, [_YCBCR]), 277: (3, [3])}
            entries |= {278: (4, [12]), 279: (4, [len(blob)]), 530: (3, [across, down])}
            name = f"tiff_ycbcr_{across}x{down}_{compression}"
            yield Sample(name, file_of(entries, [blob]), shown, 3)


def _odd() -> Iterator[Sample]:
    """Files that break a rule of the standard, and that viewers show."""
    values = _scaled(grey(), 16)
    for bits in (10, 12, 14):
        data = tiff_of(_scaled(grey(), bits), bits, _GREY, Layout(words=True, order=">"))
        told = "libtiff reads the words as packed"
        expected = as_rgb(_seen(_scaled(grey(), bits), bits))
        yield Sample(f"tiff_words_of_{bits}", data, expected, 0, told)
    expected = as_rgb(grey())
    data = tiff_of(values, 16, _GREY, Layout(rows=12), {279: (4, [5])})
    yield Sample("tiff_one_strip_with_a_wrong_count", data, expected, 0)
    data = tiff_of(values, 16, _GREY, Layout(rows=12), {279: (4, [10**6])})
    yield Sample("tiff_one_strip_with_a_count_beyond_the_file", data, expected, 0)
    data = tiff_of(values, 16, _GREY, Layout(rows=4), {339: (3, [4])})
    yield Sample("tiff_samples_of_no_format", data, expected, 0)
    data = tiff_of(
        values, 16, _GREY, Layout(), {700: (1, list(b"<x:xmpmeta tiff:Orientation='6'/>"))}
    )
    yield Sample("tiff_with_xmp", data, expected, 0)
    for orientation in range(1, 9):
        upright = Image.fromarray(picture())
        turns = (None, 0, 3, 1, 5, 4, 6, 2)[orientation - 1]
        shown = upright if turns is None else upright.transpose(Image.Transpose(turns))
        data = tiff_of(_scaled(picture(), 16), 16, _RGB, Layout(), {274: (3, [orientation])})
        yield Sample(f"tiff_orientation{orientation}", data, np.asarray(shown), 0)
    data = tiff_of(grey(), 8, _GREY, Layout(), {34665: (4, [4_000_000]), 274: (7, [9])})
    yield Sample("tiff_damaged_exif", data, expected, 0, "warned of")
    data = tiff_of(grey(), 8, _GREY)
    place = struct.unpack_from("<I", data, 4)[0]
    end = place + 2 + 12 * struct.unpack_from("<H", data, place)[0]
    loop = data[:end] + struct.pack("<I", place) + data[end + 4 :]
    yield Sample("tiff_loop_of_pages", loop, expected, 0)
    nowhere = data[:end] + struct.pack("<I", 2**32 - 2) + data[end + 4 :]
    yield Sample("tiff_next_page_nowhere", nowhere, expected, 0)


def _refused() -> Iterator[Sample]:
    whole = tiff_of(_scaled(picture(), 16), 16, _RGB)
    unsupported, told = Reason.UNSUPPORTED_PIXELS, "refused"
    half = _scaled(picture(), 8)
    for name, data in (
        ("bits_565", tiff_of(half, 8, _RGB, Layout(), {258: (3, [5, 6, 5])})),
        ("cfa_like", tiff_of(half, 8, 4)),
        ("complex", tiff_of(grey().astype(np.float64), 64, _GREY, Layout(), {339: (3, [6])})),
        ("integers_of_24_bits", tiff_of(grey().astype(np.uint32), 24, _GREY)),
        ("lerc", tiff_of(grey(), 8, _GREY, Layout(), {259: (3, [34887])})),
        ("jpeg_2000", tiff_of(half, 8, _RGB, Layout(), {259: (3, [34712])})),
        (
            "other_inks",
            tiff_of(half, 8, _CMYK, Layout(), {332: (3, [2]), 277: (3, [4]), 258: (3, [8] * 4)}),
        ),
        (
            "predictor_of_4_bits",
            tiff_of(grey() >> 4, 4, _GREY, Layout(compression=5), {317: (3, [2])}),
        ),
        ("predictor_9", tiff_of(grey(), 8, _GREY, Layout(compression=5), {317: (3, [9])})),
        ("log_luv", tiff_of(half, 8, 32845)),
        (
            "jpeg_of_12_bits",
            tiff_of(grey().astype(np.uint16), 12, _GREY, Layout(), {259: (3, [7])}),
        ),
    ):
        yield Sample(f"tiff_{name}", data, unsupported, comparable=told)
    raw = Reason.UNSUPPORTED_FORMAT
    yield Sample("tiff_dng", tiff_of(half, 8, _RGB, Layout(), {50706: (1, [1, 4, 0, 0])}), raw)
    yield Sample("tiff_sensor", tiff_of(_scaled(grey(), 16), 16, 32803), raw)
    yield Sample("tiff_cr2", whole[:8] + b"CR\2\0" + whole[12:], raw)
    sensor = tiff_of(_scaled(grey(), 16), 16, 32803)
    nef = tiff_of(half, 8, _RGB, Layout(), {254: (4, [1]), 330: (4, [0])})
    nef = nef + b"\0" * (len(nef) % 2)
    moved = struct.unpack_from("<I", sensor, 4)[0]
    inner = sensor[moved:]
    nef = nef.replace(struct.pack("<HHII", 330, 4, 1, 0), struct.pack("<HHII", 330, 4, 1, len(nef)))
    yield Sample("tiff_nef", nef + inner, raw)
    for magic in (b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0", b"FUJIFILMCCD-RAW 0201"):
        yield Sample(f"raw_{magic[:4].hex()}", magic + bytes(100), raw)
    yield Sample("tiff_cut", whole[: len(whole) // 4], Reason.TRUNCATED)
    late = tiff_of(_scaled(picture(), 16), 16, _RGB, Layout(rows=12), {273: (4, [500])})
    blob = struct.unpack_from("<I", whole, 4)[0]
    beyond = whole[:blob].ljust(blob, b"\0") + whole[blob:]
    beyond = tiff_of(half, 8, _RGB, Layout(rows=3), {279: (4, [20] * 4)})
    yield Sample("tiff_short_strips", beyond, Reason.TRUNCATED)
    del late
    damaged = tiff_of(half, 8, _RGB, Layout(compression=8))
    yield Sample("tiff_damaged_deflate", damaged[:12] + b"\xff" * 8 + damaged[20:], Reason.CORRUPT)
    words = tiff_of(np.full((12, 16), 4000, np.uint16), 10, _GREY, Layout(words=True))
    yield Sample("tiff_words_beyond_their_bits", words, Reason.CORRUPT)
    yield Sample("tiff_no_size", file_of({259: (3, [1])}, [b""]), Reason.CORRUPT)
    few = tiff_of(grey(), 8, _GREY, Layout(rows=3), {278: (4, [1])})
    yield Sample("tiff_too_few_strips", few, Reason.CORRUPT)
    huge = tiff_of(grey(), 8, _GREY, Layout(tile=(16, 16)), {322: (4, [32768]), 323: (4, [16384])})
    yield Sample("tiff_huge_tile", huge, Reason.TOO_COSTLY)
    many = tiff_of(grey(), 8, _GREY, Layout(rows=1), {256: (4, [1]), 257: (4, [10**6])})
    yield Sample("tiff_a_million_strips", many, Reason.TOO_COSTLY)
    yield Sample("tiff_no_page", b"II*\0\0\0\0\0" + bytes(40), Reason.CORRUPT)
    yield Sample("tiff_ends_in_its_directory", whole[: len(whole) - 60], Reason.TRUNCATED)
    yield Sample("tiff_nothing_but_magic", b"MM\0*", Reason.TRUNCATED)
