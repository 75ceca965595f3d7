"""FetchImages: the bytes of each image, from wherever it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.runtime.concurrency import (
    BoundedPool,
    cpu_pool,
    in_global_window,
    io_pool,
)
from image_features.transforms.runtime.metrics import NAMESPACE, dead_letter
from image_features.transforms.runtime.read_ahead import read_ahead
from image_features.transforms.stores.http import MIB
from image_features.transforms.values import EncodedImage, ImageError, ImageRef, PackedRefs

__all__ = ["FetchImages", "FetchPolicy"]

_LOCAL_CHUNK = 8
# Local files are read by the bundle's own thread as long as that takes less time on average, since
# handing them over costs more. Cold disks and network mounts take longer, and get threads.
_SLOW_SECONDS = 0.001
# The size that is assumed for an image before the first fetch, and the number of images over which
# sizes and times are averaged.
_TYPICAL_BYTES = 1 * MIB
_AVERAGED = 32
# A stream is faster than what is done with its images, so that little is ahead mostly.
_AHEAD_BYTES = 16 * MIB


class FetchImages(beam.PTransform):
    """ImageRef or PackedRefs to `images` (EncodedImage) and `errors` (ImageError), both tagged.

    Many fetches of a bundle are in flight at once, so that latency is hidden; results come as
    they are there. PackedRefs are read in one go, in the order of their archive.

    Args:
      policy: How images are fetched.
      threads: The threads of the worker's processor pool, which goes on decoding while fetches
        are waited for; None for one a core.
    """

    def __init__(self, *, policy: FetchPolicy, threads: int | None = None) -> None:
        super().__init__()
        self._policy = policy
        self._threads = threads

    def expand(self, refs: Any) -> Any:
        return refs | "Fetch" >> beam.ParDo(_FetchDoFn(self._policy, self._threads)).with_outputs(
            "errors", main="images"
        )


class _FetchDoFn(beam.DoFn):
    def __init__(self, policy: FetchPolicy, threads: int | None) -> None:
        self._policy = policy
        self._threads = threads
        self._fetched = Metrics.counter(NAMESPACE, "fetch/fetched")
        self._bytes = Metrics.distribution(NAMESPACE, "fetch/bytes")
        self._microseconds = Metrics.distribution(NAMESPACE, "fetch/microseconds")
        self._attempts = Metrics.distribution(NAMESPACE, "fetch/attempts")

    def setup(self) -> None:
        self._fetcher = Fetcher.shared(self._policy)
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
            size_of=lambda result: _size_of(result[0]),
            chunk=_LOCAL_CHUNK,
        )

    def _timed(self, ref: ImageRef) -> tuple[EncodedImage | ImageError, float]:
        start = time.perf_counter()
        return self._fetcher.fetch(ref), time.perf_counter() - start

    def process(self, ref: ImageRef | PackedRefs) -> Iterator[Any]:
        if isinstance(ref, PackedRefs):
            yield from self._read_archive(ref)
            return
        remote = "://" in ref.uri
        if not remote and self._local_seconds < _SLOW_SECONDS:
            row, seconds = self._timed(ref)
            self._local_seconds += (seconds - self._local_seconds) / _AVERAGED
            yield self._count(row, seconds)
            return
        for result in self._pool.submit(ref, int(self._typical), alone=remote):
            yield self._count(*result)

    def _read_archive(self, packed: PackedRefs) -> Iterator[Any]:
        rows = self._fetcher.fetch_packed(packed)
        if "://" in packed.archive:
            rows = read_ahead(
                rows,
                executor=io_pool(self._policy.threads),
                helped=cpu_pool(self._threads),
                max_bytes=min(_AHEAD_BYTES, self._policy.max_bytes_in_flight),
                size_of=_size_of,
            )
        start = time.perf_counter()
        for row in rows:
            yield self._count(row, time.perf_counter() - start)
            start = time.perf_counter()

    def finish_bundle(self) -> Iterator[Any]:
        for result in self._pool.drain():
            yield in_global_window(self._count(*result))

    def teardown(self) -> None:
        self._fetcher.close()

    def _count(self, row: EncodedImage | ImageError, seconds: float) -> Any:
        self._microseconds.update(int(1e6 * seconds))
        self._attempts.update(row.attempts)
        if isinstance(row, ImageError):
            return dead_letter(row)
        self._fetched.inc()
        self._bytes.update(row.size)
        self._typical += (row.size - self._typical) / _AVERAGED
        return row


def _size_of(row: EncodedImage | ImageError) -> int:
    return row.size if isinstance(row, EncodedImage) else 0
