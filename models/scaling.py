"""The numbers that a model takes for pixels: a range, or a mean and a deviation a channel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Channels = tuple[float, float, float]
_MAX_PIXEL = 255.0


@dataclasses.dataclass(frozen=True, slots=True)
class Scaling:
    """What becomes of a pixel: (pixel / 255 - mean) / std, channel by channel.

    Attributes:
      mean: What is taken from red, green and blue in [0, 1].
      std: What the rest is divided by.
    """

    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no pixel can be scaled by."""
        if not all(math.isfinite(n) for n in (*self.mean, *self.std)):
            raise ValueError(f"Mean {self.mean} and std {self.std} must be finite numbers.")
        if not all(n > 0 for n in self.std):
            raise ValueError(f"Every std must be above 0, and they are {self.std}.")
        with np.errstate(all="ignore"):
            black, white = self._scaled(np.asarray([[0.0] * 3, [_MAX_PIXEL] * 3], np.float32))
        if not (np.isfinite([black, white]).all() and (black < white).all()):
            raise ValueError(f"The {self} makes black and white no numbers that float32 tells.")

    @classmethod
    def of_range(cls, low: float, high: float) -> Scaling:
        """Returns the scaling that makes 0 `low` and 255 `high`.

        Raises:
          ValueError: The range is empty, or not finite.
        """
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"The input range {low:g},{high:g} must go from less to more.")
        std = 1.0 / (high - low)
        return cls(mean=(-low * std,) * 3, std=(std,) * 3)

    @property
    def input_range(self) -> tuple[float, float] | None:
        """The values of pixels of 0 and 255; None if they differ between channels."""
        ranges = {
            (round(-m / s, 6) + 0.0, round((1 - m) / s, 6) + 0.0)
            for m, s in zip(self.mean, self.std, strict=True)
        }
        return ranges.pop() if len(ranges) == 1 else None

    @property
    def _divisor(self) -> npt.NDArray[np.float32]:
        return _float32([_MAX_PIXEL * n for n in self.std])

    @property
    def _offset(self) -> npt.NDArray[np.float32]:
        return _float32([m / s for m, s in zip(self.mean, self.std, strict=True)])

    def _scaled(self, pixels: Any) -> Any:
        """Scales float32 pixels, in numpy as in TensorFlow.

        The division comes first and is one, so that the numbers of common ranges are exact: 255
        becomes 255 in 0 to 255, and 1 in -1 to 1.
        """
        images = pixels / self._divisor
        return images - self._offset if np.any(self._offset) else images

    def to_numbers(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Returns the model's float32 input for uint8 [..., 3]."""
        images: npt.NDArray[np.float32] = self._scaled(pixels.astype(np.float32))
        return images

    def to_tensor(self, pixels: Any) -> Any:
        """Returns the TensorFlow tensor of the model's float32 input for uint8 [..., 3]."""
        import tensorflow as tf

        return self._scaled(tf.cast(pixels, tf.float32))

    def to_json(self) -> dict[str, Any]:
        """Returns what metadata and run.json hold: a range where there is one, else both."""
        if self.input_range is not None and Scaling.of_range(*self.input_range) == self:
            return {"input_range": list(self.input_range)}
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scaling:
        """Reads what `to_json` gave; [0, 1] where it says nothing.

        Raises:
          ValueError: The numbers are no scaling.
        """
        if "input_range" in values:
            return cls.of_range(*_numbers(values["input_range"], 2))
        if "mean" in values or "std" in values:
            mean = _numbers(values.get("mean", (0.0,) * 3), 3)
            std = _numbers(values.get("std", (1.0,) * 3), 3)
            return cls((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
        return cls()

    def __str__(self) -> str:
        if self.input_range is not None:
            return "input range [{:g}, {:g}]".format(*self.input_range)
        return "mean {}, std {}".format(
            *(", ".join(f"{n:g}" for n in numbers) for numbers in (self.mean, self.std))
        )


def _float32(channels: Sequence[float]) -> npt.NDArray[np.float32]:
    """Returns the numbers of three channels, as one number where they are equal."""
    return np.asarray(channels[0] if len(set(channels)) == 1 else channels, np.float32)


def _numbers(values: Sequence[Any], count: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != count:
        raise ValueError(f"{count} numbers are needed, and {len(numbers)} are given.")
    return numbers
