"""FeatureVectorEmbeddings: image columns to feature vectors, for Beam's MLTransform."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.ml.transforms.base import EmbeddingsManager

from image_features.models.feature_function import FeatureFunction
from image_features.transforms.images.fetcher import FetchPolicy
from image_features.transforms.images.policy import Decode, DecodePolicy, Interpolation
from image_features.transforms.inference.columns import ImageColumnError
from image_features.transforms.inference.load_images import LoadedRow, LoadImages, Row, fields_of
from image_features.transforms.inference.model_handler import FeatureVectorModelHandler

_MEGA = 1_000_000


class DecodeOptions(TypedDict, total=False):
    """How files become pixels: attributes of a DecodePolicy, where its defaults are not meant."""

    resize: Literal["stretch", "center_crop", "pad"]
    interpolation: Interpolation
    antialias: bool
    decode: Decode
    allow_truncated: bool
    max_megapixels: float


class FeatureVectorEmbeddings(EmbeddingsManager):
    """Replaces image columns by their feature vectors, lists of floats, in an MLTransform.

        MLTransform(write_artifact_location=artifacts).with_transform(
            FeatureVectorEmbeddings(columns=["photo"])
        )

    A column holds encoded files (bytes), locations (str: local paths, file://, gs://, http(s)://),
    PIL images, or uint8 arrays of any size. Each is decoded, oriented and resized as `extract`
    does it.

    A row that gives no pixels raises ImageColumnError, and ends the pipeline. With
    `MLTransform(...).with_exception_handling()` it goes to the errors instead, alone and as it
    came; its neighbours are computed.

    The artifacts hold these options and the hash of the module, not its weights: a pipeline that
    reads them resolves the module again, and refuses one that has changed.
    """

    def __init__(
        self,
        *,
        columns: list[str],
        model: str | FeatureVectorModelHandler = "builtin",
        fetch: FetchPolicy | None = None,
        **decode: Unpack[DecodeOptions],
    ) -> None:
        """Notes what to do; nothing is resolved yet.

        Args:
          columns: The columns that hold images.
          model: A handle, in any form that `extract --model` takes, or a handler with more options.
          fetch: How locations are fetched, and the largest file in bytes.
          **decode: `resize`, `interpolation` and `antialias`, the way to the model's image size;
            `decode`, "exact" for every pixel of a JPEG, "fast" for as many as the size needs,
            "preview" for those of a camera's preview;
            `allow_truncated`, whether a file that ends early counts; `max_megapixels`, the largest
            image, in millions of pixels, that is decoded. See DecodePolicy.

        Raises:
          ValueError: there is no list of columns, or no such interpolation.
          TypeError: there is no such option.
        """
        if isinstance(columns, str) or not columns:
            raise ValueError(f"columns is a list of names, such as ['image'], not {columns!r}.")
        super().__init__(columns=list(columns))
        self._handler = (
            model
            if isinstance(model, FeatureVectorModelHandler)
            else FeatureVectorModelHandler(model)
        )
        self._fetch = fetch or FetchPolicy()
        options: dict[str, Any] = {**decode, "max_bytes": self._fetch.max_bytes}
        if "max_megapixels" in options:
            options["max_pixels"] = int(options.pop("max_megapixels") * _MEGA)
        DecodePolicy((1, 1), **options)  # What is wrong is said now, and not when a graph is made.
        self._decode = options

    def get_model_handler(self) -> FeatureVectorModelHandler:
        """The handler that computes the vectors."""
        return self._handler

    def get_ptransform_for_processing(self, **kwargs: Any) -> EmbedColumns:
        """The transform that MLTransform applies and, as artifact, keeps."""
        return EmbedColumns(self.columns, self._handler, self._fetch, self._decode)


class EmbedColumns(beam.PTransform):
    """Rows to rows with vectors in some columns; MLTransform makes it.

    Beam's artifacts name this class, and hold what __getstate__ returns.

    Args:
      columns: The columns that hold images.
      handler: The handler that computes the vectors.
      fetch: How locations are fetched.
      decode: The attributes of a DecodePolicy, except for the image size.
    """

    def __init__(
        self,
        columns: list[str],
        handler: FeatureVectorModelHandler,
        fetch: FetchPolicy,
        decode: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._columns = columns
        self._handler = handler
        self._fetch = fetch
        self._decode = dict(decode)
        self._handling: dict[str, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {
            "columns": self._columns,
            "handler": self._handler.to_json(),
            "fetch": self._fetch,
            "decode": self._decode,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        EmbedColumns.__init__(
            self,
            state["columns"],
            FeatureVectorModelHandler.from_json(state["handler"]),
            state["fetch"],
            state["decode"],
        )

    def default_label(self) -> str:
        """A label that differs where two stand in one MLTransform."""
        return f"EmbedColumns({', '.join(self._columns)})"

    def with_exception_handling(self, **options: Any) -> EmbedColumns:
        """Sends rows that fail to a second output; MLTransform calls this.

        Args:
          **options: The options of beam.ParDo.with_exception_handling.
        """
        self._handling = options
        return self

    def expand(self, rows: Any) -> Any:
        policy = DecodePolicy(self._handler.prepared.image_size, **self._decode)
        loaded = (
            rows
            | "BatchRows" >> beam.BatchElements(**self._handler.batch_elements_kwargs())
            | "LoadImages" >> LoadImages(columns=self._columns, fetch=self._fetch, policy=policy)
        )
        check = beam.ParDo(_CheckDoFn())
        infer = RunInference(_RowsHandler(self._handler, self._columns))
        if self._handling is None:
            return loaded | "CheckImages" >> check | "RunInference" >> infer
        checked, unusable = loaded | "CheckImages" >> check.with_exception_handling(
            **self._handling
        )
        embedded, failed = checked | "RunInference" >> infer.with_exception_handling(
            **self._handling
        )
        errors = (
            unusable | "OfOne" >> beam.MapTuple(lambda loaded, error: (loaded.row, error)),
            failed.failed_inferences
            | "OfBatch"
            >> beam.FlatMapTuple(lambda batch, error: [(loaded.row, error) for loaded in batch]),
        )
        return embedded, errors | "Errors" >> beam.Flatten()


class _CheckDoFn(beam.DoFn):
    """Raises the error of a row that has one: each row fails alone, by Beam's own means."""

    def process(self, loaded: LoadedRow) -> Iterator[LoadedRow]:
        if loaded.error is not None:
            raise ImageColumnError(*loaded.error)
        yield loaded


class _RowsHandler(ModelHandler[LoadedRow, Row, FeatureFunction]):
    """Runs a handler on the images of rows, and puts the vectors in their columns."""

    def __init__(self, handler: FeatureVectorModelHandler, columns: list[str]) -> None:
        super().__init__(env_vars=handler._env_vars)
        self._handler = handler
        self._columns = columns

    def load_model(self) -> FeatureFunction:
        return self._handler.load_model()

    def run_inference(
        self,
        batch: Sequence[LoadedRow],
        model: FeatureFunction,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterator[Row]:
        images = [image for loaded in batch for image in loaded.images]
        vectors = iter(self._handler.run_inference(images, model, inference_args))
        for loaded in batch:
            columns = {column: next(vectors).inference.tolist() for column in self._columns}
            fields = {**fields_of(loaded.row), **columns}
            yield fields if isinstance(loaded.row, dict) else beam.Row(**fields)

    def get_num_bytes(self, batch: Sequence[LoadedRow]) -> int:
        return sum(self._handler.get_num_bytes(loaded.images) for loaded in batch)

    def get_metrics_namespace(self) -> str:
        return self._handler.get_metrics_namespace()

    def get_resource_hints(self) -> dict[str, Any]:
        return self._handler.get_resource_hints()

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        return self._handler.batch_elements_kwargs()

    def validate_inference_args(self, inference_args: Mapping[str, Any] | None) -> None:
        self._handler.validate_inference_args(inference_args)

    def share_model_across_processes(self) -> bool:
        return self._handler.share_model_across_processes()

    def model_copies(self) -> int:
        return self._handler.model_copies()

    def __repr__(self) -> str:
        return repr(self._handler)
