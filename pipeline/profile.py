"""`extract --profile`: where the time went, by stage and by line of code."""

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
import sysconfig
from collections.abc import Iterator
from typing import Any

from apache_beam.metrics.metric import MetricsFilter

from pipeline.usage import UsageError
from transforms.metrics import NAMESPACE

_LOG = logging.getLogger(__name__)
_RATE = 50  # Samples a second; more would slow the job down.
# Linux's prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY): linux/prctl.h.
_PR_SET_PTRACER, _PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)
_SUFFIX = "/microseconds"


def check(directory: str) -> None:
    """Makes the profile's directory, and sees that the profiler is there.

    Raises:
      UsageError: one of the two fails.
    """
    if _profiler() is None:
        raise UsageError(
            "--profile needs the package py-spy; install the extra [profile], or leave it out."
        )
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--profile={directory} cannot be made: {error.strerror}.") from error


def _profiler() -> str | None:
    return shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")


@contextlib.contextmanager
def sampled(directory: str) -> Iterator[None]:
    """Samples all threads of this process and of its children into DIR/flame.svg."""
    profiler = _profiler()
    assert profiler is not None  # As `check` has seen.
    if sys.platform == "linux":
        # Elsewhere a child may not look into its parent unless it is root.
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


def write_stages(directory: str, result: Any, seconds: float) -> list[str]:
    """Writes DIR/stages.json: what each stage took, summed over threads.

    Args:
      directory: The profile's directory.
      result: The finished pipeline's result.
      seconds: Wall time of the run.

    Returns:
      The same as a table's lines.
    """
    found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    stages = {}
    for metric in found["distributions"]:
        name = metric.key.metric.name
        if name.endswith(_SUFFIX) and metric.result.count:
            total = metric.result.sum / 1e6
            stages[name.removesuffix(_SUFFIX)] = {
                "seconds": round(total, 3),
                "calls": metric.result.count,
                "mean_milliseconds": round(1000 * total / metric.result.count, 3),
                "max_milliseconds": round(metric.result.max / 1000, 3),
            }
    with open(os.path.join(directory, "stages.json"), "w", encoding="utf-8") as file:
        json.dump({"wall_seconds": round(seconds, 3), "stages": stages}, file, indent=2)
    lines = [f"{'stage':<10} {'seconds':>9} {'calls':>9} {'mean ms':>9} {'max ms':>9}"]
    for name in ("fetch", "decode", "extract", "write", "merge"):
        if name in stages:
            stage = stages[name]
            lines.append(
                f"{name:<10} {stage['seconds']:>9.2f} {stage['calls']:>9} "
                f"{stage['mean_milliseconds']:>9.2f} {stage['max_milliseconds']:>9.2f}"
            )
    lines.append(f"{'wall':<10} {seconds:>9.2f}")
    return lines
