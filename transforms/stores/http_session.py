"""One guarded request over http(s), with its redirects and failures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import LocationParseError, ProtocolError

from image_features.system.deadlines import Deadline
from image_features.system.timed_connections import terms
from image_features.transforms.stores.http_connections import pools
from image_features.transforms.stores.http_errors import too_late, translated
from image_features.transforms.stores.http_urls import authorization, escaped, redirected
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    RetryPolicy,
    may_pass,
    retry_after,
)
from image_features.transforms.stores.uris import redact_uri
from image_features.transforms.values import Reason

MIB = 2**20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# They bring a part, or nothing, though the whole was asked for.
_NOT_WHOLE = frozenset({204, 205, 206})
_IN_PART = frozenset({206, 416})
# A body that nobody wants is read all the same if it is so short: a new connection costs more.
_WORTH_READING = 16 * 1024


@dataclasses.dataclass(frozen=True)
class HttpPolicy:
    """How patient and how trusting a fetch is. Times are in seconds.

    Attributes:
      connect_timeout: The most time that connecting may take, to all addresses of a host together.
      read_timeout: The most time between two parts of an answer.
      total_timeout: The most time that a fetch may take as a whole, with all of its attempts. Of a
        manifest or an archive it is the time for each MiB.
      retries: When to try again.
      max_redirects: The number of redirects that are followed.
      max_bytes: The size of the largest body that is read; a larger one is cut off and fails.
      allow_private_hosts: Whether addresses that are not public may be reached.
      user_agent: The name by which we introduce ourselves to servers.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    total_timeout: float = 120.0
    retries: RetryPolicy = RetryPolicy()
    max_redirects: int = 5
    max_bytes: int = 50 * MIB
    allow_private_hosts: bool = False
    user_agent: str = "image-feature-extractor/0.2"


class HttpSession:
    """Requests over the connections of this process; every failure is a FetchError.

    Args:
      policy: How patient and how trusting.
    """

    def __init__(self, policy: HttpPolicy) -> None:
        self._policy = policy
        self._pools = pools(allow_private_hosts=policy.allow_private_hosts)
        self._headers = {
            "User-Agent": policy.user_agent,
            "Accept": "*/*",
            # What is sent as it is need not be unpacked here.
            "Accept-Encoding": "identity",
        }

    def get(self, url: str, deadline: Deadline, extra: Mapping[str, str] | None = None) -> Any:
        """Requests a URL and follows its redirects, each under the same guard.

        Args:
          url: The location.
          deadline: The end of everything, the body included.
          extra: The headers to send beside the usual ones.

        Returns:
          The answer, whatever its status, with its body still to be read.

        Raises:
          PassingError: the next attempt may work.
          FetchError: the URL is refused or leads nowhere, or the deadline has passed.
        """
        seen: set[tuple[str, str]] = set()
        hop, cookies = url, _Cookies()
        while True:
            response = self.send("GET", hop, deadline, {**(extra or {}), **cookies.of(hop)})
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or not target:
                return response
            leave(response)
            seen.add((hop, str(cookies.of(hop))))
            cookies.keep(hop, response.headers)
            hop = redirected(hop, target)
            if (hop, str(cookies.of(hop))) in seen or len(seen) > self._policy.max_redirects:
                raise FetchError(
                    Reason.TOO_MANY_REDIRECTS,
                    f"{redact_uri(url)} redirects in a circle or more than "
                    f"{self._policy.max_redirects} times.",
                )

    def send(
        self,
        method: str,
        url: str,
        deadline: Deadline,
        extra: Mapping[str, str],
        *,
        body: bytes | None = None,
        shown: str | None = None,
    ) -> Any:
        """Makes one request, and returns its answer with the body still to be read.

        Args:
          method: The method, such as GET.
          url: The location.
          deadline: The end of everything, the answer's body included.
          extra: The headers to send beside the usual ones.
          body: The body to send; None for none.
          shown: The location as messages may tell it; None for all of it but secrets.

        Raises:
          PassingError: the next attempt may work.
          FetchError: the URL is refused, or the deadline has passed.
        """
        shown = shown or redact_uri(url)
        if deadline.left() <= 0:
            raise too_late(shown, deadline)
        try:
            parts = urlsplit(url)
            if not parts.hostname or parts.port == 0:
                raise LocationParseError(shown)
            target = escaped(url)
            pool = self._pools.connection_from_url(target)
            headers = {**self._headers, **extra, **authorization(parts)}
            path = urllib3.util.parse_url(target).request_uri
            # A server may close a connection at the moment at which it is used again. That says
            # nothing about this request, unless it must not be made twice.
            for fresh in (body is not None, True):
                with terms(deadline, fresh=fresh) as given:
                    try:
                        return pool.urlopen(
                            method,
                            path,
                            body=body,
                            headers=headers,
                            timeout=urllib3.Timeout(
                                connect=deadline.at_most(self._policy.connect_timeout),
                                read=deadline.at_most(self._policy.read_timeout),
                            ),
                            redirect=False,
                            retries=False,
                            preload_content=False,
                            decode_content=False,
                        )
                    except ProtocolError:
                        if not given.reused:
                            raise
            raise AssertionError("A fresh connection is not a used one.")
        except Exception as error:  # urllib3, http.client and sockets have errors of their own.
            raise translated(error, shown, deadline) from error

    def check_status(self, url: str, response: Any, *, in_part: bool = False) -> None:
        """Makes sure that an answer has the body that was asked for; leaves it if it has not.

        Args:
          url: The location.
          response: The answer.
          in_part: Whether a part was asked for, so that the answer may also be that, or that there
            is no such part.

        Raises:
          PassingError: the next answer may have it.
          FetchError: the server refuses it.
        """
        status, shown = response.status, redact_uri(url)
        if 200 <= status < 300 and status not in _NOT_WHOLE:
            return
        if in_part and status in _IN_PART:
            return
        wait = retry_after(response.headers.get("Retry-After"))
        leave(response)
        message = f"{shown} answered {status}."
        if may_pass(status):
            raise PassingError(Reason.SERVER_ERROR, message, wait)
        if status in (404, 410):
            raise FetchError(Reason.NOT_FOUND, message)
        if status in (401, 403):
            raise FetchError(Reason.ACCESS_DENIED, message)
        if status in _NOT_WHOLE:
            message = f"{shown} answered {status}, which is not the whole that was asked for."
        elif status in _REDIRECTS:
            message = f"{shown} answered {status} without a Location."
        raise FetchError(Reason.SERVER_ERROR if status >= 500 else Reason.HTTP_ERROR, message)


class _Cookies:
    """What hosts want to be told again within one fetch: some redirect until they are."""

    def __init__(self) -> None:
        self._hosts: dict[str, dict[str, str]] = {}

    def keep(self, url: str, headers: Any) -> None:
        """Keeps what an answer sets for its host."""
        kept = self._hosts.setdefault(_origin(url), {})
        for field in headers.getlist("Set-Cookie"):
            name, _, value = " ".join(field.split()).partition(";")[0].partition("=")
            kept[name.strip()] = value.strip()

    def of(self, url: str) -> dict[str, str]:
        """Returns the header for a URL's host, or no header."""
        kept = self._hosts.get(_origin(url)) if self._hosts else None
        pairs = "; ".join(f"{name}={value}" for name, value in kept.items()) if kept else ""
        return {"Cookie": pairs} if pairs else {}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def leave(response: Any) -> None:
    """Leaves an answer without its body, and keeps the connection if that costs little."""
    left = response.length_remaining
    if left is not None and left <= _WORTH_READING:
        response.drain_conn()
    response.close()
