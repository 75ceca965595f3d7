"""What a job tells: its log, its exit code, and what it cannot be asked for."""

import json
import subprocess
import sys

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.launch import job
from tests import images


@pytest.fixture
def photos(tmp_path):
    return images.write_noise(tmp_path / "photos", 9)


def arguments(photos, tmp_path, *options):
    places = [f"--input={photos}", f"--output={tmp_path}/out", "--run_id=run", "--num_shards=2"]
    return ["extract", "--model=untrained", *places, *options]


@pytest.mark.parametrize(("budget", "code"), [("0.1", 0), ("0.09", 3), ("0", 3)])
def test_an_error_budget_is_judged_after_the_commit(photos, tmp_path, capsys, budget, code):
    options = arguments(photos, tmp_path, f"--error_budget={budget}")
    assert cli.main(options) == code
    assert (tmp_path / "out" / "run" / "run.json").exists()
    says = f"1 of 10 rows failed (10.00%), more than --error_budget={float(budget):g} allows"
    assert (says in capsys.readouterr().err) == (code == 3)


def test_what_waits_for_known_rows_does_not_pile_up(tmp_path):
    left = tmp_path / "waiting" / "sheaf-0"
    left.parent.mkdir()
    left.touch()
    assert job._spill(str(tmp_path)).directory == str(left.parent)
    assert not left.exists()
    assert job._spill("gs://bucket/run/.staging").directory == ""


@pytest.mark.parametrize("rate", ["-0.1", "1.1", "nan", "many"])
def test_an_error_budget_is_a_part(photos, tmp_path, capsys, rate):
    assert cli.main(arguments(photos, tmp_path, f"--error_budget={rate}")) == 2
    assert "--error_budget" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_every_line_of_a_json_log_is_an_object(photos, tmp_path):
    command = [sys.executable, "-m", "image_features"]
    command += arguments(photos, tmp_path, "--log_format=json")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "severity", "logger"} <= line.keys() for line in lines)
    shards = [line for line in lines if line.get("event") == "shard"]
    run = json.loads((tmp_path / "out" / "run" / "run.json").read_text())
    files = [f for f in run["files"] if f["kind"] in ("features", "errors")]
    told = {(line["name"], line["rows"], line["bytes"], line["sha256"]) for line in shards}
    assert told == {(f["name"], f["rows"], f["bytes"], f["sha256"]) for f in files}
    assert any("RANDOM weights" in line.get("message", "") for line in lines)


def test_an_attempt_that_died_at_once_is_in_nobodys_way(photos, tmp_path):
    (tmp_path / "out" / "run" / ".staging").mkdir(parents=True)
    (tmp_path / "out" / "run" / ".staging" / "launch.json.part").write_text("{")
    assert cli.main(arguments(photos, tmp_path)) == 0


def test_what_stays_here_is_waited_for(photos, tmp_path, capsys):
    assert cli.main(arguments(photos, tmp_path, "--no_wait")) == 2
    assert "--no_wait needs an engine that goes on without this process" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_runner_is_said_before_any_work(photos, tmp_path, capsys):
    assert cli.main(arguments(photos, tmp_path, "--runner=NoSuchRunner")) == 2
    error = capsys.readouterr().err
    assert "--runner=NoSuchRunner cannot be used" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
