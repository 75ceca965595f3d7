"""The profile of `extract --profile`: where the time went, by stage and by line of code."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from apache_beam.metrics.metric import MetricsFilter

from image_features.errors import UsageError
from image_features.transforms.runtime.metrics import NAMESPACE

_LOG = logging.getLogger(__name__)
_RATE = 50  # In samples a second; more of them would slow the job down.
# These are the arguments of Linux's prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY), in linux/prctl.h.
_PR_SET_PTRACER, _PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)
# Each of these stages reports a distribution STAGE/microseconds.
_STAGES = ("fetch", "decode", "extract", "write", "merge")


def check(directory: str) -> None:
    """Makes the profile's directory, and makes sure that the profiler is installed.

    Raises:
      UsageError: the directory cannot be made, or the profiler is missing.
    """
    if _profiler() is None:
        raise UsageError(
            "--profile needs the package py-spy; install the extra [profile], by pip install "
            "'image-feature-extractor[profile]', or leave it out."
        )
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--profile={directory} cannot be made: {error.strerror}.") from error


def _profiler() -> str | None:
    import sysconfig  # It reads all that Python was built with, for who profiles only.

    return shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")


@contextlib.contextmanager
def sampled(directory: str) -> Iterator[None]:
    """Samples all threads of this process and of its children into DIR/flame.svg."""
    profiler = _profiler()
    assert profiler is not None  # `check` has made sure.
    if sys.platform == "linux":
        # On other systems a child may not look into its parent unless it is root.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)
    target = os.path.join(directory, "flame.svg")
    command = [profiler, "record", f"--pid={os.getpid()}", f"--output={target}"]
    command += ["--subprocesses", "--nonblocking", f"--rate={_RATE}", "--format=flamegraph"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            errors = "it did not end"
        if not os.path.exists(target):
            _LOG.warning("There is no flame graph: %s", errors.strip()[-300:])


def stages(result: Any) -> dict[str, dict[str, float]]:
    """Returns the time that each stage of a finished pipeline took, summed over threads.

    Returns:
      An object for each stage, in the order of a run: seconds, calls, mean_milliseconds and
      max_milliseconds.
    """
    try:
        found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    except Exception as error:  # Not every runner tells metrics, and the run is committed.
        _LOG.info("The runner tells no stage times: %s", error)
        return {}
    by_name = {metric.key.metric.name: metric.result for metric in found["distributions"]}
    table = {}
    for stage in _STAGES:
        took = by_name.get(f"{stage}/microseconds")
        if took is not None and took.count:
            table[stage] = {
                "seconds": round(took.sum / 1e6, 3),
                "calls": took.count,
                "mean_milliseconds": round(took.sum / took.count / 1000, 3),
                "max_milliseconds": round(took.max / 1000, 3),
            }
    return table


def write_stages(
    directory: str, found: Mapping[str, Mapping[str, float]], seconds: float
) -> list[str]:
    """Writes DIR/stages.json.

    Args:
      directory: The profile's directory.
      found: The stages that `stages` found.
      seconds: The time that the run took.

    Returns:
      The lines of a table that says the same.
    """
    path = os.path.join(directory, "stages.json")
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"wall_seconds": round(seconds, 3), "stages": found}, file, indent=2)
    except OSError as error:  # The run is committed, whatever becomes of its profile.
        _LOG.warning("%s cannot be written: %s.", path, error.strerror)
    lines = [f"{'stage':<10} {'seconds':>9} {'calls':>9} {'mean ms':>9} {'max ms':>9}"]
    lines += [
        f"{name:<10} {stage['seconds']:>9.2f} {stage['calls']:>9} "
        f"{stage['mean_milliseconds']:>9.2f} {stage['max_milliseconds']:>9.2f}"
        for name, stage in found.items()
    ]
    return [*lines, f"{'wall':<10} {seconds:>9.2f}"]
