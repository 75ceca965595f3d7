"""Vectors near each other: the nearest rows of a dataset, neighbours and near duplicates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.records import Block, Floats
from image_features.pipeline.dataset.run import Run

_CHUNK = 512


@dataclasses.dataclass(frozen=True, order=True)
class Neighbour:
    """A row near a query, the nearest sorting first.

    Attributes:
      distance: One minus the cosine similarity.
      key: The key of the image.
      uri: The location of the image, as stored.
      run_id: The run that the row is in.
    """

    distance: float
    key: str
    uri: str
    run_id: str


def nearest(runs: Sequence[Run], query: Floats, count: int, without: str = "") -> list[Neighbour]:
    """Finds the nearest rows by cosine; compares with every row.

    Args:
      runs: The runs to search, the latest first.
      query: The vector to compare with, float32 [num_features].
      count: The number of rows to return.
      without: A key to leave out.
    """
    best: list[Neighbour] = []
    for block in LatestRows(runs).seen():
        best = merge_nearest(best, block, query, count, without)
    return best


def unit(features: Floats) -> Floats:
    """Scales vectors to length one; those without a direction become zeros."""
    finite = np.nan_to_num(features, nan=0.0, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(finite, axis=-1, keepdims=True)
    return cast(Floats, finite / np.where(lengths > 0, lengths, 1))


def neighbours(vectors: Floats, row: int, count: int) -> tuple[tuple[int, float], ...]:
    """Finds the nearest other rows of a row among vectors of length one, with their cosines."""
    cosines = vectors @ vectors[row]
    cosines[row] = -np.inf
    near = np.argsort(-cosines, kind="stable")[: min(count, len(vectors) - 1)]
    return tuple((int(i), float(cosines[i])) for i in near)


def near_duplicates(vectors: Floats, threshold: float) -> list[tuple[int, ...]]:
    """Groups rows of length one whose cosine with the first of the group is above a threshold.

    Returns:
      The groups, the largest first; a row is in one at most.
    """
    free: npt.NDArray[np.bool_] = np.ones(len(vectors), np.bool_)
    groups = []
    for start in range(0, len(vectors), _CHUNK):
        alike = vectors[start : start + _CHUNK] @ vectors.T > threshold
        for row, others in enumerate(alike, start):
            if free[row]:
                group = np.flatnonzero(others & free)
                if len(group) > 1:
                    groups.append(tuple(int(i) for i in group))
                    free[group] = False
    return sorted(groups, key=lambda group: (-len(group), group))


def merge_nearest(
    best: list[Neighbour], block: Block, query: Floats, count: int, without: str
) -> list[Neighbour]:
    """Adds the rows of a block to the nearest rows so far; returns the nearest of both."""
    lengths = np.sqrt(np.einsum("ij,ij->i", block.features, block.features))
    with np.errstate(invalid="ignore", divide="ignore"):
        similarity = block.features @ unit(query) / lengths
    similarity = np.clip(np.nan_to_num(similarity, nan=0.0, posinf=0.0, neginf=0.0), -1, 1)
    # This is one more than asked for, since one may be left out.
    rows = np.argsort(-similarity, kind="stable")[: count + 1]
    if len(best) == count:
        rows = rows[1 - similarity[rows] <= best[-1].distance]
    found = [
        Neighbour(
            1 - float(similarity[row]),
            block.keys[row].ljust(16, b"\0").hex(),
            block.records[row].text("image/uri"),
            block.run.run_id,
        )
        for row in rows
    ]
    return sorted([*best, *(row for row in found if row.key != without)])[:count]
