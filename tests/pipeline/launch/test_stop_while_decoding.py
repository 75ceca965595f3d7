"""A signal is heard at once, whatever the threads and the children of a run decode."""

import contextlib
import signal
import time

import psutil
import pytest

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


_RUN = """
import pathlib, sys
import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from image_features.pipeline.launch.stop import stopped_by_signals
from image_features.transforms.decode_images import DecodeImages
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import EncodedImage, ImageRef
data = pathlib.Path(sys.argv[1]).read_bytes()
rows = [EncodedImage(ImageRef(str(number), str(number)), data, 1) for number in range(8)]
with stopped_by_signals(local=True), beam.Pipeline(FnApiRunner()) as pipeline:
    decode = DecodeImages(policy=DecodePolicy((8, 8)), threads=int(sys.argv[2]))
    pipeline | beam.Create(rows) | decode
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_that_decodes_ends_within_two_seconds_of_a_signal(tmp_path, threads):
    (tmp_path / "heavy.png").write_bytes(heavy_png())
    with start(_RUN, tmp_path / "heavy.png", threads) as run:
        end = time.monotonic() + 180
        while not (children := _decoding(run)):
            assert run.poll() is None and time.monotonic() < end
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
