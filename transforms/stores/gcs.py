"""Objects of Cloud Storage in one request each, over connections that are kept.

Images are read this way, and a run's commit is written. Beam's client, which everything else here
uses, knows no conditions. It also makes a new client for every file that it opens, and asks for the
object's description first: 14 to 20 ms of processor time an image, where decoding takes one.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import urllib3

from image_features.transforms.stores.gcs_answers import check_status, is_intact
from image_features.transforms.stores.gcs_credentials import authorized, is_refused
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    RetryPolicy,
    too_large,
    with_retries,
)
from image_features.transforms.values import Reason

SCHEME = "gs://"
_ENDPOINT = "https://storage.googleapis.com"
_BLOCK = 1024 * 1024
# A client without credentials that is denied something looks for them again, but not more often.
_LOOK_AGAIN_SECONDS = 60.0
# The commit is the last object of a night's work, so that some minutes of trouble are waited for.
_PATIENCE = (RetryPolicy(max_attempts=10), time.sleep)


class GcsClient:
    """Reads and writes objects by their gs:// URIs; safe in many threads.

    Credentials are the application's default ones; where there are none, or with
    STORAGE_EMULATOR_HOST, requests are anonymous, as public buckets allow. A metadata server may
    just be slow to start, so that a request that is denied without credentials looks for them
    again. API_ENDPOINT_OVERRIDE names another endpoint, as it does for Google's own client.
    `google.auth` comes with the extra [gcp].

    Args:
      connect_timeout: The most seconds that connecting may take.
      read_timeout: The most seconds between two parts of an answer.
      pool_size: The number of connections that are kept open.
    """

    def __init__(self, *, connect_timeout: float, read_timeout: float, pool_size: int) -> None:
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._lock = threading.Lock()
        # The requests for tokens have the pool's own timeout.
        self._pool = urllib3.PoolManager(maxsize=pool_size, timeout=self._timeout)
        self._http: Any = None
        self._endpoint = ""
        self._is_emulated = False
        self._looked = 0.0

    def read(self, uri: str, max_bytes: int) -> bytes:
        """Reads a whole object; raises what `read_version` does."""
        return self.read_version(uri, max_bytes)[0]

    def read_version(self, uri: str, max_bytes: int) -> tuple[bytes, str]:
        """Reads a whole object, and its generation, which is empty if the server tells none.

        Raises:
          PassingError: the next attempt may work.
          FetchError: the object does not exist, may not be read, or is larger than `max_bytes`.
        """
        bucket, name = _split(uri)
        # The JSON API's media download: cloud.google.com/storage/docs/json_api/v1/objects/get.
        path = f"/storage/v1/b/{bucket}/o/{name}?alt=media"
        with self._answer("GET", path, uri) as response:
            check_status(uri, response)
            body = bytearray()
            while block := response.read(_BLOCK):
                body += block
                if len(body) > max_bytes:
                    raise too_large(uri, max_bytes)
            if not is_intact(body, response.headers):
                raise PassingError(Reason.READ_FAILED, f"{uri} came with another checksum.")
            return bytes(body), response.headers.get("X-Goog-Generation", "")

    @contextlib.contextmanager
    def part(self, uri: str, span: str, generation: str) -> Iterator[Any]:
        """Yields an answer with a part of an object, whose body is still to be read.

        Args:
          uri: The location of the object.
          span: The part, as the header Range has it; empty for the whole.
          generation: The generation that must be there; empty for any.

        Raises:
          PassingError: the next attempt may work.
          FetchError: the object does not exist, may not be read, or has another generation.
        """
        bucket, name = _split(uri)
        path = f"/storage/v1/b/{bucket}/o/{name}?alt=media"
        if generation:
            path += f"&ifGenerationMatch={generation}"
        headers = {"Range": span} if span else None
        with self._answer("GET", path, uri, headers=headers) as response:
            if generation and response.status == 412:
                raise FetchError(Reason.READ_FAILED, f"{uri} has changed while it was read.")
            check_status(uri, response, *((206, 416) if span else ()))
            try:
                yield response
            finally:
                response.close()  # One that was read to its end has given back its connection.

    def generation(self, uri: str) -> int:
        """Asks for the generation of an object, which differs for every version of it.

        Returns:
          The generation; 0 if there is no object.

        Raises:
          PassingError: the next attempt may work.
          FetchError: access is denied.
        """
        bucket, name = _split(uri)
        with self._answer("GET", f"/storage/v1/b/{bucket}/o/{name}", uri) as response:
            body = response.read()
            if response.status == 404:
                return 0
            check_status(uri, response)
            return int(json.loads(body)["generation"])

    def write(self, uri: str, data: bytes, generation: int) -> int | None:
        """Writes a whole object in the place of one generation of it, and of no other.

        Args:
          uri: The location of the object.
          data: The content of the object.
          generation: The generation to replace; 0 if there must be no object.

        Returns:
          The new generation, or None if another generation is there.

        Raises:
          PassingError: the next attempt may work, and this one may have worked.
          FetchError: the bucket does not exist, or may not be written to.
        """
        bucket, name = _split(uri)
        # cloud.google.com/storage/docs/request-preconditions
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart&ifGenerationMatch="
        metadata = json.dumps({"name": unquote(name)}).encode()
        boundary = b"image-features-" + uuid.uuid4().hex.encode()
        body = (
            b"--%b\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%b\r\n"
            b"--%b\r\nContent-Type: application/octet-stream\r\n\r\n%b\r\n--%b--"
        ) % (boundary, metadata, boundary, data, boundary)
        headers = {"Content-Type": f"multipart/related; boundary={boundary.decode()}"}
        with self._answer("POST", f"{path}{generation}", uri, body, headers) as response:
            answer = response.read()
            if response.status == 412:
                return None
            check_status(uri, response)
            return int(json.loads(answer)["generation"])

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        uri: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Iterator[Any]:
        """Yields an answer, whose connection is used again if all of the body is read."""
        try:
            http = self._client()
            response = http.urlopen(
                method,
                self._endpoint + path,
                body=body,
                headers=headers,
                preload_content=False,
                retries=False,
                timeout=self._timeout,
            )
            try:
                if response.status in (401, 403) and self._looks_again(http):
                    raise PassingError(Reason.ACCESS_DENIED, f"{uri} answered {response.status}.")
                yield response
                response.release_conn()
            finally:
                if not response.closed:
                    response.close()
        except FetchError:
            raise
        except Exception as error:  # urllib3, google.auth and sockets have errors of their own.
            verb = "read" if method == "GET" else "written"
            message = f"{uri} cannot be {verb}: {type(error).__name__}: {str(error)[:300]}"
            if is_refused(error):
                raise FetchError(Reason.ACCESS_DENIED, message) from error
            raise PassingError(Reason.READ_FAILED, message) from error

    def close(self) -> None:
        """Closes idle connections."""
        self._pool.clear()

    def _client(self) -> Any:
        with self._lock:
            if self._http is None:
                emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
                endpoint = emulator or os.environ.get("API_ENDPOINT_OVERRIDE") or _ENDPOINT
                self._endpoint = endpoint.rstrip("/")
                self._is_emulated = bool(emulator)
                self._http = self._pool if emulator else authorized(self._pool)
                self._looked = time.monotonic()
            return self._http

    def _looks_again(self, http: Any) -> bool:
        """Whether a request that was denied to a client should be made again with another one."""
        with self._lock:
            if http is not self._http:
                return True  # Another thread has looked meanwhile.
            is_anonymous = http is self._pool and not self._is_emulated
            if not is_anonymous or time.monotonic() - self._looked < _LOOK_AGAIN_SECONDS:
                return False
            self._http = None
            return True


def create_once(uri: str, data: bytes) -> bool:
    """Writes a whole object where there is none, in as many attempts as it takes.

    Returns:
      Whether the object was written; False if there is one, which may be this call's own, as an
      attempt may have worked whose answer was lost.

    Raises:
      FetchError: the object cannot be written.
    """
    with patient() as client:
        return client.write(uri, data, 0) is not None


@contextlib.contextmanager
def patient() -> Iterator[PatientClient]:
    """Yields a client for the few objects that a whole run depends on."""
    client = PatientClient(connect_timeout=10.0, read_timeout=60.0, pool_size=1)
    try:
        yield client
    finally:
        client.close()


class PatientClient(GcsClient):
    """A client that goes on trying through some minutes of trouble."""

    def read(self, uri: str, max_bytes: int) -> bytes:
        return with_retries(lambda: super(PatientClient, self).read(uri, max_bytes), *_PATIENCE)[0]

    def generation(self, uri: str) -> int:
        return with_retries(lambda: super(PatientClient, self).generation(uri), *_PATIENCE)[0]

    def write(self, uri: str, data: bytes, generation: int) -> int | None:
        return with_retries(
            lambda: super(PatientClient, self).write(uri, data, generation), *_PATIENCE
        )[0]


def _split(uri: str) -> tuple[str, str]:
    """Returns the bucket and the name of an object, quoted."""
    bucket, _, name = uri[len(SCHEME) :].partition("/")  # A scheme may be in capitals.
    if not bucket or not name:
        raise FetchError(Reason.NOT_FOUND, f"{uri} names no object.")
    return quote(bucket, safe=""), quote(name, safe="")
