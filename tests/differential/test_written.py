"""What ImageMagick and libvips write, with many options, is shown here as they show it."""

from __future__ import annotations

import pathlib

import pytest

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason
from tests.differential.comparison import compare, decoded
from tests.differential.option_sets import OptionSet, option_sets
from tests.differential.pictures import make_pictures
from tests.differential.viewers import NotShownError, run
from tests.tools import imagemagick, vips

_REFUSED = {Reason.UNSUPPORTED_PIXELS, Reason.UNSUPPORTED_FORMAT}


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
    try:
        path = _write(options, pictures, tmp_path)
    except NotShownError as error:
        pytest.skip(f"{options} is not written: {error}")
    try:
        decoded(path.read_bytes())
    except DecodeError as error:
        assert error.reason in _REFUSED, error.message
        pytest.xfail(f"{options}: {error.message}")
    compare(str(options), path, viewers, disagreements)
