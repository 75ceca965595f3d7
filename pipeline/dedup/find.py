"""Finds the duplicates among the rows of a dataset that are seen.

Rows of one file are told by its SHA-256, and one of them stands for all. The rest is decided by
vectors: the largest image leads all that are near it, then the largest of those that are left, and
so on. Products of short vectors tell which pairs cannot be near (`screen.py`); the cosines of the
others are computed from the vectors as they are stored. So every near pair is found and no other,
and the result depends on the rows alone: not on runs, shards, threads or the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dedup.duplicates import Duplicates, Earlier
from image_features.pipeline.dedup.groups import Groups
from image_features.pipeline.dedup.rows import Ints, Rows
from image_features.pipeline.dedup.screen import Report, Screen
from image_features.pipeline.dedup.standing import Stand, Standing
from image_features.pipeline.dedup.vectors import Vectors

READ = "rows read"


def find_duplicates(
    runs: Sequence[Run],
    *,
    threshold: float,
    earlier: Earlier | None = None,
    report: Report,
) -> Duplicates:
    """Finds the duplicates among the rows of runs.

    Args:
      runs: The runs that are read together, the latest first.
      threshold: The least cosine of an image with the one that is kept in its place, above 0 and
        at most 1.
      earlier: What an earlier night has found with the same threshold. Its rows are not compared
        with each other again: what it kept stays kept, and new rows join its groups. None compares
        all.
      report: A function that is called now and then with what is being done, how much of it is
        done, and of how much.

    Raises:
      ValueError: the threshold is no such number, or a file of the dataset is damaged.
      UsageError: a run has several models and none is named, or the disk has no room.
      OSError: a file cannot be read.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"The threshold {threshold} is not above 0 and at most 1.")
    width = runs[0].num_features if runs else 0
    rows = Rows.read(LatestRows(runs))
    standing = Standing.of(rows, earlier)
    standing_for = rows.first_of_files(standing.stands)
    leaders, similarity = np.arange(len(rows)), np.ones(len(rows))
    zero = np.zeros(len(rows), np.bool_)
    if len(rows):
        follow = standing_for[standing.stands[standing_for] == Stand.FOLLOWS]
        leaders[follow] = standing_for[rows.files[standing.leaders[follow]]]
        similarity[follow] = standing.similarity[follow]
        compared = np.sort(standing_for[standing.stands[standing_for] != Stand.FOLLOWS])
        with Vectors(len(compared), width) as vectors:
            areas = _read(rows, compared, vectors, report)
            groups = _group(vectors, areas, standing.stands[compared], threshold, report)
        leaders[compared] = compared[groups.leaders]
        similarity[compared] = groups.similarity
        zero[compared] = vectors.squares == 0
    first = standing_for[rows.files]
    return Duplicates(
        table=_table(rows, leaders[first], similarity[first]),
        rows=len(rows),
        same_files=len(rows) - len(standing_for),
        zero_rows=int(np.count_nonzero(zero[first])),
    )


def _read(rows: Rows, compared: Ints, vectors: Vectors, report: Report) -> Ints:
    """Reads the vectors of some rows, which ascend; returns the areas of their images, in pixels.

    The vectors are numbered as the rows are.
    """
    areas = np.zeros(len(compared), np.int64)
    read, total = 0, sum(run.rows for run in rows.latest.runs)
    for block, seen in rows.latest.blocks():
        found = rows.find(block.keys)
        places = np.searchsorted(compared, found)
        wanted = seen & (places < len(compared))
        wanted[wanted] = compared[places[wanted]] == found[wanted]
        if wanted.any():
            chosen, numbers = block.only(wanted), places[wanted]
            vectors.add(numbers, chosen.features)
            areas[numbers] = [
                record.number("image/width") * record.number("image/height")
                for record in chosen.records
            ]
        read += len(block.keys)
        report(READ, read, total)
    return areas


def _group(
    vectors: Vectors,
    areas: Ints,
    stands: npt.NDArray[np.int8],
    threshold: float,
    report: Report,
) -> Groups:
    """Groups the rows that have a direction."""
    live = np.flatnonzero(vectors.squares > 0)
    leading = live[stands[live] == Stand.LEADS]
    alone = live[stands[live] == Stand.ALONE]
    still = live[stands[live] >= Stand.KEPT]
    pairs = len(still) * (len(live) - len(still) / 2)
    screen = Screen.of(vectors, live, threshold, pairs, report)
    groups = Groups(vectors, screen, threshold, report)
    # The order among equals is that of the rows' numbers, which is that of their keys.
    leading, alone = (part[np.lexsort((part, -areas[part]))] for part in (leading, alone))
    groups.join_nearest(leading, still)
    still = still[groups.leaders[still] == still]
    still = still[np.lexsort((still, -areas[still], stands[still]))]
    groups.lead(np.concatenate((alone, still)), settled=len(alone))
    return groups


def _table(rows: Rows, leaders: Ints, similarity: npt.NDArray[np.float64]) -> Any:
    """Makes the table of the groups of more than one row.

    Args:
      rows: The rows.
      leaders: The row that represents each, int64 [rows].
      similarity: The cosine with it, float64 [rows].
    """
    import pyarrow as pa

    sizes = np.bincount(leaders, minlength=len(rows))
    large = np.flatnonzero(sizes > 1)
    numbers = np.full(len(rows), -1)
    numbers[large[np.lexsort((large, -sizes[large]))]] = np.arange(len(large))
    members = np.flatnonzero(sizes[leaders] > 1) if len(rows) else np.empty(0, np.int64)
    group, near = numbers[leaders[members]], similarity[members].astype(np.float32)
    keep = leaders[members] == members
    order = np.lexsort((members, -near, ~keep, group))
    members = members[order]
    return pa.table(
        {
            "group": pa.array(group[order], pa.int64()),
            "key": pa.array(
                [key.ljust(16, b"\0").hex() for key in rows.keys[members].tolist()], pa.string()
            ),
            "uri": rows.uris(members),
            "similarity": pa.array(near[order], pa.float32()),
            "keep": pa.array(keep[order], pa.bool_()),
        }
    )
