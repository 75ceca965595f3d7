"""Fetches over http(s) on behalf of a manifest that is not trusted."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

from image_features.system.deadlines import Deadline
from image_features.transforms.stores import versions
from image_features.transforms.stores.http_body import BLOCK, blocks
from image_features.transforms.stores.http_connections import IDLE
from image_features.transforms.stores.http_ranges import HttpRanges
from image_features.transforms.stores.http_session import MIB, HttpPolicy, HttpSession, leave
from image_features.transforms.stores.part_reader import read_enough
from image_features.transforms.stores.range_reader import RangeReader
from image_features.transforms.stores.remote_file import RemoteFile
from image_features.transforms.stores.retries import too_large, with_retries
from image_features.transforms.stores.store import Content, Look
from image_features.transforms.stores.uris import redact_uri

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

    def read(self, url: str, look: Look | None = None) -> Content:
        """Reads a whole body, or what is enough of it.

        Parts are asked for in the first attempt only: a server may fail by no more than them.

        Raises:
          FetchError: the body cannot be had.
        """
        looks = [look] if look else []

        def fetch(url: str, deadline: Deadline) -> Content:
            if looks:
                ranges = HttpRanges(url, self._policy)
                if found := read_enough(ranges, looks.pop(), deadline, self._policy.max_bytes):
                    return found[0]
            return self._read_whole(url, deadline)

        content, attempts = self._retrying(url, fetch)
        return content._replace(attempts=attempts)

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
        reader = RangeReader(
            HttpRanges(url, self._policy),
            self._policy,
            in_parts=False,
            sleep=self._sleep,
            clock=self._clock,
        )
        stream = io.BufferedReader(RemoteFile(reader), BLOCK)
        stream.peek(1)
        return stream

    def close(self) -> None:
        """Closes the idle connections of this process."""
        IDLE.close()

    def _retrying(self, url: str, action: Callable[[str, Deadline], Out]) -> tuple[Out, int]:
        deadline = Deadline(self._policy.total_timeout, self._clock)
        return with_retries(
            lambda: action(url, deadline), self._policy.retries, self._sleep, deadline
        )

    def _read_whole(self, url: str, deadline: Deadline) -> Content:
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
            return Content(bytes(body), versions.of_answer(response.headers))
        finally:
            response.close()
