"""What ImageMagick and libvips write, with many options, is shown here as they show it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

import pytest

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason
from tests.differential.comparison import compare, decoded
from tests.differential.option_sets import OptionSet, option_sets
from tests.differential.pictures import make_pictures
from tests.differential.viewers import NotShownError, run
from tests.tools import imagemagick, vips

_Told = TypeVar("_Told")
# Each of their decoders has an interpolation of its own between the samples of colour.
_MODERN = {"avif", "heic"}
# What is not read, by patterns of option sets. Nothing else may be refused.
_REFUSED = {
    "convert * tiff -type ColorSeparationMatte *": Reason.UNSUPPORTED_PIXELS,
    "convert rgb tiff -type ColorSeparation -depth [!81]*": Reason.UNSUPPORTED_PIXELS,
    "convert rgb tiff -type ColorSeparation -depth 1[!6]": Reason.UNSUPPORTED_PIXELS,
    "convert rgb tiff -type ColorSeparation -depth 1": Reason.UNSUPPORTED_PIXELS,
    "convert rgba tiff -type *Matte -depth 32": Reason.UNSUPPORTED_PIXELS,
    "convert rgba tiff -depth * -compress JPEG": Reason.UNSUPPORTED_PIXELS,
    "convert rgb pam -colorspace CMYK": Reason.UNSUPPORTED_PIXELS,
    "convert rgb jng": Reason.UNSUPPORTED_FORMAT,
    "convert rgb pcx": Reason.UNSUPPORTED_FORMAT,
    "convert rgb psd": Reason.UNSUPPORTED_FORMAT,
    "convert rgb tga": Reason.UNSUPPORTED_FORMAT,
    "vips * tif compression=jp2k": Reason.UNSUPPORTED_PIXELS,
    "vips grey tif compression=webp": Reason.UNSUPPORTED_PIXELS,
    "vips lab* tif*": Reason.UNSUPPORTED_PIXELS,
}
# What no viewer shows as the format says, and why.
_INCOMPARABLE = {
    "convert rgb* tiff -type GrayscaleMatte -depth 1": "ImageMagick loses the transparency",
    "convert rgb* tiff -type GrayscaleMatte -depth 1[02]": "ImageMagick loses the transparency",
    "convert * quantum:format=signed *": "viewers have no rule in common for signed samples",
    "vips *_char tif*": "viewers have no rule in common for signed samples",
    "vips rgb_short tif*": "viewers have no rule in common for signed samples",
    "vips rgb_int tif*": "viewers have no rule in common for signed samples",
    "vips grey_short tif miniswhite": "viewers have no rule in common for signed samples",
    "vips grey_double tif miniswhite": "ImageMagick shows floats where white is zero as they are",
    "convert rgb tiff -colorspace Lab*": "viewers take the white of Lab for D65; in TIFF it is D50",
    "convert rgba tiff -define tiff:alpha=unspecified": "a channel without meaning is none",
    "convert rgba bmp -define bmp:subtype=ARGB*": "ImageMagick does not stretch the levels to 255",
    "convert rgba pam -depth [!8]": "ImageMagick loses the transparency",
    "convert rgba pam -depth 1[02]": "ImageMagick loses the transparency",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The directory of the pictures to write."""
    directory = tmp_path_factory.mktemp("pictures")
    make_pictures(directory, vips())
    return directory


def _write(options: OptionSet, pictures: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
    path = directory / f"written.{options.form}"
    if options.program == "vips":
        source = pictures / f"{options.source}.v"
        run([vips(), "copy", str(source), f"{path}[{options.options}]"])
    else:
        source = pictures / f"{options.source}.png"
        command = [imagemagick(), str(source), *options.options.split()]
        run([*command, f"{options.form}:{path}"])
    return path


@pytest.mark.parametrize("options", option_sets(), ids=str)
def test_what_other_programs_write(
    options: OptionSet, pictures, viewers, disagreements, tmp_path: pathlib.Path
) -> None:
    if why := _told(_INCOMPARABLE, options):
        pytest.skip(f"{options}: {why}")
    reason = _told(_REFUSED, options)
    try:
        path = _write(options, pictures, tmp_path)
    except NotShownError as error:
        pytest.skip(f"{options} is not written: {error}")
    if reason:
        with pytest.raises(DecodeError) as caught:
            decoded(path.read_bytes())
        assert caught.value.reason is reason
        return
    tolerance = 6 if options.form in _MODERN else 2
    compare(str(options), path, viewers, disagreements, tolerance)


def _told(table: Mapping[str, _Told], options: OptionSet) -> _Told | None:
    matching = (told for pattern, told in table.items() if fnmatchcase(str(options), pattern))
    return next(matching, None)
