"""DecodeImages: encoded files to pixels at the model's size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from image_features.transforms.images.children import end_children, jobs_of_this_thread
from image_features.transforms.images.picture import lift_pillow_limit
from image_features.transforms.images.pixels import file_digest
from image_features.transforms.images.policy import MIB, DecodePolicy
from image_features.transforms.images.reader import decode
from image_features.transforms.runtime.concurrency import BoundedPool, cpu_pool, in_global_window
from image_features.transforms.runtime.metrics import NAMESPACE, dead_letter
from image_features.transforms.values import DecodedImage, EncodedImage, ImageError

_MAX_BYTES_IN_FLIGHT = 128 * MIB
# Decoding goes on while batches are computed; so many images for each thread may wait.
_AHEAD = 32
_CHUNK = 8
_Result = tuple[DecodedImage | ImageError, float, bool]  # The row, its seconds, in a child or not.


class DecodeImages(beam.PTransform):
    """EncodedImage to `images` (DecodedImage) and `errors` (ImageError), both tagged.

    Args:
      policy: How to decode and resize.
      threads: The threads of the worker's processor pool; None for one a core. Pillow's decoders
        and its resize release the interpreter's lock.
    """

    def __init__(self, *, policy: DecodePolicy, threads: int | None = None) -> None:
        super().__init__()
        self._policy = policy
        self._threads = threads

    def expand(self, images: Any) -> Any:
        return images | "Decode" >> beam.ParDo(
            _DecodeDoFn(self._policy, self._threads)
        ).with_outputs("errors", main="images")


class _DecodeDoFn(beam.DoFn):
    def __init__(self, policy: DecodePolicy, threads: int | None) -> None:
        self._policy = policy
        self._threads = threads
        self._decoded = Metrics.counter(NAMESPACE, "decode/decoded")
        self._previews = Metrics.counter(NAMESPACE, "decode/previews")
        self._in_child = Metrics.counter(NAMESPACE, "decode/in_child")
        self._microseconds = Metrics.distribution(NAMESPACE, "decode/microseconds")
        self._pixels = Metrics.distribution(NAMESPACE, "decode/pixels")

    def setup(self) -> None:
        lift_pillow_limit()

    def start_bundle(self) -> None:
        pool = cpu_pool(self._threads)
        self._pool: BoundedPool[EncodedImage, _Result] = BoundedPool(
            self._decode,
            executor=pool,
            helped=pool,
            max_items=_AHEAD * pool.threads,
            max_bytes=_MAX_BYTES_IN_FLIGHT,
            chunk=_CHUNK,
        )

    def teardown(self) -> None:
        end_children()

    def _decode(self, image: EncodedImage) -> _Result:
        start, jobs = time.perf_counter(), jobs_of_this_thread()
        row: DecodedImage | ImageError
        decoded = decode(image, self._policy)
        if isinstance(decoded, ImageError):
            row = decoded
        else:
            row = DecodedImage(
                image.ref,
                decoded.pixels,
                "" if decoded.of_preview else file_digest(image.data),
                decoded.format,
                decoded.width,
                decoded.height,
                image.version,
                decoded.further,
            )
        return row, time.perf_counter() - start, jobs_of_this_thread() > jobs

    def process(self, image: EncodedImage) -> Iterator[Any]:
        for result in self._pool.submit(image, image.size):
            yield self._count(*result)

    def finish_bundle(self) -> Iterator[Any]:
        for result in self._pool.drain():
            yield in_global_window(self._count(*result))

    def _count(self, row: DecodedImage | ImageError, seconds: float, in_child: bool) -> Any:
        self._microseconds.update(int(1e6 * seconds))
        if in_child:
            self._in_child.inc()
        if isinstance(row, ImageError):
            return dead_letter(row)
        self._decoded.inc()
        if not row.sha256:
            self._previews.inc()
        self._pixels.update(row.width * row.height)
        return row
