"""Groups that do not chain: every member is near its representative."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dedup.screen import Report, Screen
from image_features.pipeline.dedup.vectors import Doubles, Ints, Vectors

COMPARED = "pairs compared"
# The products of a block have 16 MiB. Smaller ones would stay in a core's cache, and be some 15 %
# faster, but the threads of a product wait for each other, which is long where others compute too.
_HEADS = 1024
_COLUMNS = 4096
# Sums in float64 of up to 20,000 products err by less, so that equal directions are never apart.
_NOISE = 1e-12


class Groups:
    """The groups of rows, which grow as rows join them.

    Rows are numbered as those of the vectors. A block of products is in memory, whatever the
    number of pairs that are near; 12 bytes a row beside it.

    Args:
      vectors: The vectors of the rows.
      screen: What is known of them before they are compared.
      threshold: The least cosine of a member with its representative.
      report: A function that is told what is being done, how much of it, and of how much.
    """

    def __init__(self, vectors: Vectors, screen: Screen, threshold: float, report: Report) -> None:
        self._vectors = vectors
        self._screen = screen
        self._least = threshold - _NOISE
        self._report = report
        self.leaders: Ints = np.arange(len(vectors.squares))
        self.similarity: Doubles = np.ones(len(vectors.squares))

    def join_nearest(self, leaders: Ints, rows: Ints) -> None:
        """Lets each row join the nearest leader that is near enough, of equals the first one."""
        best = np.full(len(rows), -np.inf)
        for start in range(0, len(leaders), _HEADS):
            heads = leaders[start : start + _HEADS]
            for first in range(0, len(rows), _COLUMNS):
                one, other = self._screen.near(heads, rows[first : first + _COLUMNS])
                other = other + first
                cosines = self._vectors.cosines(heads[one], rows[other])
                order = np.lexsort((one, -cosines, other))
                nearest = order[_firsts(other[order])]
                nearest = nearest[cosines[nearest] >= self._least]
                nearest = nearest[cosines[nearest] > best[other[nearest]]]
                best[other[nearest]] = cosines[nearest]
                self._join(rows[other[nearest]], heads[one[nearest]], cosines[nearest])
            self._report(COMPARED, (start + len(heads)) * len(rows), len(leaders) * len(rows))

    def lead(self, order: Ints, settled: int = 0) -> None:
        """Lets the first row that is free lead all free rows near it, until none is free.

        Args:
          order: The rows, the first that may lead at first.
          settled: The number of rows at the beginning that may lead but not join.
        """
        free = np.ones(len(order), np.bool_)
        total = _pairs(len(order)) - _pairs(settled)
        for start in range(0, len(order), _HEADS):
            end = min(start + _HEADS, len(order))
            heads = start + np.flatnonzero(free[start:end])
            self._lead_each_other(order, heads, free, settled)
            heads = heads[free[heads]]
            for first in range(max(end, settled), len(order), _COLUMNS):
                columns = first + np.flatnonzero(free[first : first + _COLUMNS])
                free[self._follow(order, heads, columns)] = False
            left = _pairs(len(order) - end) - _pairs(max(0, settled - end))
            self._report(COMPARED, total - left, total)

    def _lead_each_other(
        self, order: Ints, heads: Ints, free: npt.NDArray[np.bool_], settled: int
    ) -> None:
        """Decides which of some rows lead, one after the other."""
        if not len(heads) or heads[-1] < settled:
            return
        one, other = self._screen.near(order[heads], order[heads])
        later = (other > one) & (heads[other] >= settled)
        one, other = heads[one[later]], heads[other[later]]
        for start, stop in itertools.pairwise([*_firsts(one), len(one)]):
            leader = one[start : start + 1]
            if free[leader]:
                columns = other[start:stop]
                free[self._follow(order, leader, columns[free[columns]])] = False

    def _follow(self, order: Ints, heads: Ints, columns: Ints) -> Ints:
        """Lets each of some free rows join the first of the heads that is near; returns who did."""
        one, other = self._screen.near(order[heads], order[columns])
        by_row = np.argsort(other, kind="stable")
        one, other = one[by_row], other[by_row]
        joined: npt.NDArray[np.bool_] = np.zeros(len(columns), np.bool_)
        while len(other):
            tried = _firsts(other)
            rows, leaders = order[columns[other[tried]]], order[heads[one[tried]]]
            cosines = self._vectors.cosines(leaders, rows)
            near = cosines >= self._least
            self._join(rows[near], leaders[near], cosines[near])
            joined[other[tried[near]]] = True
            left = ~joined[other]
            left[tried] = False
            one, other = one[left], other[left]
        return columns[joined]

    def _join(self, rows: Ints, leaders: Ints, cosines: Doubles) -> None:
        self.leaders[rows] = leaders
        self.similarity[rows] = cosines


def _firsts(ordered: Ints) -> Ints:
    """Returns the place of the first of each run of equal numbers, which ascend."""
    return np.flatnonzero(np.diff(ordered, prepend=-1))


def _pairs(rows: int) -> int:
    return rows * (rows - 1) // 2
