"""--max_duration, and the guards of a job that failed."""

import dataclasses
import json
import subprocess
import sys
import time

import pytest

from image_features.errors import GuardError, RunFailedError
from image_features.pipeline.commit.guards import record_broken
from image_features.pipeline.config import Guards
from image_features.pipeline.dataset.run import read_record
from image_features.pipeline.launch import job as launched
from tests import runs
from tests.http_server import ImageServer
from tests.runs import ERRORS, FEATURES, INDEX


def test_a_local_run_that_lasts_too_long_ends(tmp_path):
    with ImageServer({}) as server:
        manifest = tmp_path / "m.txt"
        manifest.write_text(server.url("slow"))
        command = [sys.executable, "-m", "image_features", "extract", "--model=untrained"]
        options = ["--run_id=run", "--allow_private_hosts", "--max_duration=4"]
        ended = subprocess.run(
            [*command, f"--input={manifest}", f"--output={tmp_path}/out", *options],
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 1
    sentence, advice = ended.stderr.strip().splitlines()[-2:]
    assert sentence == (
        "image-features: The run run lasted longer than --max_duration=4 and was stopped; "
        "it is not committed."
    )
    assert advice.startswith("image-features: To go on where this run ended: ")
    assert advice.endswith(" --run_id=run --allow_private_hosts --max_duration=4")
    assert read_record(str(tmp_path / "out" / "run")) is None


class Job:
    """A job on an engine, as Beam shows it."""

    def __init__(self, state="RUNNING", cancels=True):
        self.state = state
        self.cancelled = False
        self._cancels = cancels

    def wait_until_finish(self, duration=None):
        time.sleep(duration / 1000)
        return self.state

    def cancel(self):
        self.cancelled = True
        if not self._cancels:
            raise NotImplementedError("no cancelling here")
        self.state = "CANCELLED"


@pytest.mark.parametrize("cancels", [True, False])
def test_a_job_that_lasts_too_long_is_cancelled(tmp_path, monkeypatch, caplog, cancels):
    monkeypatch.setattr(launched, "_CANCEL_SECONDS", 0.1)
    config = dataclasses.replace(runs.config(str(tmp_path)), guards=Guards(max_duration=7))
    job = Job(cancels=cancels)
    with pytest.raises(RunFailedError, match="--max_duration=7 and was stopped"):
        launched.wait_for_commit(config, job, deadline=time.monotonic() + 0.1)
    assert job.cancelled
    assert ("could not be cancelled: no cancelling here" in caplog.text) == (not cancels)


def test_a_job_that_commits_in_time_is_left_alone(tmp_path):
    (tmp_path / ".staging").mkdir()
    config = runs.config(str(tmp_path))
    runs.commit(config, [FEATURES, INDEX, ERRORS], 7)
    job = Job("DONE")
    run = launched.wait_for_commit(config, job, deadline=time.monotonic() + 0.1)
    assert run.record == read_record(str(tmp_path))
    assert not job.cancelled


def test_a_failed_job_is_asked_for_its_guards(tmp_path):
    config = runs.config(str(tmp_path))
    (tmp_path / ".staging").mkdir()
    record_broken(config.layout.staging, config.started, ["It is too little."])
    with pytest.raises(GuardError, match=r"not committed: It is too little\."):
        launched.wait_for_commit(config, Job("FAILED"), deadline=time.monotonic())
    (tmp_path / ".staging" / "guard.json").write_text(json.dumps({"started": "other"}))
    with pytest.raises(RunFailedError, match="ended FAILED"):
        launched.wait_for_commit(config, Job("FAILED"), deadline=time.monotonic())
