"""One version of a file that is read over a network from any offset on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from image_features.system.deadlines import Deadline
from image_features.transforms.stores import versions
from image_features.transforms.stores.http_body import blocks
from image_features.transforms.stores.http_errors import broken_off, too_late
from image_features.transforms.stores.http_session import MIB, HttpPolicy
from image_features.transforms.stores.parts import BEYOND, PART, Part, Ranges, part_of, span_of
from image_features.transforms.stores.retries import FetchError, PassingError, with_retries
from image_features.transforms.values import Reason

Out = TypeVar("Out")


class RangeReader:
    """Reads a file from any offset on, each time in one request unless the server breaks off.

    A server that knows no ranges, or whose ranges are not what was asked for, is asked for the
    whole, of which the beginning is passed over. The total timeout is for each MiB, without the
    time in which nobody waits for data.

    Args:
      ranges: The file.
      policy: How patient reading is.
      in_parts: Whether to ask for parts from the beginning.
      sleep: Waits between attempts; a fake in tests.
      clock: Tells the time in seconds; a fake in tests.

    Attributes:
      is_told: Whether there was an answer, which tells the following.
      version: The version that is read; empty if the server tells none.
      size: The size of the file; None if the server does not tell it.
      in_parts: Whether the server sends parts, as far as it is known.
    """

    def __init__(
        self,
        ranges: Ranges,
        policy: HttpPolicy,
        *,
        in_parts: bool = True,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_told = False
        self.version = ""
        self.size: int | None = None
        self.in_parts = in_parts
        self._ranges = ranges
        self._retries = policy.retries
        self._sleep = sleep
        self._clock = clock
        self._deadline = Deadline(policy.total_timeout, clock)

    @property
    def shown(self) -> str:
        return self._ranges.shown

    def blocks(self, begin: int) -> Generator[bytes, None, None]:
        """Yields what the file has from an offset on; what breaks off is taken up there.

        Raises:
          FetchError: it cannot be read, or has changed since the first answer.
        """
        self._deadline.renew()
        at, failures, gained = begin, 0, 0
        while self.size is None or at < self.size:
            before = at
            with contextlib.ExitStack() as stack:
                part, body = self._open(stack, at)
                if self.size is not None and at >= self.size:
                    return
                try:
                    for new in self._wanted(part, body, at):
                        at += len(new)
                        paused = self._clock()
                        yield new
                        self._deadline.extend(self._clock() - paused)
                    if self._is_over(part, at):
                        return
                    if before < at == part.end:
                        continue  # It is as much as this server sends at once.
                    problem = broken_off(self.shown, "the end of its body is missing")
                except PassingError as error:
                    problem = error
            gained += at - before
            # As a whole it comes anew from its first byte, which must be worth it.
            if gained >= (1 if self.in_parts else MIB):
                failures = gained = 0
            failures += 1
            can_go_on = self.version or (self.in_parts and self.size is not None)
            if failures >= self._retries.max_attempts or not can_go_on:
                raise problem
            if at - before < MIB:
                self._sleep(min(self._retries.backoff_base, max(0.0, self._deadline.left())))

    def end(self, length: int) -> tuple[int, bytes] | None:
        """Returns some of the last bytes, and where they begin; None if the server cannot do so.

        Raises:
          FetchError: the file cannot be read, or has changed since the first answer.
        """
        begin = -length if self.size is None else max(0, self.size - length)
        self._deadline.renew()

        def fetch() -> tuple[int, bytes] | None:
            with self._ranges.ask(span_of(begin), self.version, self._deadline) as response:
                part = part_of(response, begin)
                if part is not None:
                    self._compare(response, part)
                if part is None or part.end is None or response.status != PART:
                    # A server may know ranges, though none that are counted from the end.
                    self.in_parts = self.in_parts and begin < 0
                    return None
                data = b"".join(self._wanted(part, self._body(response), part.begin))
                if len(data) != part.end - part.begin:
                    raise broken_off(self.shown, "the end of its body is missing")
                return part.begin, data

        try:
            return self._retrying(fetch)
        except FetchError as error:
            if begin < 0 and error.reason in (Reason.HTTP_ERROR, Reason.READ_FAILED):
                return None
            raise

    def ask_version(self) -> str:
        """Asks for the version alone; raises what `blocks` does."""
        with contextlib.ExitStack() as stack:
            part, body = self._open(stack, 0, "bytes=0-0")
            if part.end == 1:
                next(body, b"")  # So that the connection is kept.
        return self.version

    def _open(
        self, stack: contextlib.ExitStack, begin: int, span: str = ""
    ) -> tuple[Part, Iterator[bytes]]:
        """Requests the file from an offset on, or as a whole where there are no ranges."""

        def ask() -> tuple[Part, Iterator[bytes]]:
            while True:
                asked = (span or span_of(begin)) if self.in_parts else ""
                with contextlib.ExitStack() as trial:
                    context = self._ranges.ask(asked, self.version, self._deadline)
                    response = trial.enter_context(context)
                    part = part_of(response, begin if asked else None)
                    if part is not None:
                        if asked and response.status not in (PART, BEYOND):
                            # The whole may be what such a range from the beginning comes to.
                            told = response.headers.get("Accept-Ranges", "").strip().lower()
                            self.in_parts = told == "bytes" and not begin and not span
                        self._compare(response, part)
                        stack.push(trial.pop_all())
                        return part, self._body(response)
                self.in_parts = False

        return self._retrying(ask)

    def _retrying(self, action: Callable[[], Out]) -> Out:
        def attempt() -> Out:
            if self._deadline.left() <= 0:
                raise too_late(self.shown, self._deadline)
            return action()

        return with_retries(attempt, self._retries, self._sleep, self._deadline)[0]

    def _body(self, response: Any) -> Iterator[bytes]:
        return blocks(response, self.shown, self._deadline)

    def _wanted(self, part: Part, body: Iterator[bytes], begin: int) -> Iterator[bytes]:
        """Yields what of a part's body lies from an offset on, and renews the deadline."""
        at, received = part.begin, 0
        for block in body:
            if self._deadline.left() <= 0:
                raise too_late(self.shown, self._deadline)
            received += len(block)
            if received >= MIB:
                self._deadline.renew()
                received = 0
            if part.end is not None:
                block = block[: part.end - at]
            new = block[max(0, begin - at) :]
            at += len(block)
            if new:
                yield new
            if at == part.end:
                return

    def _is_over(self, part: Part, at: int) -> bool:
        """Whether the file ends where a part of it did."""
        if part.end is None or (part.begin == part.end and self.size is None):
            self.size = at
        return self.size is not None and at >= self.size

    def _compare(self, response: Any, part: Part) -> None:
        """Keeps what the first answer tells, which the further ones must tell, too."""
        size = self.size if part.size is None else part.size
        version = self._ranges.version(response.headers, size)
        if not self.is_told:
            self.is_told, self.version, self.size = True, version, part.size
            return
        if self.size is None:
            self.size = part.size
        # An answer of 416 has no version of its own.
        is_known = bool(self.version) and (response.status != BEYOND or bool(version))
        is_other = is_known and not versions.are_same(version, self.version)
        if is_other or (part.size is not None and part.size != self.size):
            raise FetchError(Reason.READ_FAILED, f"{self.shown} has changed while it was read.")
