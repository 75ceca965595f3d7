"""A run where few files may be open at once."""

import contextlib
import os
import resource
import subprocess
import sys
import time

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset.run import latest_run
from image_features.system import descriptors
from tests import images
from tests.datasets import counts
from tests.http_server import ImageServer

_LIMIT = 96


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="It looks into Linux's /proc.")
def test_a_run_fetches_from_many_hosts_with_few_descriptors(tmp_path):
    files = {f"{i}.jpg": images.encode(images.noise(i)) for i in range(4)}
    with ImageServer(files, address="0.0.0.0") as server:
        server.pause = 0.1
        urls = [f"http://127.0.0.{i % 120 + 1}:{server.port}/{i % 4}.jpg?{i}" for i in range(480)]
        manifest = tmp_path / "m.txt"
        manifest.write_text("\n".join(urls))
        with open(tmp_path / "log", "w") as log:
            run = subprocess.Popen(
                [
                    *[sys.executable, "-m", "image_features", "extract", "--model=untrained"],
                    *[f"--input={manifest}", f"--output={tmp_path}/out", "--allow_private_hosts"],
                ],
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (_LIMIT, _LIMIT)),
                stderr=log,
            )
        most = 0
        while run.poll() is None:
            with contextlib.suppress(OSError):
                most = max(most, len(os.listdir(f"/proc/{run.pid}/fd")))
            time.sleep(0.01)
    assert run.returncode == 0, (tmp_path / "log").read_text()
    assert counts(latest_run(str(tmp_path / "out")).directory)[:3] == (480, 480, 0)
    assert 8 < most < _LIMIT - 24


def test_too_few_descriptors_are_said_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (50, 50))
    arguments = [f"--input={tmp_path}", f"--output={tmp_path}/out", "--model=untrained"]
    assert cli.main(["extract", *arguments]) == 2
    said = capsys.readouterr().err
    assert "Only 50 files may be open" in said and "ulimit -n 1024" in said
    assert not (tmp_path / "out").exists()
