"""ExtractFeatures: batched inference with a feature-vector module, through RunInference."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference

from transforms.metrics import NAMESPACE, dead_letter
from transforms.types import DecodedImage, ImageError, ImageFeatures, Reason, Stage

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A feature module as the workers are told of it.

    Attributes:
      handle: What the user named.
      content_hash: Its content; a worker that finds another refuses to start.
      image_size: (height, width) in pixels that the module takes.
      num_features: Length of the feature vector.
      directory: Where the launcher has it; a worker elsewhere resolves `handle` itself.
      batch_size: Images in a batch; the last one of a bundle is padded to it.
    """

    handle: str
    content_hash: str
    image_size: tuple[int, int]
    num_features: int
    directory: str
    batch_size: int = 32


class FeatureModelHandler(ModelHandler[DecodedImage, ImageFeatures | ImageError, Any]):
    """Runs a feature module on decoded images; a bad row fails alone.

    Loaded once a process and shared by its threads. Batches are bounded by
    `spec.batch_size`, and the module computes in batches of exactly that many, so that an
    image's features do not depend on its neighbours.
    """

    def __init__(self, *, spec: ModelSpec) -> None:
        super().__init__()
        self._spec = spec

    def load_model(self) -> Any:
        """Loads the module.

        Raises:
          models.errors.ModelError: it cannot be loaded or is not the launcher's.
        """
        from models.errors import ModelError
        from models.handles import resolve
        from models.module import FeatureModule

        directory = self._spec.directory
        if not os.path.isdir(directory):
            module = resolve(self._spec.handle)
            if module.content_hash != self._spec.content_hash:
                raise ModelError(
                    f"The module {self._spec.handle} has changed since the job was launched "
                    f"(hash {module.content_hash:.12}, launched with "
                    f"{self._spec.content_hash:.12}); launch it again."
                )
            directory = module.directory
        return FeatureModule.load(directory, batch_size=self._spec.batch_size)

    def run_inference(
        self,
        batch: Sequence[DecodedImage],
        model: Any,
        inference_args: Mapping[str, Any] | None = None,
    ) -> list[ImageFeatures | ImageError]:
        """Extracts features; if the batch fails, one row at a time."""
        start = time.perf_counter()
        try:
            features = model(np.stack([image.pixels for image in batch]))
            rows = [_row(image, vector) for image, vector in zip(batch, features, strict=True)]
        except Exception as error:  # Whatever the module raises is this batch's failure.
            _LOG.warning("A batch of %d failed, retrying row by row: %s", len(batch), error)
            rows = [self._run_alone(image, model) for image in batch]
        milliseconds = int(1000 * (time.perf_counter() - start))
        Metrics.distribution(NAMESPACE, "extract/milliseconds").update(milliseconds)
        Metrics.distribution(NAMESPACE, "extract/batch_size").update(len(batch))
        return rows

    def _run_alone(self, image: DecodedImage, model: Any) -> ImageFeatures | ImageError:
        try:
            return _row(image, model(image.pixels[np.newaxis])[0])
        except Exception as error:
            message = f"The module failed on this image: {error}"[:500]
            return ImageError(image.ref, Stage.EXTRACT, Reason.INFERENCE_FAILED, message)

    def batch_elements_kwargs(self) -> dict[str, Any]:
        """Bounds Beam's batching, which grows to 10,000 otherwise."""
        return {"min_batch_size": self._spec.batch_size, "max_batch_size": self._spec.batch_size}

    def get_metrics_namespace(self) -> str:
        """The namespace of RunInference's own metrics."""
        return NAMESPACE

    def get_num_bytes(self, batch: Sequence[DecodedImage]) -> int:
        """Bytes of pixels in a batch."""
        return sum(image.pixels.nbytes for image in batch)


def _row(image: DecodedImage, vector: Any) -> ImageFeatures | ImageError:
    if not np.isfinite(vector).all():
        message = "The module's features for this image hold NaN or infinity."
        return ImageError(image.ref, Stage.EXTRACT, Reason.NOT_FINITE, message)
    features = np.ascontiguousarray(vector, np.float32)
    return ImageFeatures(image.ref, features, image.sha256, image.format, image.width, image.height)


class ExtractFeatures(beam.PTransform):
    """DecodedImage to `features` (ImageFeatures) and `errors` (ImageError), both tagged.

    Args:
      handler: How to run the module; `FeatureModelHandler(spec=...)` outside of tests.
    """

    def __init__(self, *, handler: ModelHandler[Any, Any, Any]) -> None:
        super().__init__()
        self._handler = handler

    def expand(self, images: Any) -> Any:
        return (
            images
            | "RunInference" >> RunInference(self._handler)
            | "PartFailures"
            >> beam.ParDo(_PartFailuresDoFn()).with_outputs("errors", main="features")
        )


class _PartFailuresDoFn(beam.DoFn):
    def __init__(self) -> None:
        self._extracted = Metrics.counter(NAMESPACE, "extract/extracted")

    def process(self, row: ImageFeatures | ImageError) -> Iterator[Any]:
        if isinstance(row, ImageError):
            yield dead_letter(row)
        else:
            self._extracted.inc()
            yield row
