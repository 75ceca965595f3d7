from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest

from benchmarks.synthetic import COSINES, Likeness, Planted, at_cosines, write
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from image_features.transforms.shards.index import INDEX_KIND, read_index
from tests import datasets

_OLD_RUN = "v0_1/image-features-v0_1/compacted/night-1"
_ROWS, _PLANTED = 120, Planted(originals=10, near=25, same=12, zeros=3)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Any committed run will do, and it saves an extraction."""
    run = tmp_path_factory.mktemp("template") / "run"
    shutil.copytree(pathlib.Path(__file__).parents[1] / "data" / _OLD_RUN, run)
    datasets.rewrite(run, lambda record: record.update(columns=[]))
    return run


def test_drawn_vectors_have_the_mean_and_covariance_of_photographs() -> None:
    generator = np.random.default_rng(1)
    features = generator.gamma(2, 1, (30, 8)).astype(np.float32)
    drawn = Likeness.of(features).draw(200_000, np.random.default_rng(2))
    assert np.allclose(drawn.mean(axis=0), features.mean(axis=0), atol=0.05)
    covariance = 0.95 * np.cov(features.T) + 0.05 * np.diag(features.var(axis=0, ddof=1))
    assert np.allclose(np.cov(drawn.T), covariance, atol=0.1)


def test_vectors_are_turned_to_given_cosines_and_keep_their_lengths() -> None:
    generator = np.random.default_rng(3)
    vectors, others = generator.standard_normal((2, 20, 64)).astype(np.float32)
    cosines = np.linspace(0.5, 1, 20, dtype=np.float32)
    turned = at_cosines(vectors, others, cosines)
    lengths = np.linalg.norm(vectors, axis=1), np.linalg.norm(turned, axis=1)
    assert np.allclose(*lengths, rtol=1e-5)
    assert np.allclose(np.sum(vectors * turned, axis=1) / lengths[0] ** 2, cosines, atol=1e-6)


def test_every_original_meets_several_cosines() -> None:
    planted = Planted(originals=len(COSINES), near=2 * len(COSINES), same=0, zeros=0)
    likeness = Likeness.of(np.random.default_rng(4).random((30, 16), np.float32))
    vectors = planted.vectors(likeness, np.random.default_rng(5)).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    originals, first, second = np.split(vectors, 3)
    found = [np.sum(originals * near, axis=1) for near in (first, second)]
    assert np.allclose(sorted(found[0]), COSINES, atol=1e-5)
    assert np.allclose(sorted(found[1]), COSINES, atol=1e-5)
    assert (np.abs(found[0] - found[1]) > 1e-4).all()


def test_a_dataset_is_whole_and_has_what_was_planted(
    template: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(template, tmp_path / "dataset", _ROWS, _PLANTED)
    assert cli.main(["inspect", str(tmp_path / "dataset")]) == 0
    assert "every checksum" in capsys.readouterr().out
    arrays = reading.load_numpy(str(run))
    assert len(set(arrays.keys)) == _ROWS
    order = np.argsort(arrays.uris.astype(str))  # It is the order of the rows' numbers.
    vectors = arrays.features[order]
    assert len(np.unique(vectors[: _PLANTED.originals + _PLANTED.near], axis=0)) == 35
    assert (vectors[35:47] == vectors[np.arange(12) % 10]).all()
    assert not vectors[47:50].any() and vectors[50:].any(axis=1).all()
    [entry] = [file for file in datasets.record_of(run)["files"] if file["kind"] == INDEX_KIND]
    table = read_index(str(run / entry["name"]), ["uri", "sha256"]).sort_by("uri")
    assert len(set(table["sha256"].to_pylist())) == _ROWS - _PLANTED.same
    hashes = table["sha256"].to_pylist()
    assert hashes[35:47] == [hashes[number % 10] for number in range(12)]


def test_a_dataset_is_the_same_every_time(template: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first, again, other = (
        reading.load_numpy(str(write(template, tmp_path / name, _ROWS, _PLANTED, seed=seed)))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert (first.features == again.features).all() and (first.keys == other.keys).all()
    assert (first.features != other.features).any()
