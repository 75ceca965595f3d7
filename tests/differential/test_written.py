"""What ImageMagick and libvips write, with many options, is shown here as they show it."""

from __future__ import annotations

import pathlib

import pytest

from image_features.transforms.images.decode_error import DecodeError
from tests.differential.comparison import compare, decoded
from tests.differential.faults import refusal_of
from tests.differential.option_sets import OptionSet, option_sets
from tests.differential.pictures import make_pictures
from tests.differential.viewers import NotShownError, run
from tests.tools import imagemagick, vips

# Each of their decoders has an interpolation of its own between the samples of colour.
_MODERN = {"avif", "heic"}


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
    if reason := refusal_of(str(options)):
        with pytest.raises(DecodeError) as caught:
            decoded(path.read_bytes())
        assert caught.value.reason is reason
        return
    tolerance = 6 if options.form in _MODERN else 2
    compare(str(options), path, viewers, disagreements, tolerance)
