"""Fetches over http(s) on behalf of a manifest that is not trusted."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

from urllib3.exceptions import HTTPError

from image_features.transforms.stores import versions
from image_features.transforms.stores.http_guard import WATCHDOG, shut
from image_features.transforms.stores.http_session import (
    MIB,
    HttpPolicy,
    HttpSession,
    translate,
)
from image_features.transforms.stores.retries import PassingError, too_large, with_retries
from image_features.transforms.stores.store import Content
from image_features.transforms.stores.uris import redact_text, redact_uri
from image_features.transforms.values import Reason

__all__ = ["MIB", "HttpClient", "HttpPolicy"]

Out = TypeVar("Out")
_BLOCK = 64 * 1024
_NOT_MODIFIED = 304


class HttpClient:
    """The store of http:// and https://; every failure is a FetchError.

    Args:
      policy: How patient and how trusting fetches are.
      pool_size: The number of connections that are kept open to one host.
      sleep: Waits between attempts; a fake in tests.
    """

    def __init__(
        self,
        policy: HttpPolicy,
        *,
        pool_size: int = 32,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._policy = policy
        self._sleep = sleep
        self._session = HttpSession(policy, pool_size)

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

        def ask(url: str, deadline: float) -> str:
            response = self._session.get(url, deadline, versions.conditions(known))
            if response.status == _NOT_MODIFIED and versions.still_there(known, response.headers):
                response.drain_conn()
                response.release_conn()
                return known
            self._session.check_status(url, response)
            response.close()
            return versions.of_answer(response.headers)

        return self._retrying(url, ask)[0]

    def open_stream(self, url: str) -> Any:
        """Opens a body for reading as a stream, whatever its size, as of a manifest.

        Raises:
          FetchError: the body cannot be had.
        """

        def open_it(url: str, deadline: float) -> Any:
            response = self._session.get(url, deadline)
            self._session.check_status(url, response)
            return io.BufferedReader(_Stream(response), _BLOCK)

        return self._retrying(url, open_it)[0]

    def close(self) -> None:
        """Closes idle connections."""
        self._session.close()

    def _retrying(self, url: str, action: Callable[[str, float], Out]) -> tuple[Out, int]:
        total = self._policy.total_timeout
        return with_retries(
            lambda: action(url, time.monotonic() + total), self._policy.retries, self._sleep
        )

    def _read_whole(self, url: str, deadline: float) -> tuple[bytes, str]:
        shown = redact_uri(url)
        response = self._session.get(url, deadline)
        try:
            self._session.check_status(url, response)
            limit = self._policy.max_bytes
            announced = response.headers.get("Content-Length", "")
            if announced.isdigit() and int(announced) > limit:
                raise too_large(shown, limit)
            ticket = WATCHDOG.guard(deadline, lambda: shut(response))
            try:
                body = bytearray()
                while block := response.read1(_BLOCK):
                    body += block
                    if len(body) > limit:
                        raise too_large(shown, limit)
                    if time.monotonic() > deadline:
                        raise self._session.too_late(shown)
            except (HTTPError, OSError, ValueError, AttributeError) as error:
                if time.monotonic() > deadline:
                    raise self._session.too_late(shown) from error
                raise translate(error, shown) from error
            finally:
                WATCHDOG.release(ticket)
            if time.monotonic() > deadline:
                raise self._session.too_late(shown)
            if announced.isdigit() and len(body) != int(announced):
                raise PassingError(
                    Reason.CONNECTION_FAILED,
                    f"{shown} ended after {len(body)} of {announced} bytes.",
                )
            response.release_conn()
            return bytes(body), versions.of_answer(response.headers)
        finally:
            if not response.closed:
                response.close()


class _Stream(io.RawIOBase):
    """The body of an answer as a file."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._response.read(len(buffer))
        except HTTPError as error:
            raise OSError(f"The download broke off: {redact_text(str(error))}") from error
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._response.close()
        super().close()
