"""TIFF: all of its samples."""

from __future__ import annotations

import dataclasses
import re

from tests.images.sample import Sample
from tests.images.tiff_coded import coded
from tests.images.tiff_odd import odd, refused
from tests.images.tiff_samples import of_samples

# Where ImageMagick 6 or libvips show something else, by the names of samples.
_TOLD = (
    (r"white0_(?!16_|8_|1_|alpha)\d|white0_alpha", "ImageMagick does not invert it"),
    (r"predictor2_32", "white is anywhere"),
    (r"float|predictor3", "libvips does not multiply floats by 255"),
    (r"grey_alpha", "ImageMagick misreads grey with alpha of its own plane or of 12 bits"),
    (r"icclab8", "viewers take it for CIELab"),
    (r"ycbcr", "viewers read chroma otherwise"),
)


def samples() -> list[Sample]:
    """Returns the samples of TIFF."""
    return [_told(sample) for make in (of_samples, coded, odd, refused) for sample in make()]


def _told(sample: Sample) -> Sample:
    told = next((told for pattern, told in _TOLD if re.search(pattern, sample.name)), "")
    return dataclasses.replace(sample, comparable=sample.comparable or told)
