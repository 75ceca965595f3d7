"""FeatureVectorModelHandler: Beam's RunInference over the engines of this package."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

import numpy as np
import numpy.typing as npt
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from image_features.errors import ModelError
from image_features.models.engines import PreparedModel, load, prepare
from image_features.models.feature_function import FeatureFunction
from image_features.models.identity import Engine, Precision
from image_features.models.scaling import Scaling
from image_features.models.staging import stage
from image_features.transforms.inference.beam_options import BeamOptions, bounded
from image_features.transforms.runtime.metrics import NAMESPACE

Pixels = npt.NDArray[np.uint8]

_BATCH_SIZE = 32
_LOG = logging.getLogger(__name__)


class FeatureVectorModelHandler(ModelHandler[Pixels, PredictionResult, FeatureFunction]):
    """Computes feature vectors in RunInference, with the engines that `extract` uses.

    The elements are uint8 arrays [height, width, 3], RGB, at the model's image size. The results
    are PredictionResult(example, inference, model_id): the array, its float32 [num_features], and
    the SHA-256 of the module's files. An image's features do not depend on its batch.

        pixels | RunInference(FeatureVectorModelHandler("builtin"))

    Making the handler is cheap: it neither touches the model nor imports TensorFlow. The model is
    resolved and compiled once, by the launcher, when the pipeline is built: this is when a model
    that cannot be used raises ModelError. What workers need then depends on where they are:

    - Workers on the launcher's machine read the compiled model from its cache. So do workers that
      share a disk with it.
    - Workers elsewhere read the copy in `staging_location`, and need no TensorFlow.
    - Without `staging_location`, workers elsewhere resolve and compile the model themselves, once
      a process. This takes some 15 seconds, TensorFlow, and a handle that means the same
      there: "builtin", a URL, an object store. A model whose content differs from the launcher's is
      refused.

    A process loads the model once, and its threads share it.
    """

    def __init__(
        self,
        model: str | PreparedModel = "builtin",
        *,
        engine: Literal["auto", "litert", "tensorflow"] = "auto",
        precision: Literal["float32", "float16", "int8"] = "float32",
        batch_size: int = _BATCH_SIZE,
        scaling: Scaling | None = None,
        staging_location: str | None = None,
        resource_hints: Mapping[str, Any] | None = None,
        allow_probabilities: bool = False,
        **beam_options: Unpack[BeamOptions],
    ) -> None:
        """Notes what to run; nothing is resolved yet.

        Args:
          model: A handle, in any form that `extract --model` takes, or what
            `image_features.models.engines.prepare` returned. The latter brings its own engine,
            precision, batch size and scaling.
          engine: The library that computes; "auto" is LiteRT unless the model does not compile.
          precision: The numbers to compute with.
          batch_size: The number of images that are handed to the engine together.
          scaling: What becomes of pixels, such as Scaling.of_range(-1, 1) or
            Scaling(mean=(...), std=(...)); None is what the module says itself, or else [0, 1].
          staging_location: A directory that the workers can read, such as gs://bucket/models; the
            launcher copies the compiled model there.
          resource_hints: Beam's resource hints for the step that runs the model, such as
            {"min_ram": "4GB"}.
          allow_probabilities: Whether the probabilities of a classifier will do for features.
          **beam_options: The batching and sharing of RunInference, see BeamOptions.

        Raises:
          ValueError: an option has no such value, or does not go with a prepared model.
        """
        asked = (Engine(engine), Precision(precision), batch_size, scaling)
        if batch_size < 1:
            raise ValueError(f"The batch size must be at least 1, and it is {batch_size}.")
        if isinstance(model, PreparedModel):
            if asked != (Engine.AUTO, Precision.FLOAT32, _BATCH_SIZE, None):
                raise ValueError(
                    "A prepared model has its engine, precision, batch size and scaling already; "
                    "pass them to prepare() instead."
                )
            asked = (model.engine, model.precision, model.batch_size, model.identity.scaling)
        self._engine, self._precision, self._batch_size, self._scaling = asked
        self._prepared = model if isinstance(model, PreparedModel) else None
        self._handle = model.handle if isinstance(model, PreparedModel) else model
        self._content_hash = model.content_hash if isinstance(model, PreparedModel) else None
        self._staging_location = staging_location
        self._staged = False
        self._resource_hints = dict(resource_hints or {})
        self._allow_probabilities = allow_probabilities or self._prepared is not None
        self._beam_options = bounded(beam_options, self._batch_size)
        super().__init__(**self._beam_options)

    @property
    def prepared(self) -> PreparedModel:
        """The model, resolved and compiled; the first use does this, and takes seconds.

        Raises:
          ModelError: the model cannot be used, or is not the one that the launcher had.
        """
        if self._prepared is None or not _is_readable(self._prepared):
            if self._prepared is not None:
                _LOG.warning(
                    "The compiled model %s cannot be read here, so that it is compiled again; "
                    "pass staging_location to spare every worker this.",
                    self._prepared.flatbuffer,
                )
            fresh = prepare(
                self._handle,
                engine=self._engine,
                precision=self._precision,
                batch_size=self._batch_size,
                scaling=self._scaling,
                allow_probabilities=self._allow_probabilities,
            )
            if self._content_hash not in (None, fresh.content_hash):
                raise ModelError(
                    f"The module {self._handle!r} has changed since it was prepared (hash "
                    f"{fresh.content_hash:.12}, prepared with {self._content_hash:.12}); launch "
                    "the pipeline again, or write its artifacts again."
                )
            self._prepared, self._content_hash = fresh, fresh.content_hash
        if self._staging_location and not self._staged:
            name = self._prepared.flatbuffer_sha256 or self._prepared.content_hash
            self._prepared = stage(self._prepared, f"{self._staging_location.rstrip('/')}/{name}")
            self._staged = True
        return self._prepared

    def load_model(self) -> FeatureFunction:
        """Loads the model in a worker; RunInference shares it among the process's threads."""
        return load(self.prepared)

    def run_inference(
        self,
        batch: Sequence[Pixels],
        model: FeatureFunction,
        inference_args: Mapping[str, Any] | None = None,
    ) -> list[PredictionResult]:
        """Computes the features of a batch.

        Args:
          batch: uint8 arrays [height, width, 3], RGB, at the model's image size.
          model: The function that `load_model` returned.
          inference_args: None; `validate_inference_args` refuses others.

        Returns:
          A PredictionResult for each image, in the batch's order.

        Raises:
          ValueError: an element is not such an array; the message names the first one.
        """
        prepared = self._prepared or self.prepared  # It is loaded: its file may be gone by now.
        shape = (*prepared.image_size, 3)
        for number, pixels in enumerate(batch, 1):
            if not isinstance(pixels, np.ndarray):
                found = f"a {type(pixels).__name__}"
            elif pixels.dtype != np.uint8 or pixels.shape != shape:
                found = f"{pixels.dtype} {list(pixels.shape)}"
            else:
                continue
            raise ValueError(
                f"The model {self._handle!r} takes uint8 arrays of shape {list(shape)}, RGB from 0 "
                f"to 255, and element {number} of a batch of {len(batch)} is {found}; decode and "
                "resize the images first, for example with DecodeImages."
            )
        features = model(np.stack(batch))
        return [
            PredictionResult(pixels, vector, prepared.content_hash)
            for pixels, vector in zip(batch, features, strict=True)
        ]

    def get_num_bytes(self, batch: Sequence[Pixels]) -> int:
        """The bytes of a batch's pixels, for the metric of RunInference."""
        return sum(pixels.nbytes for pixels in batch)

    def get_metrics_namespace(self) -> str:
        """The namespace of this package's metrics, here for those of RunInference."""
        return NAMESPACE

    def get_resource_hints(self) -> dict[str, Any]:
        """Beam's resource hints for the step that runs the model."""
        return dict(self._resource_hints)

    def validate_inference_args(self, inference_args: Mapping[str, Any] | None) -> None:
        """Refuses inference arguments, and prepares the model: RunInference expands right now.

        Raises:
          ModelError: the model cannot be used.
          ValueError: there are arguments.
        """
        if inference_args:
            raise ValueError(
                "FeatureVectorModelHandler takes no inference_args, and got "
                f"{sorted(inference_args)}; its options go to its constructor."
            )
        _ = self.prepared

    def update_model_path(self, model_path: str | None = None) -> None:
        """Changes to another module, as RunInference asks when its model is refreshed.

        Args:
          model_path: The handle of the new module, which every worker must be able to resolve;
            None leaves the module as it is. A scaling that was stated stays.
        """
        if model_path and model_path != self._handle:
            self._handle, self._prepared, self._content_hash = model_path, None, None
            self._staging_location = None

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs to make the handler again elsewhere, of the same module.

        Raises:
          ModelError: the model cannot be used.
        """
        return {
            "model": self._handle,
            "content_hash": self.prepared.content_hash,
            "engine": str(self.prepared.engine),
            "precision": str(self.prepared.precision),
            "batch_size": self._batch_size,
            "scaling": self.prepared.identity.scaling.to_json(),
            "staging_location": self._staging_location,
            "resource_hints": self._resource_hints,
            "allow_probabilities": self._allow_probabilities,
            "beam_options": dict(self._beam_options),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> FeatureVectorModelHandler:
        """Makes a handler that refuses any module but the one that `to_json` had."""
        handler = cls(
            fields["model"],
            engine=fields["engine"],
            precision=fields["precision"],
            batch_size=fields["batch_size"],
            # Versions up to 0.2 knew only [0, 1].
            scaling=Scaling.from_json(fields.get("scaling", {})),
            staging_location=fields["staging_location"],
            resource_hints=fields["resource_hints"],
            allow_probabilities=fields.get("allow_probabilities", False),
            **fields["beam_options"],
        )
        handler._content_hash = fields["content_hash"]
        return handler

    def __getstate__(self) -> dict[str, Any]:
        # What travels to workers is prepared, also where nothing has validated it before.
        _ = self.prepared
        return self.__dict__.copy()

    def __repr__(self) -> str:
        return (
            f"FeatureVectorModelHandler({self._handle!r}, engine={str(self._engine)!r}, "
            f"precision={str(self._precision)!r}, batch_size={self._batch_size})"
        )


def _is_readable(model: PreparedModel) -> bool:
    """Whether what a worker loads may be here; the TensorFlow engine looks for itself."""
    return not model.flatbuffer or "://" in model.flatbuffer or os.path.isfile(model.flatbuffer)
