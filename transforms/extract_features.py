"""ExtractFeatures: batched inference with a feature-vector module, loaded once a process."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from image_features.models.engines import PreparedModel, image_sizes, load
from image_features.models.feature_function import FeatureFunction
from image_features.models.first_line import first_line
from image_features.transforms.runtime.concurrency import BoundedPool, cpu_pool, in_global_window
from image_features.transforms.runtime.metrics import NAMESPACE, dead_letter
from image_features.transforms.shards.vectors import VectorField, divided
from image_features.transforms.values import DecodedImage, ImageError, ImageFeatures, Reason, Stage

_LOG = logging.getLogger(__name__)

Batch = list[DecodedImage]
Results = tuple[list[ImageFeatures | ImageError], float]


class ExtractFeatures(beam.PTransform):
    """DecodedImage to `features` (ImageFeatures) and `errors` (ImageError), both tagged.

    Batches are cut from the bundle as it comes and run side by side. The features of an image do
    not depend on its neighbours, and one that fails fails alone.

    Args:
      model: The module to run, as the launcher has prepared it, or several by their names. A row
        has the vectors of all of them one after the other, and fails where one of them does.
      threads: The threads of the worker's processor pool; None for one a core.
      load_model: The function by which a worker loads the module; another one in tests.
    """

    def __init__(
        self,
        *,
        model: PreparedModel | Mapping[str, PreparedModel],
        threads: int | None = None,
        load_model: Callable[[PreparedModel], FeatureFunction] = load,
    ) -> None:
        super().__init__()
        models = {"": model} if isinstance(model, PreparedModel) else model
        self._do_fn = _ExtractDoFn(models, threads, load_model)

    def expand(self, images: Any) -> Any:
        return images | "RunModel" >> beam.ParDo(self._do_fn).with_outputs(
            "errors", main="features"
        )


class _ExtractDoFn(beam.DoFn):
    def __init__(
        self,
        models: Mapping[str, PreparedModel],
        threads: int | None,
        load_model: Callable[[PreparedModel], FeatureFunction],
    ) -> None:
        self._specs = tuple(models.values())
        self._vectors = tuple(
            VectorField(name, model.num_features) for name, model in models.items()
        )
        self._threads = threads
        self._load_model = load_model
        self._shared = [Shared() for _ in models]
        self._rows_together = max(model.batch_size for model in self._specs)
        sizes = image_sizes(self._specs)
        self._sizes = [sizes.index(model.image_size) for model in self._specs]
        self._extracted = Metrics.counter(NAMESPACE, "extract/extracted")
        self._batch_size = Metrics.distribution(NAMESPACE, "extract/batch_size")
        self._microseconds = Metrics.distribution(NAMESPACE, "extract/microseconds")

    def setup(self) -> None:
        # Every thread of the harness has a DoFn of its own, but the process has each model once.
        self._models: list[FeatureFunction] = [
            shared.acquire(functools.partial(self._load_model, spec))
            for shared, spec in zip(self._shared, self._specs, strict=True)
        ]
        self._cpu = cpu_pool(self._threads)
        limits = [model.parallelism for model in self._models if model.parallelism]
        limit = min(limits, default=None)
        self._parallelism = limit or self._cpu.threads
        # Waiting for a device must not keep a core from decoding.
        self._executor: Executor = ThreadPoolExecutor(limit) if limit else self._cpu

    def start_bundle(self) -> None:
        self._batch: Batch = []
        self._pool: BoundedPool[Batch, Results] = BoundedPool(
            self._run,
            executor=self._executor,
            helped=self._cpu,
            max_items=self._parallelism + 1,
        )

    def process(self, image: DecodedImage) -> Iterator[Any]:
        self._batch.append(image)
        if len(self._batch) >= self._rows_together:
            batch, self._batch = self._batch, []
            for rows, seconds in self._pool.submit(batch):
                yield from self._count(rows, seconds)

    def finish_bundle(self) -> Iterator[Any]:
        if self._batch:
            for rows, seconds in self._pool.submit(self._batch):
                yield from map(in_global_window, self._count(rows, seconds))
        for rows, seconds in self._pool.drain():
            yield from map(in_global_window, self._count(rows, seconds))

    def _run(self, batch: Batch) -> Results:
        start = time.perf_counter()
        try:
            features = self._compute(batch)
            finite: list[bool] = np.isfinite(features).all(axis=1).tolist()  # type: ignore[assignment]
            rows = [self._row(*row) for row in zip(batch, features, finite, strict=True)]
        except Exception as error:  # Whatever the module raises fails this batch only.
            _LOG.warning(
                "A batch of %d failed, retrying row by row: %s", len(batch), first_line(error)
            )
            rows = [self._run_alone(image) for image in batch]
        return rows, time.perf_counter() - start

    def _compute(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Returns what all models give for a batch, float32 [images, num_features]."""
        at = [np.stack([image.pixels for image in batch])]
        at += [np.stack(same) for same in zip(*(image.further for image in batch), strict=True)]
        pairs = zip(self._models, self._sizes, strict=True)
        vectors = [model(at[size]) for model, size in pairs]
        return vectors[0] if len(vectors) == 1 else np.concatenate(vectors, axis=1)

    def _run_alone(self, image: DecodedImage) -> ImageFeatures | ImageError:
        at, vectors = (image.pixels, *image.further), []
        for field, model, size in zip(self._vectors, self._models, self._sizes, strict=True):
            try:
                vectors.append(model(at[size][np.newaxis])[0])
            except Exception as error:
                message = f"{_the_module(field)} failed on this image ({first_line(error)})."
                return ImageError(image.ref, Stage.EXTRACT, Reason.INFERENCE_FAILED, message)
        vector = np.concatenate(vectors)
        return self._row(image, vector, bool(np.isfinite(vector).all()))

    def _row(
        self, image: DecodedImage, vector: npt.NDArray[np.float32], finite: bool
    ) -> ImageFeatures | ImageError:
        if not finite:
            parts = divided(vector, self._vectors)
            field = next(field for field, part in parts if not np.isfinite(part).all())
            message = f"{_the_module(field)}'s features for this image hold NaN or infinity."
            return ImageError(image.ref, Stage.EXTRACT, Reason.NOT_FINITE, message)
        return ImageFeatures(
            image.ref,
            vector,
            image.sha256,
            image.format,
            image.width,
            image.height,
            image.version,
        )

    def _count(self, rows: list[ImageFeatures | ImageError], seconds: float) -> Iterator[Any]:
        self._microseconds.update(int(1e6 * seconds))
        self._batch_size.update(len(rows))
        for row in rows:
            if isinstance(row, ImageError):
                yield dead_letter(row)
            else:
                self._extracted.inc()
                yield row


def _the_module(field: VectorField) -> str:
    return f"The module {field.model}" if field.model else "The module"
