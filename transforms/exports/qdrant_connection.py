"""Connections to Qdrant: a server's, and the one that all threads share of a local directory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from image_features.errors import UsageError
from image_features.transforms.exports.store import StoreError
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    RetryPolicy,
    may_pass,
    retry_after,
    with_retries,
)
from image_features.transforms.stores.uris import redact_text, redact_uri
from image_features.transforms.values import Reason

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

Out = TypeVar("Out")

# A server that is started anew is waited for while rows are written, and not before there is work.
PATIENT = RetryPolicy(max_attempts=8)
BRIEF = RetryPolicy(max_attempts=3)
_TIMEOUT_SECONDS = 60
_META = "meta.json"


def is_local(location: str) -> bool:
    """Whether a location is a directory of the client's local mode, and no server's address."""
    return "://" not in location


def address_of(target: str) -> str:
    """Returns the address of a server as it is asked and shown.

    Raises:
      UsageError: it is none, or has more than an address in it.
    """
    try:
        parts = urllib.parse.urlsplit(target)
        port = parts.port or 6333
    except ValueError as error:
        raise UsageError(f"{redact_uri(target)} is no address of Qdrant: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{redact_uri(target)} is no address of Qdrant; write http://HOST:6333, https://..., "
            "or a local directory."
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"{redact_uri(target)} has more than an address; a key belongs into QDRANT_API_KEY."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def is_there(location: str) -> bool:
    """Whether a directory was used by the local mode before; it is not opened, which makes it.

    Raises:
      StoreError: it holds something else.
    """
    if os.path.exists(os.path.join(location, _META)):
        return True
    if os.path.exists(location) and (not os.path.isdir(location) or os.listdir(location)):
        raise StoreError(f"{location} is no directory of Qdrant's local mode; name a new one.")
    return False


class Connection:
    """What asks Qdrant, and asks again where a failure may pass.

    Args:
      location: The server's address, or the local directory.
      client: The client.
      lock: What threads take turns by, as a client of the local mode serves one at a time.
      policy: When to ask again.
    """

    def __init__(
        self,
        location: str,
        client: QdrantClient,
        lock: contextlib.AbstractContextManager[Any],
        policy: RetryPolicy,
    ) -> None:
        self._location = location
        self._client = client
        self._lock = lock
        self._policy = policy

    def ask(self, action: Callable[[QdrantClient], Out]) -> Out:
        """Returns what an action gets from the client; it may be called more than once.

        Raises:
          StoreError: Qdrant cannot be reached, or refuses.
        """
        try:
            return with_retries(lambda: self._once(action), self._policy, time.sleep)[0]
        except FetchError as error:
            tries = f" {error.attempts} tries were made." if error.attempts > 1 else ""
            raise StoreError(f"{error.message}{tries}") from error

    def _once(self, action: Callable[[QdrantClient], Out]) -> Out:
        from qdrant_client.common.client_exceptions import (
            QdrantException,
            ResourceExhaustedResponse,
        )
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            with self._lock:
                return action(self._client)
        except StoreError:
            raise
        except (ValueError, RuntimeError, OSError, sqlite3.Error) as error:  # Of the local mode.
            raise StoreError(f"{self._location} cannot be used: {error}.") from error
        except ResourceExhaustedResponse as error:
            raise self._passing(f"is asked too much: {error}", error.retry_after_s) from error
        except UnexpectedResponse as error:
            said = f"answered {error.status_code}: {_words(error)}"
            if error.status_code is not None and may_pass(error.status_code):
                raise self._passing(said, retry_after(error.headers.get("Retry-After"))) from error
            if error.status_code in (401, 403):
                said += "; QDRANT_API_KEY must hold a key that may make and remove collections"
            raise FetchError(Reason.HTTP_ERROR, f"{self._location} {said}.") from error
        except ResponseHandlingException as error:
            if isinstance(error.source, ValueError):  # What pydantic and json say of an answer.
                said = f"{self._location} does not answer as Qdrant does."
                raise FetchError(Reason.HTTP_ERROR, said) from error
            why = redact_text(str(error.source)) or type(error.source).__name__
            raise self._passing(f"cannot be reached: {why}") from error
        except QdrantException as error:  # Of a Retry-After that is a date.
            raise self._passing(f"is asked too much: {error}") from error

    def _passing(self, said: str, after: float | None = None) -> PassingError:
        return PassingError(Reason.SERVER_ERROR, f"{self._location} {said}.", after)


def _words(error: Any) -> str:
    """Returns what a server says of an error, in its own words if it is Qdrant."""
    try:
        said = str(error.structured()["status"]["error"])
    except (ValueError, LookupError, TypeError):
        said = error.reason_phrase or "no reason is given"
    return redact_text(said[:500]).rstrip(".")


@dataclasses.dataclass
class _Shared:
    """The client of a local directory, which one process and in it one client may open."""

    client: QdrantClient
    lock: threading.RLock
    users: int = 0


_shared: dict[str, _Shared] = {}
_opening = threading.Lock()


@contextlib.contextmanager
def opened(
    location: str, api_key: str | None, policy: RetryPolicy = PATIENT
) -> Iterator[Connection]:
    """Opens a connection.

    Args:
      location: The server's address, or the local directory, which is made.
      api_key: The key of a server; None for none.
      policy: When to ask again.

    Raises:
      StoreError: a local directory cannot be used, or another process uses it.
    """
    if is_local(location):
        shared = _take(location)
        try:
            yield Connection(location, shared.client, shared.lock, policy)
        finally:
            _give_back(location)
        return
    from qdrant_client import QdrantClient

    # The client itself would warn of a key without https, on each connection anew.
    headers = {"api-key": api_key} if api_key else None
    client = QdrantClient(
        location, timeout=_TIMEOUT_SECONDS, headers=headers, check_compatibility=False
    )
    try:
        yield Connection(location, client, contextlib.nullcontext(), policy)
    finally:
        client.close()


def _take(location: str) -> _Shared:
    from qdrant_client import QdrantClient

    with _opening:
        if location not in _shared:
            try:
                client = QdrantClient(path=location, force_disable_check_same_thread=True)
            except RuntimeError as error:
                raise StoreError(
                    f"{location} is in use: Qdrant's local mode serves one process at a time. "
                    "Wait for the other's end, or export to a server.",
                ) from error
            except (OSError, ValueError, KeyError, TypeError) as error:
                said = "is damaged" if isinstance(error, json.JSONDecodeError) else "cannot be read"
                raise StoreError(f"{location} {said}: {error}.") from error
            _shared[location] = _Shared(client, threading.RLock())
        _shared[location].users += 1
        return _shared[location]


def _give_back(location: str) -> None:
    with _opening:
        shared = _shared[location]
        shared.users -= 1
        if not shared.users:
            del _shared[location]
            shared.client.close()
