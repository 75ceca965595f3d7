"""A bound on the cosines of many pairs, far cheaper than the cosines themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dataset.records import Floats
from image_features.pipeline.dedup.vectors import Doubles, Ints, Vectors

Report = Callable[[str, int, int], None]
SHORTENED = "vectors shortened"
# Twice as many vectors are looked at to choose directions and to count what these leave.
_SAMPLE = 1024
_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
# The reduced vectors of all rows are in memory: a million have 256 values each.
_BYTES = 1 << 30
# So many products are done in some seconds, sooner than directions are chosen.
_FEW_PRODUCTS = 1e11
# The costs of a comparison beside its product, and of the exact cosine of a pair that is left, in
# products of the bound: about 1 ns and 5 us where a core does 60 of them in 1 ns.
_COMPARISON = 50
_COSINE = 300_000


class Screen:
    """Short vectors whose products are never below the cosines of the long ones.

    A vector of length one is turned into its part along a few directions and the length of what is
    left of it. By the inequality of Cauchy and Schwarz the product of two such vectors is at least
    that of the long ones. So no pair is lost whatever the directions; good ones leave few pairs.

    Args:
      reduced: The short vectors, float32 [rows, values].
      least: What the product of two must be for their cosine to be possibly at the threshold.
    """

    def __init__(self, reduced: Floats, least: float) -> None:
        self._reduced = reduced
        self._least = least
        # Products are written to the same memory, since fresh one costs as much as they do.
        self._products: Floats = np.empty(0, np.float32)

    @classmethod
    def of(
        cls, vectors: Vectors, rows: Ints, threshold: float, pairs: float, report: Report
    ) -> Screen:
        """Makes the short vectors.

        Args:
          vectors: The vectors.
          rows: The numbers of those that have a direction.
          threshold: The cosine from which on a pair matters.
          pairs: About how many pairs will be compared.
          report: A function that is told what is being done, how much of it, and of how much.
        """
        directions = _directions(vectors, rows, threshold, pairs)
        width = vectors.width if directions is None else len(directions) + 1
        reduced = np.zeros((len(vectors.squares), width), np.float32)
        done = 0
        for numbers, batch in vectors.batches():
            reduced[numbers] = batch if directions is None else _reduce(batch, directions)
            done += len(numbers)
            report(SHORTENED, done, len(reduced))
        return cls(reduced, _least(threshold, width))

    def near(self, first: Ints, second: Ints) -> tuple[Ints, Ints]:
        """Finds the pairs that may be at the threshold.

        Returns:
          The places of the pairs in `first`, ascending, and those in `second`.
        """
        size = len(first) * len(second)
        if len(self._products) < size:
            self._products = np.empty(size, np.float32)
        products = self._products[:size].reshape(len(first), len(second))
        np.matmul(self._reduced[first], self._reduced[second].T, out=products)
        # Few rows have a pair, and a row's largest product is found sooner than all are compared.
        some = np.flatnonzero(products.max(axis=1, initial=-np.inf) >= self._least)
        one, other = np.nonzero(products[some] >= self._least)
        return some[one], other


def _least(threshold: float, width: int) -> float:
    # Products in float32 of vectors of length one err by less than this, however they are summed.
    return threshold - (width + 8) * float(np.finfo(np.float32).eps)


def _reduce(batch: Doubles, directions: Doubles) -> npt.NDArray[np.float64]:
    along = batch @ directions.T
    rest = 1 - np.einsum("ij,ij->i", along, along)
    # The root makes a large error of a small one where nothing is left.
    return np.column_stack((along, np.sqrt(np.maximum(rest, 0)) + 1e-6))


def _directions(
    vectors: Vectors, rows: Ints, threshold: float, pairs: float
) -> npt.NDArray[np.float64] | None:
    """Chooses directions, float64 [values, width]; None where the vectors are used as they are.

    These are the principal ones of a sample, and as many as cost least in all, by the pairs that
    they leave of another sample. Keys are hashes, so that the first rows are a sample.
    """
    width, most = vectors.width, max(_WIDTHS[0], _BYTES // (4 * max(1, len(rows))))
    few = len(rows) < 2 or pairs * width < _FEW_PRODUCTS
    if width <= _WIDTHS[0] or (few and width <= most):
        return None
    fitted, checked = rows[: 2 * _SAMPLE : 2], rows[1 : 2 * _SAMPLE : 2]
    principal = np.linalg.svd(vectors.unit(fitted), full_matrices=False)[2]
    others = vectors.unit(checked)
    costs = {}
    for values in (*(values for values in _WIDTHS if values < width), width):
        if values <= most:
            short = others if values == width else _reduce(others, principal[: values - 1])
            left = float(np.mean(short @ short.T >= _least(threshold, values)))
            costs[values] = values + _COMPARISON + _COSINE * left
    best = min(costs, key=lambda values: costs[values])
    return None if best == width else principal[: best - 1]
