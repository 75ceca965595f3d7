"""Runs that die and are taken up again: the result is an undisturbed run's."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run, read_record
from image_features.transforms.shards.pieces import PART_SUFFIX, read_keys
from tests import images, runs

ROWS = 1500


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    directory = tmp_path_factory.mktemp("images")
    for i in range(30):
        (directory / f"{i}.jpg").write_bytes(images.encode(images.noise(i, width=200, height=200)))
    (directory / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    rows = []
    for i in range(ROWS):
        os.link(directory / f"{i % 30}.jpg", directory / f"copy-{i}.jpg")
        rows.append(str(directory / f"copy-{i}.jpg"))
    path = directory / "m.txt"
    path.write_text("\n".join([*rows, str(directory / "broken.jpg"), rows[0]]))
    return path


def command(manifest, output, *options):
    return [
        sys.executable,
        "-m",
        "image_features",
        "extract",
        "--model=untrained",
        f"--input={manifest}",
        f"--output={output}",
        "--run_id=run",
        "--num_shards=20",
        *options,
    ]


def extract(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120)


def contents(output):
    return read_record(str(output / "run"))["counts"], runs.shard_files(str(output / "run"))


def killed(manifest, output, pieces):
    """Kills a run when it has left so many pieces more; returns whether it was in time."""
    staging = output / "run" / ".staging"

    def count():
        return sum(len(list(place.iterdir())) for place in staging.glob("features-*"))

    before = count()
    process = subprocess.Popen(command(manifest, output), stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and count() < before + pieces:
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_undisturbed(manifest, tmp_path):
    assert extract(manifest, tmp_path / "calm").returncode == 0
    chance = random.Random(time.time_ns())
    kills = sum(killed(manifest, tmp_path / "out", chance.randint(0, 4)) for _ in range(5))
    assert kills
    done = extract(manifest, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert inspection.verify(latest_run(str(tmp_path / "out"))) == []
    assert contents(tmp_path / "out") == contents(tmp_path / "calm")
    assert contents(tmp_path / "out")[0]["duplicates"] == 1
    assert len(set(dataset.load_numpy(str(tmp_path / "out")).uris)) == ROWS
    assert not (tmp_path / "out" / "run" / ".staging").exists()


def events(error, name):
    lines = [json.loads(line) for line in error.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == name]


@pytest.mark.slow
def test_what_was_made_is_not_made_again(manifest, tmp_path):
    while not killed(manifest, tmp_path / "out", 12):
        pytest.fail("The run was over before it could be killed.")
    pieces = (tmp_path / "out" / "run" / ".staging").glob("features-*/*")
    made = {key for piece in pieces if piece.suffix != PART_SUFFIX for key in read_keys(str(piece))}
    done = extract(manifest, tmp_path / "out", "--log_format=json")
    assert done.returncode == 0, done.stderr
    assert "Takes up the run run" in done.stderr
    kept = events(done.stderr, "taken_over")
    assert sum(event["rows"] for event in kept) == len(made) > 0
    again = extract(manifest, tmp_path / "out")
    assert again.returncode == 0
    assert again.stdout.strip() == f"{tmp_path}/out/run is committed already."
    assert again.stderr.count("\n") <= 1


@pytest.mark.slow
@pytest.mark.parametrize("committed", [False, True])
def test_another_job_does_not_take_a_runs_place(manifest, tmp_path, committed):
    if committed:
        assert extract(manifest, tmp_path / "out").returncode == 0
    else:
        assert killed(manifest, tmp_path / "out", 2)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    other = extract(manifest, tmp_path / "out", "--resize=pad")
    assert other.returncode == 2
    says = "committed" if committed else "begun"
    assert f"was {says} with another input, model, input range or preprocessing" in other.stderr
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert before == after
