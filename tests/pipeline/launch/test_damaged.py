"""What a crash or a loss of power may leave of a run that is not committed: it is taken up."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests import datasets, images, runs


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of two shards that a guard has stopped, so that nothing is lacking but run.json."""
    place = tmp_path_factory.mktemp("stopped")
    photos = images.write_noise(place / "photos", 9)
    whole = datasets.extract(photos, place / "whole", "run", "--num_shards=2")
    options = ("--num_shards=2", "--max_error_rate=0")
    datasets.extract(photos, place / "out", "run", *options, code=5)
    assert len(datasets.files(place / "out")) > 10
    return photos, place / "out", runs.shard_files(str(whole))


def _empty(path: Path, stream: random.Random) -> None:
    os.truncate(path, 0)


def _cut(path: Path, stream: random.Random) -> None:
    os.truncate(path, stream.randrange(path.stat().st_size + 1))


def _zeros(path: Path, stream: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _noise(path: Path, stream: random.Random) -> None:
    path.write_bytes(stream.randbytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("damage", "share"), [(_empty, 1.0), (_cut, 0.5), (_zeros, 1.0), (_noise, 0.5)]
)
def test_whatever_a_crash_has_spoiled_the_run_is_taken_up(stopped, tmp_path, damage, share):
    photos, left, expected = stopped
    shutil.copytree(left, tmp_path / "out")
    stream = random.Random(f"{damage.__name__} {share}")
    for name in datasets.files(tmp_path / "out"):
        if stream.random() < share:
            damage(tmp_path / "out" / name, stream)
    run = datasets.extract(photos, tmp_path / "out", "run", "--num_shards=2")
    assert runs.shard_files(str(run)) == expected
    assert not (run / ".staging").exists()
