"""A process that decodes files and watches what that costs, and that may be lost.

It works on Linux: it reads the peaks of memory from /proc.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import pathlib
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import numpy as np
import psutil

from benchmarks.measure import MIB
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import Reason
from tests.images import encode, noise

_LATE = 2.0  # What a file may take beyond the timeout, in seconds.
_LOST = 60.0  # After so long beyond that the process is taken for hanging, in seconds.
_SPARE = 64 * MIB  # Beside what the policy allows: a copy of the file, and the interpreter's own.
_ENDS_CHILD = (Reason.TOO_COSTLY, Reason.DECODER_CRASHED)
PIXELS = "pixels"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a file.

    Attributes:
      outcome: `pixels`, the reason of a failure, or `none`.
      problem: What is not as it must be; empty if all is well.
      seconds: The time that it took.
      mib: The memory that all processes took for it at most, in MiB.
      resting_mib: The memory of all processes after it, in MiB.
    """

    outcome: str
    problem: str = ""
    seconds: float = 0.0
    mib: float = 0.0
    resting_mib: float = 0.0

    def worse(self, other: Verdict) -> Verdict:
        """Returns the most that either has taken."""
        return Verdict(
            PIXELS,
            seconds=max(self.seconds, other.seconds),
            mib=max(self.mib, other.mib),
            resting_mib=max(self.resting_mib, other.resting_mib),
        )


class Examiner:
    """Decodes files in a process of its own, which is started again when it is lost."""

    def __init__(self) -> None:
        self._process: SpawnProcess | None = None
        self._end: Connection | None = None

    def examine(self, data: bytes, policy: DecodePolicy) -> Verdict:
        """Decodes a file twice, and judges what comes of it."""
        if self._end is None or self._process is None:
            context = multiprocessing.get_context("spawn")
            self._end, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other,), daemon=True)
            self._process.start()
            other.close()
        try:
            self._end.send((data, policy))
            if self._end.poll(2 * (policy.timeout + _LATE) + _LOST):
                return self._end.recv()
        except (EOFError, OSError):
            self._process.join()
            problem = f"The process has ended with {self._process.exitcode}."
        else:
            problem = "The process hangs."
        self.close()
        return Verdict("none", problem)

    def close(self) -> None:
        """Ends the process and its children."""
        if self._process is None or self._end is None:
            return
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self._process.pid).children(recursive=True):
                process.kill()
        self._process.kill()
        self._process.join()
        self._end.close()
        self._process = self._end = None


def _serve(end: Connection) -> None:
    warm = encode(noise(0), "TIFF")  # A format that is decoded in a child.
    household = _Household()
    is_warm = False
    while True:
        try:
            data, policy = end.recv()
        except EOFError:
            return
        if not is_warm:  # A start is no part of the time that a file takes.
            decode_image(warm, DecodePolicy((8, 8)))
            household.settle()
        verdict = _judge(data, policy, household)
        is_warm = verdict.outcome not in _ENDS_CHILD
        end.send(verdict)


def _judge(data: bytes, policy: DecodePolicy, household: _Household) -> Verdict:
    household.forget_peaks()
    start = time.perf_counter()
    outcome, problem, pixels = _decode(data, policy)
    seconds = time.perf_counter() - start
    grown = household.peak()
    attempts = 2 if outcome == Reason.DECODER_CRASHED else 1
    if not problem and seconds > attempts * policy.timeout + _LATE:
        problem = f"It took {seconds:.1f} seconds of {policy.timeout:g} allowed."
    if not problem and grown > policy.max_memory + _SPARE:
        problem = f"It took {grown / MIB:.0f} MiB of {policy.max_memory / MIB:.0f} allowed."
    if not problem and outcome not in _ENDS_CHILD:
        again, problem, others = _decode(data, policy)
        if again != outcome:
            problem = f"The second time it ended as {again}."
        elif not np.array_equal(pixels, others):
            problem = "The second time it had other pixels."
    return Verdict(outcome, problem, seconds, grown / MIB, household.resting() / MIB)


def _decode(data: bytes, policy: DecodePolicy) -> tuple[str, str, np.ndarray]:
    nothing = np.zeros(0, np.uint8)
    try:
        seen = decode_image(data, policy)
    except DecodeError as error:
        known = isinstance(error.reason, Reason) and error.message
        return str(error.reason), "" if known else "It has no reason or no message.", nothing
    except Exception as error:
        return "none", f"It raised {type(error).__name__}: {error}", nothing
    pixels = seen.pixels
    if pixels.shape != (*policy.image_size, 3) or pixels.dtype != np.uint8:
        return PIXELS, f"The pixels are {pixels.dtype} {pixels.shape}.", pixels
    if not 0 < seen.width * seen.height <= policy.max_pixels:
        return PIXELS, f"The image is {seen.width} x {seen.height} pixels.", pixels
    return PIXELS, "", pixels


class _Household:
    """The memory of this process and of its children, in bytes."""

    def __init__(self) -> None:
        self._self = psutil.Process()
        self._child = 0  # What a child has when it has just begun.
        self._before: dict[int, int] = {}

    def settle(self) -> None:
        """Notes what a child has that has decoded next to nothing."""
        self._child = max(self._child, *self._members("VmRSS").values())

    def forget_peaks(self) -> None:
        """Begins to look for peaks."""
        self._before = self._members("VmRSS")
        for pid in self._before:
            with contextlib.suppress(OSError):
                pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """Returns the most that the processes had since then beyond what they had then."""
        now = self._members("VmHWM")
        return sum(max(0, peak - self._before.get(pid, self._child)) for pid, peak in now.items())

    def resting(self) -> int:
        """Returns what all processes have now."""
        return sum(self._members("VmRSS").values())

    def _members(self, field: str) -> dict[int, int]:
        pids = [self._self.pid, *(child.pid for child in self._self.children(recursive=True))]
        found = {}
        for pid in pids:
            with contextlib.suppress(OSError, StopIteration):
                lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                line = next(line for line in lines if line.startswith(f"{field}:"))
                found[pid] = int(line.split()[1]) * 1024
        return found
