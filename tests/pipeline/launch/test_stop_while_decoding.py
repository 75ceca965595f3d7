"""A signal is heard at once, whatever the threads and the children of a run decode."""

import contextlib
import signal
import time

import psutil
import pytest

from tests import images
from tests.transforms.images.heavy import heavy_png, start


def _decoding(process):
    """The children of a run that have computed for a while."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [
            child
            for child in psutil.Process(process.pid).children()
            if "images.child" in " ".join(child.cmdline()) and sum(child.cpu_times()[:2]) > 0.6
        ]
    return []


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_that_decodes_ends_within_two_seconds_of_a_signal(tmp_path, threads):
    (tmp_path / "in").mkdir()
    heavy = heavy_png()
    for number in range(8):
        (tmp_path / "in" / f"{number}.png").write_bytes(heavy)
        (tmp_path / "in" / f"{number}.jpg").write_bytes(images.encode(images.noise(number)))
    program = "from image_features.pipeline.cli.main import main; import sys; sys.exit(main())"
    options = (f"--input={tmp_path}/in", f"--output={tmp_path}/out", f"--cpu_threads={threads}")
    with start(program, "extract", *options) as run:
        end = time.monotonic() + 40
        while not (children := _decoding(run)):
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        sent = time.monotonic()
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 128 + signal.SIGTERM
        assert time.monotonic() - sent < 2
    while any(map(_lives, children)):
        assert time.monotonic() - sent < 3
        time.sleep(0.02)


def _lives(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
