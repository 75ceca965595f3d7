"""Where no other viewer shows what a format says, and what is not read here."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from image_features.transforms.values import Reason

_Told = TypeVar("_Told")
_SIGNED = "Viewers have no rule in common for signed samples."
_LOST = "ImageMagick loses the transparency, and libvips reads it by ImageMagick or not at all."
_UNNAMED = "Viewers take a channel without a meaning for transparency."
_PREMULTIPLIED = "Viewers take premultiplied samples for straight ones."
# By patterns of the names of samples and option sets. Each excuses a file that no viewer shows as
# it is shown here; a viewer that does needs none.
_FAULTS = {
    "tiff_*_int8": _SIGNED,
    "tiff_*_int16": _SIGNED,
    "tiff_white0_*": "ImageMagick inverts where white is zero in 1, 8 and 16 bits only.",
    "tiff_grey_alpha12*": _LOST,
    "tiff_grey_alpha*_planar*": "ImageMagick reads one plane of two, and libvips mixes up rows.",
    "tiff_icclab*": "Viewers take the Lab of ICC for RGB.",
    "tiff_predictor2_32_*": "Viewers take the most that 32 bits hold for white.",
    "tiff_ycbcr_*": "ImageMagick reads chroma of a lower resolution only where it is JPEG.",
    "tiff_strips_of_too_many_rows_8": "libtiff gives up a last strip with rows to spare.",
    "avif_sequence": "ImageMagick repeats chroma, and libvips does not read it.",
    "avif_premultiplied*": _PREMULTIPLIED,
    "heic_premultiplied*": _PREMULTIPLIED,
    "jp2_*premultiplied": _PREMULTIPLIED,
    "jp2_cmyk": "Viewers take four channels for RGB and alpha.",
    "jp2_unknown_channel": _UNNAMED,
    "convert * quantum:format=signed *": _SIGNED,
    "vips rgb_short tif*": _SIGNED,
    "vips *_int tif*": _SIGNED,
    "vips grey_short tif miniswhite": _SIGNED,
    "vips grey_* tif miniswhite": "Viewers invert neither floats nor 32 bits where white is zero.",
    "convert * tiff -type GrayscaleMatte -depth 1*": _LOST,
    "convert rgb tiff -colorspace Lab*": "Viewers take the white of Lab for D65; TIFF says D50.",
    "convert rgba tiff -define tiff:alpha=unspecified": _UNNAMED,
    "convert rgba bmp -define bmp:subtype=ARGB*": "ImageMagick does not stretch levels to 255.",
    "convert rgba pam *": _LOST,
    "convert * gif -page *": "ImageMagick cuts the canvas off, and libvips fills it with black.",
}
# What is not read of what the programs write. Nothing else may be refused.
_REFUSED = {
    "convert grey tiff -define quantum:format=signed -depth 8": Reason.UNSUPPORTED_PIXELS,
    "vips *_char tif*": Reason.UNSUPPORTED_PIXELS,
    "convert * tiff -type ColorSeparationMatte *": Reason.UNSUPPORTED_PIXELS,
    "convert rgb tiff -type ColorSeparation -depth [!18]*": Reason.UNSUPPORTED_PIXELS,
    "convert rgb tiff -type ColorSeparation -depth 1": Reason.UNSUPPORTED_PIXELS,
    "convert rgb tiff -type ColorSeparation -depth 1[!6]": Reason.UNSUPPORTED_PIXELS,
    "convert rgba tiff -type [GT]*Matte -depth 32": Reason.UNSUPPORTED_PIXELS,
    "convert rgb pam -colorspace CMYK": Reason.UNSUPPORTED_PIXELS,
    "convert rgb jp2 -colorspace YUV": Reason.UNSUPPORTED_PIXELS,
    "convert rgb jng": Reason.UNSUPPORTED_FORMAT,
    "convert rgb pcx": Reason.UNSUPPORTED_FORMAT,
    "convert rgb psd": Reason.UNSUPPORTED_FORMAT,
    "convert rgb tga": Reason.UNSUPPORTED_FORMAT,
    "vips * tif compression=jp2k": Reason.UNSUPPORTED_PIXELS,
    "vips grey tif compression=webp": Reason.UNSUPPORTED_PIXELS,
    "vips lab* tif*": Reason.UNSUPPORTED_PIXELS,
}


def excuse_of(name: str) -> str:
    """Returns why viewers may show something else; empty where they may not."""
    return _first(_FAULTS, name) or ""


def refusal_of(name: str) -> Reason | None:
    """Returns the reason with which a file is refused; None where it has to be read."""
    return _first(_REFUSED, name)


def _first(table: Mapping[str, _Told], name: str) -> _Told | None:
    return next((told for pattern, told in table.items() if fnmatchcase(name, pattern)), None)
