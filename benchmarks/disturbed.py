"""Disturbed and undisturbed runs of a command, and a disk that can be filled."""

from __future__ import annotations

import dataclasses
import enum
import functools
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.kill_cases import Case, Tree, tree

_DISK_BYTES = 256 * 2**20
_TIMEOUT = 120.0  # The time after which a command counts as hung, in seconds.
_LOOK = 0.02  # The time between two looks at how much is written, in seconds.


class Kind(enum.Enum):
    """The kinds of disturbance; the values are the names in the table."""

    TIME = "at a time"
    CHANGE = "at a change"
    TERM = "by SIGTERM"
    FULL = "disk full"


@dataclasses.dataclass(frozen=True)
class Calm:
    """An undisturbed run.

    Attributes:
      seconds: Its duration.
      changes: The number of changes of files.
      written: The most bytes that lay on the disk at once, beyond those at its start.
      before: What readers see at its start, as a hash.
      after: What they see at its end.
      tree: The hashes of all files then, once what died is removed.
    """

    seconds: float
    changes: int
    written: int
    before: str
    after: str
    tree: Tree


@dataclasses.dataclass(frozen=True)
class Ended:
    """The end of a command.

    Attributes:
      code: Its exit code; below 0 the signal that has killed it.
      hung: Whether it was killed since it did not end.
      error: What it wrote to stderr.
    """

    code: int
    hung: bool
    error: str


class Disk:
    """A directory that can be full: a file system in memory of its own, if it may be mounted.

    Args:
      root: The directory to make and to mount it at.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self.place = root / "place"
        self.counter = root.with_suffix(".count")
        self.mounted = False

    def __enter__(self) -> Disk:
        self._root.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(self._root)]
        if shutil.which("mount"):
            done = subprocess.run(["mount", *options], capture_output=True)
            self.mounted = done.returncode == 0
        self.place.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self._root)], check=True)

    def begin(self, case: Case) -> None:
        """Makes the place what the command begins with."""
        shutil.rmtree(self.place)
        shutil.copytree(case.start, self.place)

    def used(self) -> int:
        """Returns the bytes of all files of the place; one that goes meanwhile counts or not."""
        total = 0
        for folder, _, names in os.walk(self.place):
            for name in names:
                try:
                    total += os.stat(os.path.join(folder, name)).st_size
                except FileNotFoundError:
                    continue
        return total

    @contextmanager
    def full(self, room: int) -> Iterator[int | None]:
        """Leaves only so many bytes; yields the size of a file where it cannot be mounted."""
        if not self.mounted:
            yield room
            return
        filler = self._root / "filler"
        free = os.statvfs(self._root)
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - room))
        try:
            yield None
        finally:
            filler.unlink()


def measured(case: Case, disk: Disk) -> Calm:
    """Runs a command undisturbed.

    Raises:
      RuntimeError: the command failed.
    """
    disk.begin(case)
    before, bytes_before = case.sees(disk.place), disk.used()
    written, done = 0, threading.Event()

    def watch() -> None:
        nonlocal written
        while not done.wait(_LOOK):
            written = max(written, disk.used() - bytes_before)

    watching = threading.Thread(target=watch)
    watching.start()
    start = time.perf_counter()
    ended = _run(case.arguments, disk, change=0)
    seconds = time.perf_counter() - start
    done.set()
    watching.join()
    changes = int(disk.counter.read_text())
    if not ended.code and case.clean:
        ended = _run(case.clean, disk)
    if ended.code:
        raise RuntimeError(f"The undisturbed {case.name} ended with {ended.code}: {ended.error}")
    return Calm(seconds, changes, written, before, case.sees(disk.place), tree(disk.place))


def disturb(case: Case, calm: Calm, disk: Disk, kind: Kind, part: float) -> Ended:
    """Runs a command and disturbs it.

    Args:
      case: The command, whose place is as it was left.
      calm: Its undisturbed run.
      disk: The disk that it works on.
      kind: The disturbance.
      part: The moment, as a part of the undisturbed run's time, changes or bytes.
    """
    if kind is Kind.CHANGE:
        return _run(case.arguments, disk, change=1 + int(part * calm.changes))
    if kind is Kind.FULL:
        with disk.full(int(part * calm.written)) as limit:
            return _run(case.arguments, disk, limit=limit)
    number = signal.SIGTERM if kind is Kind.TERM else signal.SIGKILL
    return _run(case.arguments, disk, stop=(part * calm.seconds, number))


def take_up(case: Case, disk: Disk) -> Ended:
    """Runs a command to its end, and if that is well the one that removes what died."""
    ended = _run(case.arguments, disk)
    return ended if ended.code or not case.clean else _run(case.clean, disk)


def _run(
    arguments: Sequence[str],
    disk: Disk,
    *,
    change: int | None = None,
    limit: int | None = None,
    stop: tuple[float, signal.Signals] | None = None,
) -> Ended:
    module = ["image_features"]
    if change is not None:
        module = ["benchmarks.doomed", str(disk.place), str(disk.counter), str(change)]
    command = [sys.executable, "-m", *module, *arguments]
    with tempfile.TemporaryFile() as error:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=error,
            start_new_session=True,
            preexec_fn=None if limit is None else functools.partial(_limit_files, limit),
        )
        hung = False
        try:
            if stop:
                try:
                    process.wait(stop[0])
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, stop[1])
            process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            hung = True
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        error.seek(0)
        return Ended(process.returncode, hung, error.read().decode(errors="replace"))


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
