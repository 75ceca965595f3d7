"""The dataset that stands for a billion rows, and what is done with it."""

from __future__ import annotations

import pathlib

import pytest

from benchmarks import billion_bill, billion_dataset
from benchmarks.billion_cases import CASES
from image_features.pipeline.dataset import file_list
from image_features.pipeline.dataset.run import committed_runs


@pytest.fixture(params=[10_000, 3], ids=["within", "beside"])
def dataset(tmp_path: pathlib.Path, request, monkeypatch) -> str:
    monkeypatch.setattr(file_list, "MOST_IN_JSON", request.param)
    monkeypatch.setattr(billion_dataset, "_MOST_NAMES", 5)
    billion_dataset.write(tmp_path / "d", shards=6, runs=2, rows=10)
    return str(tmp_path / "d")


def test_it_is_a_dataset_in_which_everything_is_there(dataset: str) -> None:
    runs = committed_runs(dataset)
    assert [run.run_id for run in runs] == ["night-001", "night-000"]
    for run in runs:
        assert len(run.files()) == 3 and run.rows == 30
        for file in run.all_files:
            assert pathlib.Path(run.path(file)).stat().st_size == file.bytes
    digests = [file.sha256 for run in runs for file in run.files()]
    assert len(set(digests)) == 5  # The first of each run is the true one.


def test_each_case_looks_at_all_of_it(dataset: str) -> None:
    found = {name: CASES[name](dataset) for name in CASES if name != "load"}
    assert found["read"] == "60 rows, 6 shards"
    assert found["incremental"].startswith("6 files, graph of 0.")
    assert found["compact"].startswith("3 shards, graph of 0.")
    assert found["gc"] == "0 found"
    assert found["masks"] == "20 keys"
    assert found["report"] == "10 rows"
    assert found["commit"].startswith("6 shards, ")


def test_the_bill_adds_up(capsys) -> None:
    billion_bill.main(["--rows=1000000", "--images_per_shard=10000"])
    told = capsys.readouterr().out
    assert "images read" in told and "0.40" in told and "0.05" in told
