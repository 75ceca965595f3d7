"""MeasureFeatures: statistics of a run's features, made where these are.

Every bundle adds its vectors up where they come out of the model, and sends on one element of a
fixed size (24 bytes a dimension and 10 KiB); features themselves are neither kept nor shuffled.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from image_features.transforms.runtime.concurrency import in_global_window
from image_features.transforms.shards.pieces import merge_pieces
from image_features.transforms.shards.record_format import RECORDS, Record
from image_features.transforms.shards.staging import StagedPiece
from image_features.transforms.shards.vectors import VectorField, divided
from image_features.transforms.values import ImageFeatures

# Bins of norms are a 32nd of an octave (2.2 %) wide and centred at powers of 2^(1/32): vectors
# of unit length fall in the middle of one, not on both sides of an edge by their rounding.
BINS_PER_OCTAVE = 32
FIRST_BIN = -20 * BINS_PER_OCTAVE  # Vectors shorter than 2^-20 count in the bin before it.
_BINS = 40 * BINS_PER_OCTAVE + 1
_EDGES = np.exp2((FIRST_BIN + np.arange(_BINS + 1) - 0.5) / BINS_PER_OCTAVE)
_BLOCK_ROWS = 64  # The squares of so many in double precision stay in a core's cache.

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class FeatureStatistics:
    """Sums over feature vectors; those of parts merge to those of the whole, in any order.

    Exact, whatever the parts and their order: `rows`, `zero_rows`, `minima`, `maxima`,
    `norm_counts`. Sums are of double precision and rounded at every addition, so that their last
    digits depend on the parts: to a relative 2^-53 times the number of additions at worst.

    Attributes:
      rows: The number of vectors, all of them finite.
      zero_rows: The number of vectors that are 0 everywhere.
      sums: float64 [num_features], the sums of values.
      squares: float64 [num_features], the sums of squared values.
      minima: float32 [num_features], the least values; infinity without rows.
      maxima: float32 [num_features], the largest values; minus infinity without rows.
      norms: The sum of the vectors' L2 norms.
      norm_counts: int64 [bins], the number of vectors by bin of their norm; bin 0 has all that are
        shorter than the first bin, the last one all that are longer.
    """

    rows: int
    zero_rows: int
    sums: Floats
    squares: Floats
    minima: npt.NDArray[np.float32]
    maxima: npt.NDArray[np.float32]
    norms: float
    norm_counts: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, num_features: int) -> FeatureStatistics:
        """Returns the statistics of no vectors."""
        return cls(
            0,
            0,
            np.zeros(num_features),
            np.zeros(num_features),
            np.full(num_features, np.inf, np.float32),
            np.full(num_features, -np.inf, np.float32),
            0.0,
            np.zeros(_BINS + 2, np.int64),
        )

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32]) -> FeatureStatistics:
        """Returns the statistics of some vectors, float32 [rows, num_features]."""
        values = vectors.astype(np.float64)
        sums = values.sum(axis=0)
        np.square(values, out=values)
        norms = np.sqrt(values.sum(axis=1))
        bins = np.searchsorted(_EDGES, norms, side="right")
        return cls(
            len(vectors),
            int(np.count_nonzero(norms == 0)),
            sums,
            values.sum(axis=0),
            # 0 and -0 are equal, and which one is found depends on the order: both become 0.
            vectors.min(axis=0) + np.float32(0),
            vectors.max(axis=0) + np.float32(0),
            float(norms.sum()),
            np.bincount(bins, minlength=_BINS + 2),
        )

    @classmethod
    def merged(cls, parts: Sequence[FeatureStatistics]) -> FeatureStatistics:
        """Returns the statistics of all vectors of the parts; there must be at least one part."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            sum(part.rows for part in parts),
            sum(part.zero_rows for part in parts),
            sum((part.sums for part in parts[1:]), parts[0].sums),
            sum((part.squares for part in parts[1:]), parts[0].squares),
            np.min([part.minima for part in parts], axis=0),
            np.max([part.maxima for part in parts], axis=0),
            math.fsum(part.norms for part in parts),
            sum((part.norm_counts for part in parts[1:]), parts[0].norm_counts),
        )

    @property
    def means(self) -> Floats:
        """The means by dimension, of a constant dimension its value; 0 without rows."""
        means = self.sums / max(1, self.rows)
        return np.where(self.constant & (self.rows > 0), self.minima, means)

    @property
    def deviations(self) -> Floats:
        """The standard deviations by dimension, with n as the divisor; 0 without rows.

        They come from sums of squares: a deviation below a hundred-millionth of the mean is noise
        of rounding. Of a constant dimension it is 0.
        """
        variances = self.squares / max(1, self.rows) - self.means**2
        return np.where(self.constant, 0.0, np.sqrt(np.maximum(variances, 0.0)))

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Whether all vectors are equal in a dimension, bool [num_features]."""
        return self.minima >= self.maxima

    @property
    def norm_mean(self) -> float:
        """The mean of the L2 norms; 0 without rows."""
        return self.norms / max(1, self.rows)

    @property
    def norm_deviation(self) -> float:
        """The standard deviation of the L2 norms; 0 without rows."""
        return math.sqrt(
            max(0.0, float(self.squares.sum()) / max(1, self.rows) - self.norm_mean**2)
        )

    def norm_percentile(self, percent: float) -> float:
        """Returns a percentile of the L2 norms, right to half a bin (1.1 %); 0 without rows.

        It is the centre of the bin that holds the row of that rank (the inverse of the empirical
        distribution function: type 1 of Hyndman and Fan, "Sample quantiles in statistical
        packages", The American Statistician 50(4), 1996).
        """
        rank = max(1, math.ceil(percent / 100 * self.rows))
        bin_ = int(np.searchsorted(np.cumsum(self.norm_counts), rank))
        if not self.rows or bin_ == 0:
            return 0.0
        return float(2.0 ** ((FIRST_BIN + bin_ - 1) / BINS_PER_OCTAVE))


# The statistics of each model's vectors, by the model's name.
Health = dict[str, FeatureStatistics]


class MeasureFeatures(beam.PTransform):
    """ImageFeatures to one Health of all of them, also where there are none.

    Args:
      vectors: The fields that a row's features are divided among.
      earlier: A PCollection[StagedPiece] of rows that an earlier attempt at the run has written,
        which are measured too; None for none.
    """

    def __init__(self, *, vectors: Sequence[VectorField], earlier: Any = None) -> None:
        super().__init__()
        self._vectors = tuple(vectors)
        self._earlier = earlier

    def expand(self, features: Any) -> Any:
        parts = [features | "MeasureBundles" >> beam.ParDo(_MeasureDoFn(self._vectors))]
        if self._earlier is not None:
            parts.append(
                self._earlier | "MeasureEarlier" >> beam.Map(_measure_piece, self._vectors)
            )
        return (
            parts
            | "CollectStatistics" >> beam.Flatten()
            | "MergeStatistics" >> beam.CombineGlobally(MergeStatistics(self._vectors))
        )


class MergeStatistics(beam.CombineFn):
    """Merges the Health of parts to that of the whole."""

    def __init__(self, vectors: Sequence[VectorField]) -> None:
        self._vectors = tuple(vectors)

    def create_accumulator(self) -> Health:
        return {field.model: FeatureStatistics.empty(field.width) for field in self._vectors}

    def add_input(self, accumulator: Health, part: Health) -> Health:
        return merged(accumulator, part)

    def merge_accumulators(self, accumulators: Iterable[Health]) -> Health:
        whole = self.create_accumulator()
        for accumulator in accumulators:  # There may be thousands, too many for memory at once.
            whole = merged(whole, accumulator)
        return whole

    def extract_output(self, accumulator: Health) -> Health:
        return accumulator


class _MeasureDoFn(beam.DoFn):
    """Adds up the vectors of a bundle, block by block."""

    def __init__(self, vectors: tuple[VectorField, ...]) -> None:
        self._vectors = vectors

    def start_bundle(self) -> None:
        self._rows: list[npt.NDArray[np.float32]] = []
        self._whole: Health = {}

    def process(self, row: ImageFeatures) -> None:
        self._rows.append(row.features)
        if len(self._rows) >= _BLOCK_ROWS:
            self._add()

    def finish_bundle(self) -> Iterator[Any]:
        if self._rows:
            self._add()
        if self._whole:
            yield in_global_window(self._whole)
        self._whole = {}

    def _add(self) -> None:
        parts = divided(np.stack(self._rows), self._vectors)
        self._rows = []
        block = {field.model: FeatureStatistics.of(part) for field, part in parts}
        self._whole = merged(self._whole, block)


def merged(whole: Health, part: Health) -> Health:
    """Returns the statistics of two parts together, model by model; the first may be empty."""
    return {
        model: FeatureStatistics.merged([*([whole[model]] if whole else []), statistics])
        for model, statistics in part.items()
    }


def health_of(records: Sequence[Record], vectors: Sequence[VectorField]) -> Health:
    """Returns the statistics of the vectors of some rows, at least one."""
    return {field.model: FeatureStatistics.of(field.of(records)) for field in vectors}


def _measure_piece(piece: StagedPiece, vectors: tuple[VectorField, ...]) -> Health:
    """Returns the statistics of the rows that are taken from a piece, at least one."""
    rows = io.BytesIO()
    chosen = np.frombuffer(piece.chosen, "<u4") if piece.chosen else None
    merge_pieces([piece.path], rows.write, [chosen])
    rows.seek(0)
    records = [RECORDS.parse(payload) for payload in RECORDS.payloads(rows)]
    return health_of(records, vectors)
