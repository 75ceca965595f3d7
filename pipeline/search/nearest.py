"""The rows of a dataset that are nearest to a vector: compared with all, or by an index."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.layout import REMOVED_KINDS
from image_features.pipeline.dataset.records import (
    OFFSET_BITS,
    Block,
    Floats,
    Run,
    blocks,
    open_shard,
)

# Candidates that the index gives, for each neighbour asked for; they are compared exactly.
_CANDIDATES = 8
_LEAST_CANDIDATES = 128
_CHUNK = 512


@dataclasses.dataclass(frozen=True, order=True)
class Neighbour:
    """A row near a query, the nearest sorting first.

    Attributes:
      distance: 1 - the cosine similarity.
      key: Of the image.
      uri: As stored.
      run_id: The run that it is from.
    """

    distance: float
    key: str
    uri: str
    run_id: str


def nearest(runs: Sequence[Run], query: Floats, count: int, without: str = "") -> list[Neighbour]:
    """The nearest rows by cosine, compared with every row.

    Args:
      runs: The latest first.
      query: float32 [num_features].
      count: How many.
      without: A key to leave out.
    """
    best: list[Neighbour] = []
    for block in LatestRows(runs).seen():
        best = _merge(best, block, query, count, without)
    return best


class Index:
    """An approximate index of runs' vectors, in a file that is made once and then mapped.

    Vectors are kept in 8 bits; what it finds is read again from the shards and compared exactly.
    """

    def __init__(self, runs: Sequence[Run], path: str) -> None:
        from usearch.index import Index as Usearch

        self._runs = runs
        index = Usearch.restore(path, view=True)
        if index is None:
            raise ValueError(f"The index {path} cannot be read; remove it.")
        self._index = index
        self._files = [(run, entry) for run in runs for entry in run.files()]

    @classmethod
    def build(cls, runs: Sequence[Run], path: str, report: Callable[[int], None]) -> None:
        """Makes the file.

        Args:
          runs: The latest first.
          path: Where, on a local disk; it appears when it is whole.
          report: Told how many rows are in, now and then.
        """
        from usearch.index import Index as Usearch

        index = Usearch(ndim=runs[0].record["model"]["num_features"], metric="cos", dtype="i8")
        for block in LatestRows(runs).seen():
            index.add(block.places, block.features)
            report(len(index))
        part = f"{path}.{uuid.uuid4().hex}"
        try:
            index.save(part)
            os.replace(part, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)

    def nearest(self, query: Floats, count: int, without: str = "") -> list[Neighbour]:
        """As the function of this name, but it may miss one."""
        wanted = max(_LEAST_CANDIDATES, _CANDIDATES * count)
        matches = self._index.search(query, wanted)
        best: list[Neighbour] = []
        places = sorted(int(place) for place in matches.keys)
        for number in dict.fromkeys(place >> OFFSET_BITS for place in places):
            run, entry = self._files[number]
            with open_shard(run, entry) as file:
                for place in places:
                    if place >> OFFSET_BITS == number:
                        file.seek(place & ((1 << OFFSET_BITS) - 1))
                        block = next(blocks(run, file, rows=1))
                        best = _merge(best, block, query, count, without)
        return best


def index_name(runs: Sequence[Run]) -> str:
    """A file name for the index of these runs, by the hashes of all that settles their rows."""
    digest = hashlib.sha256()
    for run in runs:
        entries = [*run.files(), *run.files(REMOVED_KINDS[True])]
        digest.update(json.dumps([entry["sha256"] for entry in entries]).encode())
    return f".search-{digest.hexdigest()[:16]}.usearch"


def unit(features: Floats) -> Floats:
    """Vectors scaled to length one; those without a direction become zeros."""
    finite = np.nan_to_num(features, nan=0.0, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(finite, axis=-1, keepdims=True)
    return cast(Floats, finite / np.where(lengths > 0, lengths, 1))


def neighbours(vectors: Floats, row: int, count: int) -> tuple[tuple[int, float], ...]:
    """The nearest other rows of one among vectors of length one, and their cosines."""
    cosines = vectors @ vectors[row]
    cosines[row] = -np.inf
    near = np.argsort(-cosines, kind="stable")[: min(count, len(vectors) - 1)]
    return tuple((int(i), float(cosines[i])) for i in near)


def near_duplicates(vectors: Floats, threshold: float) -> list[tuple[int, ...]]:
    """Groups of rows of length one whose cosine with the first of the group is above a threshold.

    Returns:
      The largest groups first; a row is in one at most.
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


def _merge(
    best: list[Neighbour], block: Block, query: Floats, count: int, without: str
) -> list[Neighbour]:
    lengths = np.sqrt(np.einsum("ij,ij->i", block.features, block.features))
    with np.errstate(invalid="ignore", divide="ignore"):
        similarity = block.features @ unit(query) / lengths
    similarity = np.clip(np.nan_to_num(similarity, nan=0.0, posinf=0.0, neginf=0.0), -1, 1)
    # One more than asked for: one may be left out.
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
