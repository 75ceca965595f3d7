"""The files that ImageMagick and libvips are asked to write: formats, depths, kinds and options."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class OptionSet:
    """How a program writes a file.

    Attributes:
      program: `convert` or `vips`.
      source: The picture that is written, by its name in `pictures.py`.
      options: The options of convert; of vips those of the file's name.
      form: The suffix of the file, or of convert the format.
    """

    program: str
    source: str
    options: str
    form: str

    def __str__(self) -> str:
        return f"{self.program} {self.source} {self.form} {self.options}".strip()


def option_sets() -> list[OptionSet]:
    """Returns all option sets; each is there once."""
    groups = (
        *(_convert_tiff(), _convert_png(), _convert_bmp(), _convert_jpeg(), _convert_pnm()),
        *(_convert_others(), _vips_tiff(), _vips_others()),
    )
    return list(dict.fromkeys(itertools.chain(*groups)))


def _convert(source: str, form: str, *options: str) -> Iterator[OptionSet]:
    for text in options:
        yield OptionSet("convert", source, text, form)


_TYPES = ("Bilevel", "Grayscale", "GrayscaleMatte", "Palette", "PaletteMatte", "TrueColor")
_TYPES += ("TrueColorMatte", "ColorSeparation", "ColorSeparationMatte")


def _convert_tiff() -> Iterator[OptionSet]:
    for kind, depth in itertools.product(_TYPES, (1, 2, 4, 8, 10, 12, 14, 16, 32)):
        source = "rgba" if kind.endswith("Matte") else "rgb"
        yield from _convert(source, "tiff", f"-type {kind} -depth {depth}")
    for source, depth in itertools.product(("rgb", "grey", "rgba"), (8, 16)):
        for more in ("None", "LZW", "Zip", "RLE", "JPEG", "LZMA", "ZSTD", "WebP"):
            yield from _convert(source, "tiff", f"-depth {depth} -compress {more}")
        for more in ("-interlace Plane", "-endian MSB", "-endian LSB"):
            yield from _convert(source, "tiff", f"-depth {depth} {more}")
        for more in ("rows-per-strip=1", "tile-geometry=16x16", "tile-geometry=64x32"):
            yield from _convert(source, "tiff", f"-depth {depth} -define tiff:{more}")
    for polarity in ("min-is-white", "min-is-black"):
        for depth in (1, 4, 8, 16):
            yield from _convert(
                "grey", "tiff", f"-depth {depth} -define quantum:polarity={polarity}"
            )
    for depth in (16, 32, 64):
        yield from _convert("grey", "tiff", f"-define quantum:format=floating-point -depth {depth}")
        yield from _convert("rgb", "tiff", f"-define quantum:format=floating-point -depth {depth}")
    for depth in (8, 16, 32):
        yield from _convert("grey", "tiff", f"-define quantum:format=signed -depth {depth}")
    yield from _convert(
        "grey", "tiff", "-monochrome -compress Group4", "-monochrome -compress Fax",
        "-monochrome -compress Group4 -define tiff:fill-order=lsb",
        "-monochrome -define quantum:polarity=min-is-white -compress Group4",
    )  # fmt: skip
    yield from _convert(
        "rgb", "tiff", "-colorspace Lab", "-colorspace Lab -depth 8", "-colorspace YCbCr",
        "-colorspace YCbCr -compress JPEG", "-colorspace CMYK -depth 8", "-orient RightTop",
        "-colorspace CMYK -interlace Plane", "-orient BottomLeft", "-define tiff:alpha=associated",
        "-sampling-factor 2x2 -colorspace YCbCr", "rose: -append",
    )  # fmt: skip
    yield from _convert(
        "rgba", "tiff", "-define tiff:alpha=associated", "-define tiff:alpha=unassociated",
        "-define tiff:alpha=unspecified", "-depth 16 -define tiff:alpha=associated",
    )  # fmt: skip
    yield from _convert("rgb", "tiff64", "-depth 8", "-depth 16 -compress Zip")
    yield from _convert("rgb", "ptif", "-depth 8", "-define ptif:pyramid=4x4")


def _convert_png() -> Iterator[OptionSet]:
    for kind, depth in itertools.product(_TYPES[:7], (1, 2, 4, 8, 16)):
        source = "rgba" if kind.endswith("Matte") else "rgb"
        yield from _convert(source, "png", f"-type {kind} -depth {depth}")
    for source, form in itertools.product(
        ("rgb", "rgba", "grey", "cutout"), ("png8", "png24", "png32", "png48", "png64", "png00")
    ):
        yield from _convert(source, form, "", "-interlace PNG")
    for depth in (1, 2, 4, 8, 16):
        for colour, source in ((0, "grey"), (2, "rgb"), (4, "cutout"), (6, "rgba")):
            if depth < 8 and colour:
                continue  # PNG has no such.
            define = f"-define png:color-type={colour} -define png:bit-depth={depth}"
            yield from _convert(source, "png", define)
    yield from _convert("grey", "png", "-transparent white", "-depth 2 -transparent black")
    yield from _convert("rgb", "png", "-transparent #000080 -type TrueColor", "-orient RightTop")
    yield from _convert("rgb", "jng", "")


def _convert_bmp() -> Iterator[OptionSet]:
    for form in ("bmp", "bmp2", "bmp3"):
        yield from _convert("rgb", form, "", "-type Palette", "-colors 16", "-compress RLE")
        yield from _convert("rgb", form, "-type Palette -compress RLE", "-colors 14 -compress RLE")
        yield from _convert("grey", form, "", "-monochrome", "-compress RLE", "-depth 4")
        yield from _convert("rgba", form, "", "-type TrueColorMatte")
    for kind in ("RGB565", "RGB555", "ARGB4444", "ARGB1555"):
        for source in ("rgb", "rgba"):
            yield from _convert(source, "bmp", f"-define bmp:subtype={kind}")


def _convert_jpeg() -> Iterator[OptionSet]:
    for factor in ("4:4:4", "4:2:2", "4:2:0", "4:1:1", "4:4:0", "1x2", "2x1,1x1,1x1", "4x2"):
        for more in ("", "-interlace JPEG"):
            yield from _convert("rgb", "jpeg", f"-sampling-factor {factor} {more}".strip())
    yield from _convert(
        "rgb", "jpeg", "-quality 100", "-quality 10", "-quality 100 -colorspace CMYK",
        "-quality 100 -colorspace Gray", "-quality 100 -colorspace RGB", "-orient LeftBottom",
        "-define jpeg:optimize-coding=true", "-define jpeg:arithmetic-coding=true",
        "-colorspace CMYK -interlace JPEG", "-quality 100 -type ColorSeparation",
    )  # fmt: skip
    for turned in ("TopRight", "BottomRight", "BottomLeft", "LeftTop", "RightTop", "RightBottom"):
        yield from _convert("rgb", "jpeg", f"-quality 100 -orient {turned}")
    yield from _convert("grey", "jpeg", "", "-interlace JPEG", "-monochrome")


def _convert_pnm() -> Iterator[OptionSet]:
    for form, depth in itertools.product(
        ("pgm", "ppm", "pam", "pnm"), (1, 2, 3, 4, 7, 8, 10, 12, 16)
    ):
        source = {"pgm": "grey", "pam": "rgba"}.get(form, "rgb")
        yield from _convert(source, form, f"-depth {depth}")
        if form != "pam":
            yield from _convert(source, form, f"-depth {depth} -compress None")
    yield from _convert("grey", "pbm", "", "-compress None")
    yield from _convert("grey", "pam", "", "-depth 16", "-monochrome")
    yield from _convert("grey", "pfm", "", "-endian MSB")
    yield from _convert("rgb", "pfm", "", "-endian LSB")
    yield from _convert("rgb", "pam", "", "-colorspace CMYK")


def _convert_others() -> Iterator[OptionSet]:
    for source in ("rgb", "rgba", "grey", "cutout"):
        yield from _convert(source, "gif", "", "-interlace GIF", "-colors 4")
        yield from _convert(source, "webp", "-quality 100", "-define webp:lossless=true")
        yield from _convert(
            source, "webp", "-quality 40", "-quality 90 -define webp:alpha-quality=5"
        )
        yield from _convert(source, "ico", "", "-define icon:auto-resize=32,16", "-depth 4")
        for form in ("jp2", "j2k", "j2c", "jpc"):
            yield from _convert(source, form, "-quality 100", "-quality 60")
        for depth in (1, 4, 8, 10, 12, 16):
            yield from _convert(source, "jp2", f"-depth {depth} -quality 100")
        yield from _convert(source, "avif", "-quality 100", "-quality 50")
        yield from _convert(source, "heic", "-quality 100", "-quality 50")
    yield from _convert("rgb", "gif87", "", "-interlace GIF")
    yield from _convert(
        "rgb", "gif", "-page +10+5", "-delay 10 rose:", "-delay 10 -size 9x9 xc:red"
    )
    yield from _convert("cutout", "gif", "-dispose Background -delay 10 rose:")
    yield from _convert("rgb", "webp", "-delay 10 rose:", "-orient RightTop")
    yield from _convert("rgb", "jp2", "-colorspace YUV")
    yield from _convert("rgb", "jp2", "-define jp2:number-resolutions=1", "-interlace Plane")
    yield from _convert("rgb", "tga", "")
    yield from _convert("rgb", "pcx", "")
    yield from _convert("rgb", "psd", "")


def _vips(sources: str, form: str, *options: str) -> Iterator[OptionSet]:
    for source, text in itertools.product(sources.split(), options):
        yield OptionSet("vips", source, text, form)


_DEPTHS = "uchar char ushort short uint int float double"


def _vips_tiff() -> Iterator[OptionSet]:
    yield from _vips(
        "rgb rgba grey", "tif", *(
            f"compression={name}"
            for name in ("none", "jpeg", "deflate", "packbits", "lzw", "webp", "zstd", "jp2k")
        ),
    )  # fmt: skip
    yield from _vips(
        "rgb grey rgba", "tif", "tile", "tile,pyramid", "bigtiff", "compression=lzw,predictor=none",
        "compression=deflate,predictor=horizontal", "tile,tile-width=16,tile-height=32",
        "tile,compression=jpeg,Q=95", "compression=deflate,tile,predictor=horizontal",
    )  # fmt: skip
    yield from _vips("grey", "tif", "bitdepth=1", "bitdepth=2", "bitdepth=4", "miniswhite")
    yield from _vips("grey", "tif", "bitdepth=1,miniswhite", "compression=ccittfax4,bitdepth=1")
    yield from _vips("rgb", "tif", "compression=jpeg,tile,rgbjpeg", "compression=jpeg,Q=95,tile")
    for kind in _DEPTHS.split():
        yield from _vips(f"grey_{kind} rgb_{kind}", "tif", "", "compression=lzw", "tile")
        yield from _vips(f"grey_{kind}", "tif", "miniswhite")
    yield from _vips("rgb_float grey_float", "tif", "compression=deflate,predictor=float")
    yield from _vips("rgb_ushort", "tif", "compression=deflate,predictor=horizontal", "bigtiff")
    yield from _vips("lab labs cmyk cmyk_ushort", "tif", "", "compression=deflate", "tile")
    yield from _vips("rgba", "tif", "premultiply")


def _vips_others() -> Iterator[OptionSet]:
    yield from _vips("rgb rgba grey", "png", "", "interlace", "palette", "compression=9")
    yield from _vips("grey", "png", "bitdepth=1", "bitdepth=2", "bitdepth=4", "bitdepth=16")
    yield from _vips("rgb rgba", "png", "palette,bitdepth=2", "palette,bitdepth=4", "bitdepth=16")
    yield from _vips("rgb_ushort grey_ushort", "png", "", "interlace", "filter=all")
    yield from _vips("rgb grey cmyk", "jpg", "Q=100", "Q=50", "interlace", "optimize-coding")
    yield from _vips("rgb", "jpg", "subsample-mode=on", "subsample-mode=off", "trellis-quant")
    yield from _vips("rgb", "jpg", "Q=95,interlace,optimize-scans", "restart-interval=1")
    yield from _vips("rgb rgba", "webp", "lossless", "Q=90", "near-lossless", "smart-subsample")
    yield from _vips("rgb rgba", "gif", "", "interlace", "bitdepth=3", "dither=0")
    yield from _vips("rgb rgba grey", "jp2", "lossless", "Q=90", "tile-width=32,tile-height=32")
    yield from _vips("rgb_ushort grey_ushort", "jp2", "lossless")
    yield from _vips("rgb", "jp2", "subsample-mode=on", "subsample-mode=off,Q=95")
    yield from _vips("rgb rgba grey", "avif", "lossless", "Q=90", "bitdepth=12")
    yield from _vips("rgb rgba grey", "heic", "lossless", "Q=90", "bitdepth=10", "bitdepth=12")
    yield from _vips("rgb", "avif", "subsample-mode=off,Q=95", "Q=60")
    yield from _vips("rgb grey rgb_ushort grey_ushort", "ppm", "", "ascii")
    yield from _vips("grey", "pbm", "bitdepth=1", "ascii,bitdepth=1")
    yield from _vips("grey_float rgb_float", "pfm", "")
