"""What a report says about a dataset, in one pass over its rows and in bounded memory.

Rows are sampled by their keys, which are hashes: those with the smallest are a fair and repeatable
sample, the same images in every run.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.records import Block, Floats
from image_features.pipeline.dataset.run import Run, comparable, unreplaced
from image_features.pipeline.report.feature_map import FeatureMap, draw_map
from image_features.pipeline.search.nearest import near_duplicates, neighbours, unit
from image_features.transforms.shards.record_format import Record
from image_features.transforms.stores.files import read_lines
from image_features.transforms.values import Scalar

NEAR_DUPLICATE = 0.999
_STRIPS = 10
_STRIP_LENGTH = 7
_GROUPS = 12
_COLUMNS = 8
_TEXT = 300
_ERROR_SAMPLES = 3
_ERROR_LINES = 100_000


@dataclasses.dataclass(frozen=True)
class Row:
    """A sampled image: what its record says, without the vector."""

    key: str
    uri: str
    format: str
    width: int
    height: int
    run_id: str
    columns: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Health:
    """A run's vectors in figures.

    Attributes:
      run_id: Which run.
      rows: How many.
      not_finite: Rows that hold NaN or infinity.
      zeros: Rows that are all zero.
      constant: Dimensions that never change.
      num_features: Dimensions.
      norms: Lengths of the sampled vectors.
      formats: Images by format.
      sides: Images by the longer side: by the power of two that it does not reach.
      ratios: Images by width to height, in steps of a tenth of a doubling.
    """

    run_id: str
    rows: int
    not_finite: int
    zeros: int
    constant: int
    num_features: int
    norms: Floats
    formats: Mapping[str, int]
    sides: Mapping[int, int]
    ratios: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class Failures:
    """One reason's error rows in the latest run, and some of them as (URI, message)."""

    reason: str
    count: int
    samples: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """All of a page's content but the thumbnails.

    Attributes:
      path: The dataset's.
      runs: The latest first.
      current: Rows that readers see.
      others: How many of them have vectors that cannot be compared with the latest's.
      failures: Of the latest run.
      health: Of the latest run, and of the one before it if that can be compared.
      shared: Sampled images that both have, and the least and mean cosine of their vectors.
      rows: The sample over all comparable runs.
      map: Where the sample's rows lie in two dimensions.
      strips: Rows, each with its nearest others and their cosines.
      groups: Rows that are nearly the same; the largest groups.
      grouped: How many sampled rows are in any such group.
    """

    path: str
    runs: tuple[Run, ...]
    current: int
    others: int
    failures: tuple[Failures, ...]
    health: tuple[Health, ...]
    shared: tuple[int, float, float] | None
    rows: tuple[Row, ...]
    map: FeatureMap
    strips: tuple[tuple[int, tuple[tuple[int, float], ...]], ...]
    groups: tuple[tuple[int, ...], ...]
    grouped: int


def gather(path: str, runs: Sequence[Run], max_points: int) -> Report:
    """Reads the rows of a dataset once.

    Args:
      path: The dataset's.
      runs: The latest first.
      max_points: Rows to sample.

    Raises:
      ValueError: a shard is not as it was written.
    """
    current = unreplaced(runs)
    latest = LatestRows(comparable(current))
    everything = _Sample(max_points)
    # Of the latest two runs each on its own.
    tallies = {run.directory: (_Tally(run), _Sample(max_points)) for run in latest.runs[:2]}
    for block, seen in latest.blocks():
        everything.add(block.only(seen))
        if block.run.directory in tallies:
            for whole in tallies[block.run.directory]:
                whole.add(block)
    health = [tally.health(sample) for tally, sample in tallies.values()]
    samples = [sample for _, sample in tallies.values()]
    vectors = unit(everything.features)
    groups = near_duplicates(vectors, NEAR_DUPLICATE)
    return Report(
        path=path,
        runs=tuple(runs),
        current=latest.rows(),
        others=len(current) - len(latest.runs),
        failures=_failures(current[0]),
        health=tuple(health),
        shared=_shared(*samples) if len(samples) == 2 else None,
        rows=tuple(everything.rows()),
        map=draw_map(vectors),
        strips=tuple(
            (row, neighbours(vectors, row, _STRIP_LENGTH))
            for row in range(min(_STRIPS, len(vectors)))
        ),
        groups=tuple(groups[:_GROUPS]),
        grouped=sum(map(len, groups)),
    )


