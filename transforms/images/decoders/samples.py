"""The rules by which samples of any depth become samples of eight bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from image_features.transforms.images.headers.header import Sample

# Bands of rows are converted one after the other, so that no wider copy is made of all of them.
_BAND = 2**20
_WHITE_OF_16 = 65535


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """The lowest and the highest finite sample; `low` is above `high` where there is none."""

    low: float = float("inf")
    high: float = float("-inf")

    def widened(self, values: npt.NDArray[np.generic]) -> Range:
        """Returns the range that takes in some samples more."""
        low, high = self.low, self.high
        for band in _bands(values):
            if band.dtype.kind == "f":
                band = band[np.isfinite(band)]
            if band.size:
                low, high = min(low, float(band.min())), max(high, float(band.max()))
        return Range(low, high)


def needs_range(bits: int, sample: Sample) -> bool:
    """Tells whether white depends on the samples, since the depth does not tell it."""
    return sample is Sample.FLOAT or bits > 16


def to_eight_bits(
    values: npt.NDArray[np.generic],
    *,
    bits: int,
    sample: Sample = Sample.UNSIGNED,
    white_is_zero: bool = False,
    within: Range | None = None,
) -> npt.NDArray[np.uint8]:
    """Converts samples to eight bits.

    Up to 16 bits, black and white are the lowest and the highest number of the declared bits;
    what is beyond them is clipped. Integers of more bits are divided by 257 if all are within 16
    bits. Floats within [0, 1] are multiplied by 255, within [0, 255] they are kept; those that are
    no numbers become the lowest. All others are stretched from their minimum to their maximum.

    Args:
      values: Samples [height, ...] of any dtype that holds them.
      bits: The bits that the file declares, of which there may be fewer than the dtype has.
      sample: How a sample is a number.
      white_is_zero: Whether the result is inverted.
      within: The range of all samples, if these are a part of them.

    Returns:
      uint8 of the shape of `values`.
    """
    if bits == 8 and values.dtype == np.uint8:
        return np.subtract(255, values) if white_is_zero else values.astype(np.uint8)
    out = np.zeros(values.shape, np.uint8)
    table, factor = None, (0.0, 0.0)
    if not needs_range(bits, sample):
        table = _table(bits)
    else:
        within = within or Range().widened(values)
        if within.low > within.high:  # Not one sample is a finite number.
            values = values[:0]
        factor = _factor(within, sample)
    lowest = -(2 ** (bits - 1)) if sample is Sample.SIGNED else 0
    for band, converted in zip(_bands(values), _bands(out), strict=False):
        if table is None:
            assert within is not None
            converted[...] = _scaled(band, within, factor)
        else:
            indices = band.astype(np.intp)
            indices -= lowest
            np.take(table, indices, out=converted, mode="clip")
    return np.subtract(255, out, out=out) if white_is_zero else out


def _table(bits: int) -> npt.NDArray[np.uint8]:
    white = 2**bits - 1
    return ((np.arange(white + 1) * 255 + white // 2) // white).astype(np.uint8)


def _factor(within: Range, sample: Sample) -> tuple[float, float]:
    """Returns what becomes black, and the factor by which the rest comes to 255."""
    low, high = within.low, within.high
    if low >= 0:
        for white in (1, 255) if sample is Sample.FLOAT else (_WHITE_OF_16,):
            if high <= white:
                return 0.0, 255 / white
    # Halves, since the difference of two floats may be beyond all floats.
    half = high / 2 - low / 2
    return low, 127.5 / half if half > 0 else 0.0


def _scaled(
    band: npt.NDArray[np.generic], within: Range, factor: tuple[float, float]
) -> npt.NDArray[np.float64]:
    values = band.astype(np.float64)
    if band.dtype.kind == "f":
        np.copyto(values, within.low, where=np.isnan(values))
    np.clip(values, within.low, within.high, out=values)
    with np.errstate(over="ignore"):
        values -= factor[0]
        values *= factor[1]
    return np.rint(np.clip(values, 0, 255, out=values), out=values)


def _bands(values: npt.NDArray[np.generic]) -> Iterator[npt.NDArray[np.generic]]:
    if not values.size:
        return
    rows = max(1, _BAND // (values.size // len(values)))
    for top in range(0, len(values), rows):
        yield values[top : top + rows]
