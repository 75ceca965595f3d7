"""The measures of drift."""

import dataclasses

import numpy as np
import pytest

from image_features.pipeline.commit import drift
from image_features.pipeline.commit.descriptions import health_document
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset.run import Run
from image_features.transforms.measure_features import FeatureStatistics
from tests import runs
from tests.runs import ERRORS, FEATURES, INDEX


def measure(new, old):
    return drift.compare(health_document({"": new}), health_document({"": old}), "before")


def test_the_measures_are_what_they_are_said_to_be():
    """Two normal distributions of norms that lie apart by d have an index of d squared."""
    rng = np.random.default_rng(0)
    one, two = (
        FeatureStatistics.of(np.float32(100 + 5 * rng.normal(size=(200_000, 1)) + move))
        for move in (0, 2.5)
    )
    found = measure(two, one)
    assert found.mean_difference == pytest.approx(0.5, abs=0.01)
    # Ten groups see a little less than the whole distributions.
    assert 0.2 < found.psi < 0.25
    assert measure(one, two).mean_difference == pytest.approx(found.mean_difference)


@pytest.mark.parametrize("rows", [drift.MIN_ROWS, 200, 5000])
def test_chance_is_not_drift(rows):
    false = 0
    for seed in range(300):
        found = measure(runs.health(seed, rows), runs.health(1000 + seed, rows))
        false += found.exceeds(1e-9)
    assert false <= 4


@pytest.mark.parametrize(("shift", "scale"), [(0.5, 1), (-0.5, 1), (0, 2)])
def test_drift_is_seen(shift, scale):
    assert measure(runs.health(1, 2000, shift, scale), runs.health(2)).exceeds(0.25)


def test_vectors_that_do_not_vary_can_be_compared():
    ones = FeatureStatistics.of(np.ones((100, 3), np.float32))
    twos = FeatureStatistics.of(np.full((100, 3), 2, np.float32))
    same = measure(ones, ones)
    assert (same.psi, same.mean_difference) == (0, 0)
    assert measure(twos, ones).exceeds(5) and measure(twos, ones).mean_difference == 10


def test_each_model_drifts_for_itself(tmp_path):
    """The latest run of the same models is compared with, name by name."""
    committed = {}
    for night, moved in ("1", 0.0), ("2", 2.0):
        (tmp_path / night / ".staging").mkdir(parents=True)
        config = runs.config(str(tmp_path / night))
        (model,) = config.provenance.models.values()
        made = dataclasses.replace(config.provenance, models={"b": model, "a": model})
        health = {"b": runs.health(int(night), shift=moved), "a": runs.health(10 + int(night))}
        config = dataclasses.replace(config, provenance=made)
        committed[night] = runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1, health)
    assert committed["1"]["drift"] is None
    drifts = committed["2"]["drift"]["models"]
    assert {name: found["drifted"] for name, found in drifts.items()} == {"b": True, "a": False}
    run = Run.read(str(tmp_path / "2"))
    told = [line for line in inspection.summarize(run) if line.startswith("drift")]
    assert [line.split(",")[0] for line in told] == ["drift     b: YES", "drift     a: no"]
