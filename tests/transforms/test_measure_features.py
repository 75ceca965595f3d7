"""Statistics of features: the same whatever the bundles and the order of merging."""

import math

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from image_features.transforms import measure_features as health
from image_features.transforms.archives.framing import frame
from image_features.transforms.measure_features import (
    FeatureStatistics,
    MeasureFeatures,
    MergeStatistics,
)
from image_features.transforms.shards.example import serialize_example
from image_features.transforms.shards.pieces import write_piece
from image_features.transforms.shards.staging import StagedPiece
from image_features.transforms.shards.vectors import VectorField
from image_features.transforms.values import ImageFeatures, ImageRef

VALUES = st.floats(-1e6, 1e6, width=32)
# Long enough for all paths of NumPy's vectorised sums.
MATRICES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.sampled_from([1, 3, 8, 40, 200])),
    elements=VALUES,
    fill=st.sampled_from([0.0, -0.0, 1.0]),
)


def row(vector, name="a"):
    return ImageFeatures(ImageRef(name, name), vector, "", "png", 1, 1)


def measure(vectors):
    """What the DoFn makes of one bundle."""
    do_fn = health._MeasureDoFn((VectorField("", len(vectors[0]) if len(vectors) else 1),))
    do_fn.start_bundle()
    for vector in vectors:
        do_fn.process(row(vector))
    return [windowed.value for windowed in do_fn.finish_bundle()]


def assert_same(some, other):
    assert (some.rows, some.zero_rows) == (other.rows, other.zero_rows)
    for name in ("minima", "maxima", "norm_counts"):
        assert getattr(some, name).tobytes() == getattr(other, name).tobytes(), name
    scale = np.abs(other.means).max(initial=1.0)
    np.testing.assert_allclose(some.means, other.means, rtol=1e-6, atol=1e-6 * scale)
    assert math.isclose(some.norm_mean, other.norm_mean, rel_tol=1e-6)


@settings(deadline=None, max_examples=60)
@given(matrix=MATRICES, data=st.data())
def test_any_bundles_in_any_order_give_the_same(matrix, data):
    rows = data.draw(st.permutations(range(len(matrix))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(matrix)), max_size=5)))
    bundles = [
        matrix[list(rows[start:end])]
        for start, end in zip([0, *cuts], [*cuts, len(matrix)], strict=True)
    ]
    parts = [statistics for bundle in bundles for statistics in measure(bundle)]
    combine = MergeStatistics([VectorField("", matrix.shape[1])])
    one, two = combine.create_accumulator(), combine.create_accumulator()
    for part in parts:
        if data.draw(st.booleans()):
            one = combine.add_input(one, part)
        else:
            two = combine.add_input(two, part)
    whole = combine.extract_output(combine.merge_accumulators([two, one]))
    assert_same(whole[""], FeatureStatistics.of(matrix))


@settings(deadline=None, max_examples=60)
@given(matrix=MATRICES)
def test_they_are_numpys(matrix):
    statistics = FeatureStatistics.of(matrix)
    exact = matrix.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1)
    scale = np.abs(exact).max()
    np.testing.assert_allclose(statistics.means, exact.mean(0), rtol=1e-9, atol=1e-9 * scale)
    np.testing.assert_allclose(statistics.deviations, exact.std(0), rtol=1e-6, atol=1e-6 * scale)
    assert statistics.zero_rows == (matrix == 0).all(axis=1).sum()
    assert statistics.constant.tolist() == (np.ptp(matrix, axis=0) == 0).tolist()
    assert math.isclose(statistics.norm_mean, norms.mean(), rel_tol=1e-9)
    assert math.isclose(
        statistics.norm_deviation, norms.std(), rel_tol=1e-6, abs_tol=1e-6 * norms.max()
    )


def test_percentiles_are_right_to_half_a_bin():
    norms = np.random.default_rng(0).lognormal(size=5000)
    vectors = np.zeros((5000, 4), np.float32)
    vectors[:, 2] = norms
    statistics = FeatureStatistics.of(vectors)
    for percent in (1, 5, 50, 99):
        expected = np.percentile(vectors[:, 2], percent, method="inverted_cdf")
        assert abs(statistics.norm_percentile(percent) / expected - 1) < 0.011
    tiny_and_huge = FeatureStatistics.of(np.array([[0], [1e-30], [1], [3e38]], np.float32))
    assert [tiny_and_huge.norm_percentile(p) for p in (25, 50, 75)] == [0, 0, 1]
    assert tiny_and_huge.norm_percentile(100) > 1e6
    assert tiny_and_huge.norm_counts.sum() == 4


def test_vectors_of_unit_length_are_in_one_bin():
    vectors = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.count_nonzero(FeatureStatistics.of(vectors).norm_counts) == 1


@pytest.mark.parametrize("rows", [0, 1, 200])
def test_a_pipeline_gives_one_result(tmp_path, rows):
    matrix = np.random.default_rng(1).normal(size=(rows, 5)).astype(np.float32)
    others = matrix[:2] + 1
    # The odd rows are taken from the piece of an earlier attempt.
    pieces = []
    if rows > 1:
        records = [
            frame(
                serialize_example({"a": [b"image/features"], "image/features": vector, "z": [300]})
            )
            for vector in (matrix[0], others[0], matrix[1], others[1])
        ]
        write_piece(str(tmp_path / "piece"), [f"{i:032x}" for i in range(4)], records)
        chosen = np.array([1, 3], "<u4").tobytes()
        pieces = [StagedPiece(0, str(tmp_path / "piece"), {"": 2}, chosen)]

    def check(found):
        ((statistics,),) = (health.values() for health in found)
        if not rows:
            assert statistics.rows == 0 and not statistics.means.any()
            return
        every = np.concatenate([matrix, others[: 2 * len(pieces)]])
        assert_same(statistics, FeatureStatistics.of(every))

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        features = pipeline | "Rows" >> beam.Create([row(v, str(i)) for i, v in enumerate(matrix)])
        earlier = pipeline | "Pieces" >> beam.Create(pieces)
        assert_that(
            features | MeasureFeatures(vectors=[VectorField("", 5)], earlier=earlier), check
        )


def test_the_longest_bundle_is_one_element():
    (whole,) = measure(np.ones((health._BLOCK_ROWS * 3 + 1, 2), np.float32))
    statistics = whole[""]
    assert statistics.rows == health._BLOCK_ROWS * 3 + 1
    assert statistics.deviations.tolist() == [0, 0]
    assert measure([]) == []