class _Sample:
    """The rows with the smallest keys; of a key that comes twice the first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.keys = np.empty(0, "S16")
        self.features: Floats = np.empty((0, 0), np.float32)
        self._records: list[tuple[Run, Record]] = []

    def add(self, block: Block) -> None:
        wanted = ~np.isin(block.keys, self.keys)
        if len(self.keys) == self._size:
            wanted &= block.keys < self.keys[-1]
        rows = np.flatnonzero(wanted)
        if not len(rows):
            return
        keys = np.concatenate([self.keys, block.keys[rows]])
        order = np.argsort(keys, kind="stable")[: self._size]
        features = [self.features, block.features[rows]] if len(self.keys) else [block.features]
        self.features = np.concatenate(features)[order]
        records = [*self._records, *((block.run, block.records[int(row)]) for row in rows)]
        self._records = [records[int(i)] for i in order]
        self.keys = keys[order]

    def rows(self) -> list[Row]:
        return [_row(run, record) for run, record in self._records]


class _Tally:
    """Counts over all rows of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows = self._not_finite = self._zeros = 0
        width = run.num_features
        self._low = np.full(width, np.inf, np.float32)
        self._high = np.full(width, -np.inf, np.float32)
        self._formats: Counter[str] = Counter()
        self._sides: Counter[int] = Counter()
        self._ratios: Counter[int] = Counter()

    def add(self, block: Block) -> None:
        low, high = block.features.min(axis=1), block.features.max(axis=1)
        finite = np.isfinite(low) & np.isfinite(high)
        self._rows += len(finite)
        self._not_finite += int((~finite).sum())
        self._zeros += int(((low == 0) & (high == 0)).sum())
        sound = block.features if finite.all() else block.features[finite]
        self._low = np.minimum(self._low, sound.min(axis=0, initial=np.inf))
        self._high = np.maximum(self._high, sound.max(axis=0, initial=-np.inf))
        self._formats.update(record.text("image/format") for record in block.records)
        for record in block.records:
            width, height = record.number("image/width"), record.number("image/height")
            if width > 0 and height > 0:
                self._sides[max(width, height).bit_length()] += 1
                self._ratios[round(10 * math.log2(width / height))] += 1

    def health(self, sample: _Sample) -> Health:
        lengths = np.linalg.norm(sample.features, axis=1)
        return Health(
            run_id=self._run.run_id,
            rows=self._rows,
            not_finite=self._not_finite,
            zeros=self._zeros,
            constant=int((self._low == self._high).sum()),
            num_features=len(self._low),
            norms=cast(Floats, lengths[np.isfinite(lengths)]),
            formats=dict(self._formats),
            sides=dict(sorted(self._sides.items())),
            ratios=dict(sorted(self._ratios.items())),
        )


def _row(run: Run, record: Record) -> Row:
    columns = tuple(
        (column.name[:_TEXT], ", ".join(map(_shown, record.column_items(column)))[:_TEXT])
        for column in run.columns[:_COLUMNS]
    )
    return Row(
        record.text("image/key"),
        record.text("image/uri"),
        record.text("image/format"),
        record.number("image/width"),
        record.number("image/height"),
        run.run_id,
        columns,
    )


def _shown(item: Scalar) -> str:
    if isinstance(item, bytes):
        return f"{len(item)} bytes"
    return f"{item:.6g}" if isinstance(item, float) else str(item)


def _failures(run: Run) -> tuple[Failures, ...]:
    counts = run.counts.failed_by_reason
    samples: dict[str, list[tuple[str, str]]] = {reason: [] for reason in counts}
    missing, lines = _ERROR_SAMPLES * len(counts), 0
    for shard in run.files("errors"):
        if not shard.rows or not missing:
            continue
        for line in read_lines(run.path(shard)):
            error = json.loads(line)
            found = samples.setdefault(error["reason"], [])
            if len(found) < _ERROR_SAMPLES:
                found.append((str(error["uri"])[:2000], str(error["message"])[:2000]))
                missing -= 1
            lines += 1
            if not missing or lines > _ERROR_LINES:
                break
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Failures(name, count, tuple(samples[name])) for name, count in ordered)


def _shared(latest: _Sample, before: _Sample) -> tuple[int, float, float] | None:
    _, ours, theirs = np.intersect1d(latest.keys, before.keys, return_indices=True)
    if not len(ours):
        return None
    cosines = (unit(latest.features[ours]) * unit(before.features[theirs])).sum(axis=1)
    return len(ours), float(cosines.min()), float(cosines.mean())
