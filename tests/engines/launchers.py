"""Launchers as processes, each the leader of a group with all that it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

SECONDS = 300


def begin(command: Sequence[str]) -> subprocess.Popen[str]:
    """Starts a launcher."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Waits for a launcher; returns its exit code, what it printed and what it logged."""
    try:
        output, error = process.communicate(timeout=SECONDS)
    finally:
        end(process)
    return process.returncode, output, error


def end(process: subprocess.Popen[str]) -> None:
    """Kills a launcher and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
