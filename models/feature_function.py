"""The type of everything that computes features: engines, and what stands in for them in tests."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class FeatureFunction(Protocol):
    """A function from uint8 [N, height, width, 3] to float32 [N, num_features], for many threads.

    Attributes:
      parallelism: The number of calls worth making at once; None for one a core.
    """

    parallelism: int | None

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]: ...
