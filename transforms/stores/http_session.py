"""One guarded request over http(s), with its redirects and failures."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from image_features.transforms.stores.http_guard import BlockedHostError, current, pool_classes
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    RetryPolicy,
    retry_after,
)
from image_features.transforms.stores.uris import redact_uri
from image_features.transforms.values import Reason

MIB = 2**20
_RETRIED = frozenset({429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclasses.dataclass(frozen=True)
class HttpPolicy:
    """How patient and how trusting a fetch is. Times are in seconds.

    Attributes:
      connect_timeout: The most time that connecting may take.
      read_timeout: The most time between two parts of an answer.
      total_timeout: The most time that one attempt may take as a whole.
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
    """Requests over connections that several threads share; every failure is a FetchError.

    Args:
      policy: How patient and how trusting.
      pool_size: The number of connections that are kept open to one host.
    """

    def __init__(self, policy: HttpPolicy, pool_size: int) -> None:
        self._policy = policy
        self._pools = urllib3.PoolManager(
            num_pools=64,
            maxsize=pool_size,
            retries=False,
            headers={
                "User-Agent": policy.user_agent,
                "Accept": "*/*",
                # The limit of the size counts what is sent, so that nothing may be unpacked here.
                "Accept-Encoding": "identity",
            },
        )
        self._pools.pool_classes_by_scheme = pool_classes(
            allow_private_hosts=policy.allow_private_hosts
        )

    def get(self, url: str, deadline: float, extra: Mapping[str, str] | None = None) -> Any:
        """Requests a URL and follows its redirects, each under the same guard.

        Args:
          url: The location.
          deadline: The time by which all must have ended, of time.monotonic.
          extra: The headers to send beside the usual ones.

        Returns:
          The answer, whatever its status, with its body still to be read.

        Raises:
          PassingError: the next attempt may work.
          FetchError: the URL is refused or leads nowhere.
        """
        seen: set[str] = set()
        hop = url
        while True:
            response = self._request(hop, deadline, extra or {})
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or not target:
                return response
            response.close()
            seen.add(hop)
            following = urljoin(hop, target)
            shown = redact_uri(url)
            if following in seen or len(seen) > self._policy.max_redirects:
                raise FetchError(
                    Reason.TOO_MANY_REDIRECTS,
                    f"{shown} redirects in a circle or more than "
                    f"{self._policy.max_redirects} times.",
                )
            if urlsplit(following).scheme not in ("http", "https"):
                raise FetchError(
                    Reason.UNSUPPORTED_SCHEME,
                    f"{shown} redirects to {redact_uri(following)}, which is not http(s).",
                )
            hop = following

    def check_status(self, url: str, response: Any) -> None:
        """Makes sure that an answer has the body that was asked for; closes it if it has not.

        Raises:
          PassingError: the next answer may have it.
          FetchError: the server refuses it.
        """
        status, shown = response.status, redact_uri(url)
        if 200 <= status < 300 and status != 204:
            return
        wait = retry_after(response.headers.get("Retry-After"))
        response.close()
        message = f"{shown} answered {status}."
        if status in _RETRIED:
            raise PassingError(Reason.SERVER_ERROR, message, wait)
        if status in (404, 410):
            raise FetchError(Reason.NOT_FOUND, message)
        if status in (401, 403):
            raise FetchError(Reason.ACCESS_DENIED, message)
        raise FetchError(Reason.SERVER_ERROR if status >= 500 else Reason.HTTP_ERROR, message)

    def too_late(self, shown: str) -> PassingError:
        """Returns the failure of an attempt that is past its deadline."""
        seconds = self._policy.total_timeout
        return PassingError(Reason.TIMEOUT, f"{shown} took longer than {seconds:g} s in all.")

    def close(self) -> None:
        """Closes idle connections."""
        self._pools.clear()

    def _request(self, url: str, deadline: float, extra: Mapping[str, str]) -> Any:
        shown = redact_uri(url)
        policy = self._policy
        left = deadline - time.monotonic()
        if left <= 0:
            raise self.too_late(shown)
        timeout = urllib3.Timeout(
            connect=min(policy.connect_timeout, left), read=min(policy.read_timeout, left)
        )
        try:
            parts = urlsplit(url)
            if not parts.hostname or parts.port == 0:
                raise LocationParseError(shown)
            headers = {**self._pools.headers, **extra, **authorization(parts)}
            pool = self._pools.connection_from_url(url)
            current.deadline = deadline
            return pool.urlopen(
                "GET",
                urllib3.util.parse_url(url).request_uri,
                headers=headers,
                timeout=timeout,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except BlockedHostError as error:
            raise FetchError(
                Reason.BLOCKED_HOST,
                f"{shown} is refused: {error}; pass --allow_private_hosts if you trust "
                "the manifest.",
            ) from error
        except (LocationParseError, UnicodeError) as error:
            raise FetchError(Reason.CONNECTION_FAILED, f"{shown} is not a valid URL.") from error
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            if time.monotonic() > deadline:
                raise self.too_late(shown) from error
            raise translate(error, shown) from error


def authorization(url: SplitResult) -> dict[str, str]:
    """Returns the header of basic authentication for a URL with a user, or no header."""
    if url.username is None:
        return {}
    user = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return urllib3.make_headers(basic_auth=user)


def translate(error: Exception, shown: str) -> FetchError:
    """Returns any failure of urllib3 or a socket as one of ours."""
    if isinstance(error, NameResolutionError):
        return PassingError(Reason.CONNECTION_FAILED, f"{shown} has an unknown host.")
    if isinstance(error, NewConnectionError):  # To urllib3 this is a kind of timeout.
        return PassingError(Reason.CONNECTION_FAILED, f"{shown} cannot be connected to.")
    if isinstance(error, SSLError):
        return FetchError(Reason.CONNECTION_FAILED, f"{shown} has no valid certificate: {error}.")
    if isinstance(error, Urllib3TimeoutError | TimeoutError):
        return PassingError(Reason.TIMEOUT, f"{shown} did not answer in time.")
    return PassingError(Reason.CONNECTION_FAILED, f"{shown} broke off: {type(error).__name__}.")
