"""All samples of all formats: what the golden tests, the comparisons and the fuzzing share."""

from __future__ import annotations

from tests.images import (
    avif,
    bitmap,
    gif,
    heic,
    icon,
    jpeg,
    jpeg2000,
    netpbm,
    png,
    profiles,
    tiff,
    webp,
)
from tests.images.sample import Sample

# The modules of the formats, each with a function `samples`.
_MODULES = (
    avif,
    bitmap,
    gif,
    heic,
    icon,
    jpeg,
    jpeg2000,
    netpbm,
    png,
    profiles,
    tiff,
    webp,
)


def corpus() -> list[Sample]:
    """Returns every sample of every format, the same ones in every process."""
    return [sample for module in _MODULES for sample in module.samples()]
