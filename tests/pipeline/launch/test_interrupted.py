"""Processes that die: what they leave is nothing a reader would see."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from image_features.errors import RunNotFoundError
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run
from tests import images
from tests.http_server import ImageServer
from tests.pipeline.launch.test_notify import Hook


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_stopped_run_is_not_committed(tmp_path, number, code):
    # Half of the images never arrive, so the signal comes in the middle of the run.
    with ImageServer({"a.jpg": images.encode(images.noise(1))}) as server, Hook() as hook:
        manifest = tmp_path / "m.txt"
        rows = [server.url(f"a.jpg?{i}") for i in range(500)] + [server.url("slow")] * 2
        manifest.write_text("\n".join(rows))
        command = [
            sys.executable,
            "-m",
            "image_features",
            "extract",
            "--model=untrained",
            f"--input={manifest}",
            f"--output={tmp_path}/out",
            "--allow_private_hosts",
            f"--notify=http://{hook.address}/",
            "--num_shards=2",
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + 120
            while server.hits["slow"] == 0 and time.monotonic() < deadline:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
            os.kill(process.pid, number)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    (run,) = (tmp_path / "out").iterdir()
    if number == signal.SIGINT:
        assert "interrupted; the run is not committed" in error
        # What a user copies has the name that the run got, whatever the time is then.
        again = error.splitlines()[-1].partition("To go on where this run ended: ")[2]
        named = [word if "--notify" not in word else "--notify=REDACTED" for word in command]
        assert shlex.split(again, comments=True) == [*named, f"--run_id={run.name}"]
        ((_, _, message),) = hook.posts
        assert (message["state"], message["exit_code"]) == ("INTERRUPTED", 130)
        assert message["run_id"] == run.name
    for path in (tmp_path / "out", run):
        with pytest.raises(RunNotFoundError):
            latest_run(str(path))
        with pytest.raises(RunNotFoundError):
            dataset.load(str(path))
