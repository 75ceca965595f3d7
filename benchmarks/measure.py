"""The cost of a command: time, processor time and memory of all its processes.

It works on Linux: it adopts the daemons that a command leaves behind, and reads /proc.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import psutil

MIB = 2**20
_INTERVAL = 0.1  # The least time between two looks at the processes, in seconds.
_LOOKING = 0.05  # The share of one core that the looks may take from what is measured.
_GRACE = 10.0  # The time that daemons have to end after their command, in seconds.
_TAIL = 4000  # The number of characters of stderr in an error.
_PR_SET_CHILD_SUBREAPER = 36
_PACKAGES = (
    "apache-beam",
    "ai-edge-litert",
    "tensorflow",
    "numpy",
    "pillow",
    "imagecodecs",
    "ray",
    "daft",
    "pyarrow",
)


@dataclasses.dataclass(frozen=True)
class Usage:
    """The cost of a command.

    Attributes:
      seconds: The time from its start to the end of its own process.
      cpu_seconds: The user and system time of all its processes, daemons included.
      peak_mib: The most memory that all its processes had at once, in MiB: the sum of their
        proportional set sizes, in which shared memory counts once.
      output: The text that it wrote to stdout.
      returncode: The exit status.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str
    returncode: int


def run(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 1800
) -> Usage:
    """Runs a command to its end; one at a time in a process.

    Processes that it leaves running have some seconds to end, and are killed then.

    Args:
      command: The program and its arguments.
      env: Environment variables beside those of this process.
      timeout: The time after which the command is killed, in seconds.

    Raises:
      RuntimeError: the command failed or took too long; the message has the end of its stderr.
    """
    # Its outputs are files, since a daemon that inherits a pipe would hold it open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, _adopting_orphans():
        family = _Family()
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            ended = family.watch(process.pid, start + timeout)
            seconds = time.perf_counter() - start
        finally:
            process.returncode = family.end(process.pid)
        if not ended or process.returncode:
            how = f"ended with {process.returncode}" if ended else f"took over {timeout:g} seconds"
            raise RuntimeError(f"The command {' '.join(command)} {how}:\n{_text(err)[-_TAIL:]}")
        return Usage(seconds, family.cpu_seconds, family.peak_mib, _text(out), process.returncode)


class _Family:
    """The processes below this one that were not there before."""

    def __init__(self) -> None:
        self.peak_mib = 0.0
        self._self = psutil.Process()
        self._before = set(self._self.children())
        self._seen: dict[psutil.Process, float] = {}
        self._reaped = 0.0

    @property
    def cpu_seconds(self) -> float:
        """Returns the larger of two lower bounds.

        The kernel adds up exactly what was waited for, but forgets the children of a process that
        ignores them, as Ray's raylet does. Looking misses only what came after the last look.
        """
        return max(self._reaped, sum(self._seen.values()))

    def watch(self, pid: int, deadline: float) -> bool:
        """Looks until the process ends; returns False if the deadline comes first."""
        descriptor = os.pidfd_open(pid)
        try:
            while True:
                started = time.process_time()
                self._look()
                # The kernel walks all pages of a process for its share, which takes time.
                wait = max(_INTERVAL, (time.process_time() - started) / _LOOKING)
                left = max(0.0, deadline - time.perf_counter())
                if select.select([descriptor], [], [], min(wait, left))[0]:
                    return True
                if time.perf_counter() >= deadline:
                    return False
        finally:
            os.close(descriptor)

    def end(self, pid: int) -> int:
        """Ends and reaps all of the family; returns the status of its first process."""
        self._look(memory=False)
        first = [process for process in self._children() if process.pid == pid]
        _kill([process for process in first if _runs(process)])
        status = 0
        deadline = time.perf_counter() + _GRACE
        while children := self._children():
            for child in children:
                reaped, code, usage = os.wait4(child.pid, os.WNOHANG)
                if reaped:
                    self._reaped += usage.ru_utime + usage.ru_stime
                    status = os.waitstatus_to_exitcode(code) if reaped == pid else status
            if time.perf_counter() > deadline:
                _kill(self._members())
            time.sleep(0.02)
        return status

    def _look(self, *, memory: bool = True) -> None:
        total = 0
        for process in self._members():
            with contextlib.suppress(psutil.Error, OSError):
                times = process.cpu_times()
                self._seen[process] = times.user + times.system
                if memory:
                    total += process.memory_full_info().pss
        self.peak_mib = max(self.peak_mib, total / MIB)

    def _children(self) -> list[psutil.Process]:
        return [child for child in self._self.children() if child not in self._before]

    def _members(self) -> list[psutil.Process]:
        members = []
        for child in self._children():
            members.append(child)
            with contextlib.suppress(psutil.Error):
                members += child.children(recursive=True)
        return members


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Makes the kernel give this process the children of those that end below it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def machine() -> dict[str, Any]:
    """Describes what a number was measured on: processor, cores, memory, load and versions."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": round(psutil.virtual_memory().total / MIB),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Prints rows under the names of all their fields; floats to three digits or whole."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *[[_cell(row.get(name, "")) for name in names] for row in rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    numeric = [any(isinstance(row.get(name), int | float) for row in rows) for name in names]
    for line in cells:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "-" if value is None else str(value)
