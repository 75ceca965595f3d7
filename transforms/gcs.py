"""Reads Cloud Storage objects in one request each, over connections that are kept.

Beam's own client, which everything else here uses, makes a new client for every file it opens and
asks for the object's description first: 14 to 20 ms of processor time an image, where decoding it
takes one.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from urllib.parse import quote

import urllib3

from transforms.retries import FetchError, PassingError, retry_after, too_large
from transforms.types import Reason

SCHEME = "gs://"
_ENDPOINT = "https://storage.googleapis.com"
_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_only",)
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_BLOCK = 1024 * 1024


class GcsReader:
    """Objects by their gs:// URIs; safe in many threads.

    Credentials are the application's default ones; where there are none, or with
    STORAGE_EMULATOR_HOST, requests are anonymous, as public buckets allow. `google.auth` comes
    with the extra [gcp].

    Args:
      connect_timeout: Seconds for a connection.
      read_timeout: Seconds between two pieces of an answer.
      pool_size: Connections kept open.
    """

    def __init__(self, *, connect_timeout: float, read_timeout: float, pool_size: int) -> None:
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._pool_size = pool_size
        self._lock = threading.Lock()
        self._http: Any = None
        self._endpoint = ""

    def read(self, uri: str, max_bytes: int) -> bytes:
        """Reads a whole object.

        Raises:
          PassingError: it may work the next time.
          FetchError: it does not exist, may not be read, or is larger than `max_bytes`.
        """
        bucket, _, name = uri.removeprefix(SCHEME).partition("/")
        if not bucket or not name:
            raise FetchError(Reason.NOT_FOUND, f"{uri} names no object.")
        http = self._client()
        # The JSON API's media download: cloud.google.com/storage/docs/json_api/v1/objects/get.
        url = (
            f"{self._endpoint}/storage/v1/b/{quote(bucket, safe='')}/o/"
            f"{quote(name, safe='')}?alt=media"
        )
        try:
            response = http.urlopen(
                "GET", url, preload_content=False, retries=False, timeout=self._timeout
            )
            try:
                _check_status(uri, response)
                announced = response.headers.get("Content-Length", "")
                body = bytearray()
                while block := response.read(_BLOCK):
                    body += block
                    if len(body) > max_bytes:
                        raise too_large(uri, max_bytes)
                if announced.isdigit() and len(body) != int(announced):
                    raise PassingError(
                        Reason.READ_FAILED, f"{uri} ended after {len(body)} of {announced} bytes."
                    )
                response.release_conn()
                return bytes(body)
            finally:
                if not response.closed:
                    response.close()
        except FetchError:
            raise
        except Exception as error:  # urllib3's, google.auth's and the socket's own.
            message = f"{uri} cannot be read: {type(error).__name__}: {str(error)[:300]}"
            raise PassingError(Reason.READ_FAILED, message) from error

    def close(self) -> None:
        """Closes idle connections."""
        if self._http is not None:
            self._http.clear()

    def _client(self) -> Any:
        with self._lock:
            if self._http is None:
                pool = urllib3.PoolManager(maxsize=self._pool_size)
                emulator = os.environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/")
                self._endpoint = emulator or _ENDPOINT
                self._http = pool if emulator else _authorized(pool)
            return self._http


def _authorized(pool: urllib3.PoolManager) -> Any:
    """The pool with the application's credentials, where it has some."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from google.auth.transport.urllib3 import AuthorizedHttp

    try:
        credentials, _ = google.auth.default(scopes=list(_SCOPES))
    except DefaultCredentialsError:
        return pool
    return AuthorizedHttp(credentials, http=pool)


def _check_status(uri: str, response: Any) -> None:
    status = response.status
    if status == 200:
        return
    message = f"{uri} answered {status}."
    if status in _RETRIED:
        wait = retry_after(response.headers.get("Retry-After"))
        raise PassingError(Reason.SERVER_ERROR, message, wait)
    if status == 404:
        raise FetchError(Reason.NOT_FOUND, message)
    if status in (401, 403):
        raise FetchError(Reason.ACCESS_DENIED, message)
    raise FetchError(Reason.READ_FAILED, message)
