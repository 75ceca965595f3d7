"""The bytes of one image, from wherever it is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import time
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from image_features.transforms.stores import versions
from image_features.transforms.stores.files import reason_of
from image_features.transforms.stores.gcs import SCHEME, GcsClient
from image_features.transforms.stores.http import MIB, HttpClient, HttpPolicy
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    too_large,
    with_retries,
)
from image_features.transforms.stores.uris import is_http, redact_text, redact_uri
from image_features.transforms.values import EncodedImage, ImageError, ImageRef, Reason, Stage

_BLOCK = 1 * MIB
_SCHEMES = frozenset({"gs", "s3", "hdfs", "azfs"})


@dataclasses.dataclass(frozen=True)
class FetchPolicy:
    """How images are fetched.

    Attributes:
      http: How patient and how trusting over http(s).
      max_bytes: Larger files fail while they are read.
      threads: Fetches at once within a worker, at most; it begins with an eighth of them and
        takes more while it waits for data.
      max_bytes_in_flight: Bytes fetched ahead of the decoder, at most. What is still being
        fetched counts as much as images have had on average.
    """

    http: HttpPolicy = HttpPolicy()
    max_bytes: int = 50 * MIB
    threads: int = 256
    max_bytes_in_flight: int = 256 * MIB


class Fetcher:
    """Fetches one image at a time, from any thread; never raises.

    Args:
      policy: How.
      sleep: Waits between attempts; a fake in tests.
    """

    def __init__(self, policy: FetchPolicy, *, sleep: Any = time.sleep) -> None:
        self._policy = policy
        self._sleep = sleep
        http = dataclasses.replace(policy.http, max_bytes=policy.max_bytes)
        self._http = HttpClient(http, pool_size=policy.threads, sleep=sleep)
        self._gcs = GcsClient(
            connect_timeout=http.connect_timeout,
            read_timeout=http.read_timeout,
            pool_size=policy.threads,
        )

    def fetch(self, ref: ImageRef) -> EncodedImage | ImageError:
        """Returns the image's bytes, or the error row that stands for it."""
        try:
            data, version, attempts = self._read(ref.uri)
            if not data:
                raise FetchError(Reason.EMPTY_FILE, f"{redact_uri(ref.uri)} is empty.", attempts)
            # What was told before the fetch is never newer than what was fetched.
            return EncodedImage(ref, data, attempts, ref.version or version)
        except FetchError as error:
            return _error(ref, error)
        except Exception as error:  # One row's failure must stay that row's.
            message = f"{redact_uri(ref.uri)} cannot be read: {redact_text(str(error))[:300]}"
            return _error(ref, FetchError(Reason.READ_FAILED, message))

    def is_unchanged(self, uri: str, version: str) -> bool:
        """Whether a location still holds a version of an image; never raises.

        What cannot be told is no: the image is fetched then, and its failure is that row's.
        """
        try:
            if is_http(uri):
                return self._http.version(uri, version) == version
            if uri.startswith(SCHEME):
                generation, _ = with_retries(
                    lambda: self._gcs.generation(uri), self._policy.http.retries, self._sleep
                )
                return versions.of_object(generation) == version
            return "://" not in uri and versions.of_file(os.stat(uri)) == version
        except Exception:
            return False

    def _read(self, uri: str) -> tuple[bytes, str, int]:
        """Content, version and attempts."""
        if is_http(uri):
            fetched = self._http.fetch(uri)
            return fetched.data, fetched.version, fetched.attempts
        scheme, separator, _ = uri.partition("://")
        if not separator:
            return *_read_local(uri, self._policy.max_bytes), 1
        if scheme.lower() not in _SCHEMES:
            raise FetchError(
                Reason.UNSUPPORTED_SCHEME, f"{redact_uri(uri)} has the unknown scheme {scheme}://."
            )
        (data, version), attempts = with_retries(
            lambda: self._read_remote(uri), self._policy.http.retries, self._sleep
        )
        return data, version, attempts

    def _read_remote(self, uri: str) -> tuple[bytes, str]:
        if uri.startswith(SCHEME):
            data, generation = self._gcs.read_version(uri, self._policy.max_bytes)
            return data, versions.of_object(generation)
        try:
            with contextlib.closing(
                FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
            ) as file:
                return _read_bounded(file, uri, self._policy.max_bytes), ""
        except FetchError:
            raise
        except Exception as error:  # Each file system has failures of its own.
            reason = reason_of(error)
            kind = PassingError if reason is Reason.READ_FAILED else FetchError
            raise kind(reason, f"{uri} cannot be read: {redact_text(str(error))[:300]}") from error

    def close(self) -> None:
        """Closes idle connections."""
        self._http.close()
        self._gcs.close()


def _read_local(path: str, max_bytes: int) -> tuple[bytes, str]:
    try:
        # Opening a pipe would wait for a writer that never comes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FetchError(Reason.NOT_FOUND, f"{path} does not exist.") from error
    except PermissionError as error:
        raise FetchError(Reason.ACCESS_DENIED, f"{path} may not be read.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FetchError(Reason.READ_FAILED, f"{path} is not a regular file.")
        if status.st_size > max_bytes:
            raise too_large(path, max_bytes)
        # Without a buffered reader, which costs as much again as the reading.
        blocks, left = [], status.st_size
        while left and (block := os.read(descriptor, min(_BLOCK, left))):
            blocks.append(block)
            left -= len(block)
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        return data, versions.of_file(status)
    finally:
        os.close(descriptor)


def _read_bounded(file: Any, uri: str, max_bytes: int) -> bytes:
    blocks = []
    size = 0
    while block := file.read(_BLOCK):
        size += len(block)
        if size > max_bytes:
            raise too_large(uri, max_bytes)
        blocks.append(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _error(ref: ImageRef, error: FetchError) -> ImageError:
    return ImageError(ref, Stage.FETCH, error.reason, error.message, error.attempts)
