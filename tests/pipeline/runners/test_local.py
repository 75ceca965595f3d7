"""Engines from the command line: equal features, no TensorFlow where none is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from image_features.models.verify import compare
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run
from tests import images

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def photos(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir()
    for i in range(21):
        data = images.encode(images.noise(i), quality=90)
        (directory / f"{i:02d}.jpg").write_bytes(data)
    return directory


def test_both_engines_give_the_same_features(extract, photos):
    arrays, models = {}, {}
    for engine in ("auto", "tensorflow"):
        run = extract(photos, f"--engine={engine}", "--batch_size=8", run_id=engine)
        arrays[engine] = dataset.load_numpy(str(run))
        models[engine] = latest_run(str(run)).record["model"]
    assert models["auto"]["engine"] == "litert"
    assert models["auto"]["max_cosine_difference"] < 1e-5
    assert models["tensorflow"]["engine"] == "tensorflow"
    assert list(arrays["auto"].keys) == list(arrays["tensorflow"].keys)
    rows = np.arange(21).astype(np.uint8)
    difference = compare(
        lambda _: arrays["auto"].features, lambda _: arrays["tensorflow"].features, rows
    )
    assert difference.max_cosine <= 1e-5
    assert difference.max_relative <= 1e-3


def test_int8_is_recorded_with_its_accuracy(extract, photos):
    run = extract(photos, "--precision=int8")
    model = latest_run(str(run)).record["model"]
    assert (model["engine"], model["precision"]) == ("litert", "int8")
    assert 0 < model["max_cosine_difference"] < 0.1


def test_int8_on_tensorflow_is_a_bad_argument(extract, photos, capsys):
    extract(photos, "--precision=int8", "--engine=tensorflow", code=2)
    assert "does not run int8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "mode", ["in_memory", pytest.param("multi_processing", marks=pytest.mark.slow)]
)
def test_a_compiled_model_needs_no_tensorflow(extract, photos, tmp_path, mode):
    """Neither launcher nor workers: with TensorFlow broken, a warm cache is enough."""
    cached = extract(photos, "--num_shards=1", run_id="cached")
    broken = tmp_path / "broken" / "tensorflow"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('TensorFlow was imported')")
    environment = {**os.environ, "PYTHONPATH": f"{broken.parent}{os.pathsep}{ROOT}"}
    arguments = ["extract", "--model=untrained", f"--input={photos}", f"--output={tmp_path}/out"]
    arguments += ["--run_id=fresh", "--num_shards=1"]
    if mode != "in_memory":
        arguments += [f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    done = subprocess.run(
        [sys.executable, "-m", "image_features", *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    name = "features-00000-of-00001.tfrecord"
    assert (tmp_path / "out" / "fresh" / name).read_bytes() == (cached / name).read_bytes()


def test_a_profile_says_where_the_time_went(photos, tmp_path, capsys):
    code = cli.main(
        [
            "extract",
            "--model=untrained",
            f"--input={photos}",
            f"--output={tmp_path}/out",
            f"--profile={tmp_path}/profile",
        ]
    )
    assert code == 0
    recorded = json.loads((tmp_path / "profile" / "stages.json").read_text())
    stages = recorded["stages"]
    assert {name: stages[name]["calls"] for name in ("fetch", "decode", "extract")} == {
        "fetch": 21,
        "decode": 21,
        "extract": 1,
    }
    assert all(0 <= stage["seconds"] < 4 * recorded["wall_seconds"] for stage in stages.values())
    assert "mean ms" in capsys.readouterr().out
    assert "<svg" in (tmp_path / "profile" / "flame.svg").read_text()


def test_a_profile_needs_its_profiler(extract, photos, monkeypatch, capsys):
    monkeypatch.setattr("image_features.pipeline.launch.profile._profiler", lambda: None)
    extract(photos, "--profile=x", code=2)
    assert "install the extra [profile]" in capsys.readouterr().err
