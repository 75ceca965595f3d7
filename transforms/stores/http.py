"""Fetches over http(s) on behalf of a manifest that is not trusted."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from image_features.system.deadlines import Deadline
from image_features.transforms.stores import versions
from image_features.transforms.stores.http_body import BLOCK, blocks
from image_features.transforms.stores.http_connections import IDLE
from image_features.transforms.stores.http_session import MIB, HttpPolicy, HttpSession, leave
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    too_large,
    with_retries,
)
from image_features.transforms.stores.store import Content
from image_features.transforms.stores.uris import redact_uri
from image_features.transforms.values import Reason

__all__ = ["MIB", "HttpClient", "HttpPolicy"]

Out = TypeVar("Out")
_NOT_MODIFIED = 304


class HttpClient:
    """The store of http:// and https://; every failure is a FetchError.

    Args:
      policy: How patient and how trusting fetches are.
      sleep: Waits between attempts; a fake in tests.
      clock: Tells the time in seconds; a fake in tests.
    """

    def __init__(
        self,
        policy: HttpPolicy,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._sleep = sleep
        self._clock = clock
        self._session = HttpSession(policy)

    def read(self, url: str) -> Content:
        """Reads a whole body.

        Raises:
          FetchError: the body cannot be had.
        """
        (data, version), attempts = self._retrying(url, self._read_whole)
        return Content(data, version, attempts)

    def is_unchanged(self, url: str, version: str) -> bool:
        """Tells whether a version is still there; raises what `version` does."""
        return self.version(url, version) == version

    def version(self, url: str, known: str) -> str:
        """Asks for the version that is there now, without its body.

        A server that does not know the request's conditions tells the version all the same.

        Args:
          url: The location.
          known: The version that may still be there.

        Returns:
          The version; empty if the server tells none.

        Raises:
          FetchError: the location cannot be reached.
        """

        def ask(url: str, deadline: Deadline) -> str:
            response = self._session.get(url, deadline, versions.conditions(known))
            if response.status == _NOT_MODIFIED and versions.still_there(known, response.headers):
                leave(response)
                return known
            self._session.check_status(url, response)
            leave(response)
            return versions.of_answer(response.headers)

        return self._retrying(url, ask)[0]

    def open_stream(self, url: str) -> Any:
        """Opens a body for reading as a stream, whatever its size, as of a manifest.

        The body may be long but must not be slow: the total timeout is for each MiB of it. One
        that breaks off is fetched again and read on, if its server tells that it is the same.

        Raises:
          FetchError: the body cannot be had, also while it is read.
        """
        return io.BufferedReader(_Stream(self._long_body(url, *self._open(url))), BLOCK)

    def _open(self, url: str) -> tuple[Any, Deadline]:
        def open_it(url: str, deadline: Deadline) -> tuple[Any, Deadline]:
            response = self._session.get(url, deadline)
            self._session.check_status(url, response)
            return response, deadline

        return self._retrying(url, open_it)[0]

    def _long_body(
        self, url: str, response: Any, deadline: Deadline
    ) -> Generator[bytes, None, None]:
        version, shown = versions.of_answer(response.headers), redact_uri(url)
        done = failures = since_renewed = 0
        while True:
            known = done
            try:
                for block in blocks(response, shown, deadline):
                    since_renewed += len(block)
                    if since_renewed >= MIB:
                        deadline.renew()
                        since_renewed = failures = 0
                    new, known = block[known:], max(0, known - len(block))
                    done += len(new)
                    if new:
                        yield new
                return
            except PassingError:
                failures += 1
                if not version or failures >= self._policy.retries.max_attempts:
                    raise
            finally:
                response.close()
            response, deadline = self._open(url)
            if versions.of_answer(response.headers) != version:
                response.close()
                raise FetchError(Reason.READ_FAILED, f"{shown} has changed while it was read.")

    def close(self) -> None:
        """Closes the idle connections of this process."""
        IDLE.close()

    def _retrying(self, url: str, action: Callable[[str, Deadline], Out]) -> tuple[Out, int]:
        deadline = Deadline(self._policy.total_timeout, self._clock)
        return with_retries(
            lambda: action(url, deadline), self._policy.retries, self._sleep, deadline
        )

    def _read_whole(self, url: str, deadline: Deadline) -> tuple[bytes, str]:
        shown = redact_uri(url)
        response = self._session.get(url, deadline)
        try:
            self._session.check_status(url, response)
            limit = self._policy.max_bytes
            if (response.length_remaining or 0) > limit:
                raise too_large(shown, limit)
            body = bytearray()
            for block in blocks(response, shown, deadline):
                body += block
                if len(body) > limit:
                    raise too_large(shown, limit)
            return bytes(body), versions.of_answer(response.headers)
        finally:
            response.close()


class _Stream(io.RawIOBase):
    """What comes in blocks as a file."""

    def __init__(self, body: Generator[bytes, None, None]) -> None:
        self._body = body
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = memoryview(next(self._body, b""))
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def close(self) -> None:
        self._body.close()
        super().close()
