"""Drift, how far a run's features are from those of an earlier run of the same model."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.dataset.layout import HEALTH_FILE, dataset_of, run_directories
from image_features.pipeline.dataset.model_sections import Section, sections_in
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dataset.run import Run
from image_features.transforms.stores.files import open_plain
from image_features.transforms.stores.uris import redact_text

_LOG = logging.getLogger(__name__)
_GROUPS = 10
# Each group needs five expected rows, below which a chi-squared distribution says little (Cochran,
# "Some methods for strengthening the common chi-squared tests", Biometrics 10(4), 1954).
MIN_ROWS = 5 * _GROUPS
_CHANCE_ONE_SIDED = 3.0902  # Standard normal quantiles of 0.999 ...
_CHANCE_TWO_SIDED = 3.2905  # ... and 0.9995: one run of a thousand.
_LARGEST_DIFFERENCE = 10.0
_RUNS_LOOKED_AT = 100


@dataclasses.dataclass(frozen=True)
class Drift:
    """A run's features compared with an earlier run's.

    Attributes:
      run_id: The name of the earlier run.
      rows: The number of rows of the earlier run.
      psi: The population stability index of the vectors' norms.
      psi_by_chance: The value that the index exceeds in one of a thousand pairs of runs without
        drift.
      mean_difference: The mean over dimensions of the absolute standardised difference of means.
      mean_difference_by_chance: The value that this difference exceeds in one of a thousand such
        pairs.
    """

    run_id: str
    rows: int
    psi: float
    psi_by_chance: float
    mean_difference: float
    mean_difference_by_chance: float

    def exceeds(self, threshold: float) -> bool:
        """Tells whether a measure is beyond the threshold, and beyond what chance explains."""
        return self.psi > max(threshold, self.psi_by_chance) or self.mean_difference > max(
            threshold, self.mean_difference_by_chance
        )

    def to_json(self, threshold: float) -> dict[str, Any]:
        """The object `drift` of run.json."""
        return {
            "run_id": self.run_id,
            "rows": self.rows,
            "psi": self.psi,
            "psi_by_chance": self.psi_by_chance,
            "mean_difference": self.mean_difference,
            "mean_difference_by_chance": self.mean_difference_by_chance,
            "threshold": threshold,
            "drifted": self.exceeds(threshold),
        }

    def __str__(self) -> str:
        return (
            f"against the run {self.run_id} the norms have a stability index of {self.psi:.3g} "
            f"and the means differ by {self.mean_difference:.3g} deviations"
        )


def compare(health: Mapping[str, Any], earlier: Mapping[str, Any], run_id: str) -> Drift:
    """Compares two health files of one model, each of `MIN_ROWS` rows or more.

    The index is the sum over groups of (p - q) ln(p / q), with the groups at the tenths of the
    earlier run (Siddiqi, "Credit Risk Scorecards", Wiley 2006); half a row is added to each, so
    that none is empty. Without drift it is distributed as (1/n + 1/m) chi-squared of groups - 1
    degrees of freedom (Yurdakul and Naranjo, "Statistical properties of the population stability
    index", Journal of Risk Model Validation 14(4), 2020), whose quantile is that of Wilson and
    Hilferty ("The distribution of chi-square", PNAS 17(12), 1931).

    The difference of a dimension's means is in units of sqrt((s1^2 + s2^2) / 2) (Austin, "Balance
    diagnostics for comparing the distribution of baseline covariates ...", Statistics in Medicine
    28(25), 2009), 10 at most. Without drift it is normal of the variance 1/n + 1/m; dimensions
    go together, so that the bound of one is taken for the mean of all.

    Args:
      health: The new run's health.json.
      earlier: The earlier run's health.json.
      run_id: The name of the earlier run.
    """
    spread = 1 / health["rows"] + 1 / earlier["rows"]
    psi, groups = _stability(_counts(health), _counts(earlier))
    return Drift(
        run_id,
        earlier["rows"],
        psi,
        spread * _chi_squared_quantile(groups - 1),
        _mean_difference(health["dimensions"], earlier["dimensions"]),
        math.sqrt(spread) * _CHANCE_TWO_SIDED,
    )


def _counts(health: Mapping[str, Any]) -> dict[int, int]:
    histogram = health["norm_histogram"]
    return dict(enumerate(histogram["counts"], histogram["first"]))


def _stability(new: Mapping[int, int], old: Mapping[int, int]) -> tuple[float, int]:
    """Returns the index, and the number of groups that it was computed from."""
    bins = range(min([*new, *old]), max([*new, *old]) + 1)
    q = np.array([old.get(bin_, 0) for bin_ in bins], np.float64)
    p = np.array([new.get(bin_, 0) for bin_ in bins], np.float64)
    tenths = np.arange(1, _GROUPS) / _GROUPS * q.sum()
    # A bin that holds several tenths stays one group, such as where all vectors have one length.
    cuts = np.unique(np.searchsorted(np.cumsum(q), tenths)) + 1
    starts = np.unique([0, *cuts[cuts < len(q)]])
    p, q = np.add.reduceat(p, starts) + 0.5, np.add.reduceat(q, starts) + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q))), len(starts)


def _chi_squared_quantile(degrees: int) -> float:
    if degrees < 1:
        return 0.0
    part = 2 / (9 * degrees)
    return float(degrees * (1 - part + _CHANCE_ONE_SIDED * math.sqrt(part)) ** 3)


def _mean_difference(new: Mapping[str, Any], old: Mapping[str, Any]) -> float:
    differences = np.abs(np.subtract(new["mean"], old["mean"]))
    pooled = np.sqrt((np.square(new["std"]) + np.square(old["std"])) / 2)
    capped = np.full(len(differences), _LARGEST_DIFFERENCE)
    capped[differences == 0] = 0.0
    np.divide(differences, pooled, out=capped, where=pooled > 0)
    return float(np.minimum(capped, _LARGEST_DIFFERENCE).mean()) if len(capped) else 0.0


class Comparison(NamedTuple):
    """An attempt to compare a run with an earlier one.

    Attributes:
      drift: How far the features of each model are apart, if they could be compared.
      lacking: Why they could not; empty also where that was not asked for.
    """

    drift: Mapping[str, Drift] = types.MappingProxyType({})
    lacking: str = ""


def find(directory: str, provenance: Provenance, health: Mapping[str, Any]) -> Comparison:
    """Compares a run with the latest committed one beside it that can be compared.

    The two have the same model and preprocessing, and `MIN_ROWS` rows measured in each. A run
    that cannot be read is passed over with a warning: the comparison must not cost the commit.

    Args:
      directory: The directory of the new run.
      provenance: The sources of the new run's features.
      health: The content of the new run's health.json.
    """
    ours = sections_in(health)
    if (rows := _rows(ours)) < MIN_ROWS:
        return Comparison(lacking=f"the run has {rows} rows with features, below {MIN_ROWS}")
    try:
        for path in _latest_first(directory):
            found = _read(path, provenance)
            if found is not None:
                run_id, theirs = found
                return Comparison(
                    {name: compare(ours[name], theirs[name], run_id) for name in ours}
                )
    except Exception as error:  # Each file system has exceptions of its own.
        _LOG.warning("No earlier run could be compared: %s", error)
        return Comparison(lacking=f"no earlier run could be read ({redact_text(str(error))})")
    return Comparison(
        lacking=f"no earlier run of this model and preprocessing has {MIN_ROWS} rows with features"
    )


def _rows(health: Mapping[str, Section]) -> int:
    """Returns the number of rows, each of which every model has a vector of."""
    return int(next(iter(health.values()))["rows"])


def _latest_first(directory: str) -> Iterator[str]:
    written = run_directories(dataset_of(directory))
    paths = sorted(written, key=lambda path: (written[path], path), reverse=True)
    for path in paths[:_RUNS_LOOKED_AT]:
        if path != directory.rstrip("/"):
            yield path


def _read(path: str, provenance: Provenance) -> tuple[str, dict[str, Section]] | None:
    """Returns the name and health of a run, if it can be compared."""
    try:
        run = Run.read(path)
        if run is None or not run.files("health"):
            return None
        if not run.provenance.is_comparable(provenance):
            return None
        with open_plain(FileSystems.join(path, HEALTH_FILE)) as file:
            health = sections_in(json.loads(file.read()))
        return (run.run_id, health) if _rows(health) >= MIN_ROWS else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("The run in %s cannot be compared with: %s", path, error)
        return None
