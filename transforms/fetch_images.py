"""FetchImages: the bytes of each image, from wherever it is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from image_features.transforms.runtime.concurrency import (
    BoundedPool,
    cpu_pool,
    in_global_window,
    io_pool,
)
from image_features.transforms.runtime.metrics import NAMESPACE, dead_letter
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
_LOCAL_CHUNK = 8
# Local files are read by the bundle's own thread while that takes, on average, less than this:
# handing over costs more. Cold disks and network mounts take longer, and get threads.
_SLOW_SECONDS = 0.001
# What an image counts as before any was seen, and over how many the average goes.
_TYPICAL_BYTES = 1 * MIB
_AVERAGED = 32
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


class FetchImages(beam.PTransform):
    """ImageRef to `images` (EncodedImage) and `errors` (ImageError), both tagged.

    Many fetches of a bundle are in flight at once, so that latency is hidden; results come as
    they are there.
    """

    def __init__(self, *, policy: FetchPolicy, threads: int | None = None) -> None:
        super().__init__()
        self._policy = policy
        self._threads = threads

    def expand(self, refs: Any) -> Any:
        return refs | "Fetch" >> beam.ParDo(_FetchDoFn(self._policy, self._threads)).with_outputs(
            "errors", main="images"
        )


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


class _FetchDoFn(beam.DoFn):
    def __init__(self, policy: FetchPolicy, threads: int | None) -> None:
        self._policy = policy
        self._threads = threads
        self._fetched = Metrics.counter(NAMESPACE, "fetch/fetched")
        self._bytes = Metrics.distribution(NAMESPACE, "fetch/bytes")
        self._microseconds = Metrics.distribution(NAMESPACE, "fetch/microseconds")
        self._attempts = Metrics.distribution(NAMESPACE, "fetch/attempts")

    def setup(self) -> None:
        self._fetcher = Fetcher(self._policy)
        self._typical: float = _TYPICAL_BYTES
        self._local_seconds = 0.0

    def start_bundle(self) -> None:
        self._pool: BoundedPool[ImageRef, tuple[EncodedImage | ImageError, float]] = BoundedPool(
            self._timed,
            executor=io_pool(self._policy.threads),
            helped=cpu_pool(self._threads),
            min_items=max(_LOCAL_CHUNK * 4, self._policy.threads // 8),
            max_items=max(_LOCAL_CHUNK * 4, self._policy.threads),
            max_bytes=self._policy.max_bytes_in_flight,
            size_of=lambda result: (
                len(result[0].data) if isinstance(result[0], EncodedImage) else 0
            ),
            chunk=_LOCAL_CHUNK,
        )

    def _timed(self, ref: ImageRef) -> tuple[EncodedImage | ImageError, float]:
        start = time.perf_counter()
        return self._fetcher.fetch(ref), time.perf_counter() - start

    def process(self, ref: ImageRef) -> Iterator[Any]:
        remote = "://" in ref.uri
        if not remote and self._local_seconds < _SLOW_SECONDS:
            row, seconds = self._timed(ref)
            self._local_seconds += (seconds - self._local_seconds) / _AVERAGED
            yield self._count(row, seconds)
            return
        for result in self._pool.submit(ref, int(self._typical), alone=remote):
            yield self._count(*result)

    def finish_bundle(self) -> Iterator[Any]:
        for result in self._pool.drain():
            yield in_global_window(self._count(*result))

    def teardown(self) -> None:
        self._fetcher.close()

    def _count(self, row: EncodedImage | ImageError, seconds: float) -> Any:
        self._microseconds.update(int(1e6 * seconds))
        if isinstance(row, ImageError):
            self._attempts.update(row.attempts)
            return dead_letter(row)
        self._attempts.update(row.attempts)
        self._fetched.inc()
        self._bytes.update(len(row.data))
        self._typical += (len(row.data) - self._typical) / _AVERAGED
        return row
