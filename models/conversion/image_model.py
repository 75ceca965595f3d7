"""A model of images that is cut where its features are, and the module that is made of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError
from image_features.models.conversion.graph_function import GraphFunction
from image_features.models.conversion.inputs import ImageInput
from image_features.models.files import staged_directory
from image_features.models.first_line import first_line
from image_features.models.metadata import ModuleMetadata, write_metadata
from image_features.models.scaling import Scaling

POOLINGS = ("avg", "max")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ImageModel:
    """A model on its way to a module.

    Attributes:
      path: Where it comes from.
      kind: What it is, in words.
      function: The graph from float32 images to the features, which may have positions.
      input: The images that it takes.
      layer: The layer whose output the features are; empty for the model's own.
      cut: Where it was cut, in words.
      scaling: What becomes of pixels; None if it is not known.
      range_reason: Why, or how it may be stated, in words.
    """

    path: str
    kind: str
    function: GraphFunction
    input: ImageInput
    layer: str
    cut: str
    scaling: Scaling | None
    range_reason: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The features of a model as one function.

    Attributes:
      run: The tf.function from float32 images to float32 [batch, features].
      pooling: What was done with positions: "avg", "max" or "".
      count: The number of features.
    """

    run: Any
    pooling: str
    count: int


def features_of(model: ImageModel, pooling: str) -> Features:
    """Traces the features of a model, pooled if they have positions.

    Raises:
      ModelError: They are no vectors, and cannot be pooled as is asked for.
    """
    import tensorflow as tf

    used = ""

    def run(images: Any) -> Any:
        nonlocal used
        values = model.function(images)
        if not (values.dtype.is_floating or values.dtype.is_integer):
            raise ModelError(f"{_output(model)} is {values.dtype.name}, not numbers.")
        values = tf.cast(values, tf.float32)
        used = _pooling_of(values.shape, pooling, model)
        if used:
            reduce = tf.reduce_max if used == "max" else tf.reduce_mean
            values = reduce(values, axis=list(range(1, values.shape.rank - 1)))
        if values.shape[-1] is None:
            raise ModelError(f"{_output(model)} does not say how many features it has.")
        return tf.identity(values, name="features")

    function = tf.function(run, autograph=False)
    concrete = function.get_concrete_function(model.input.spec())
    return Features(function, used, int(concrete.outputs[0].shape[-1]))


def _output(model: ImageModel) -> str:
    whose = f"of the layer {model.layer!r} " if model.layer else ""
    return f"The output {whose}of the model {model.path!r}"


def _pooling_of(shape: Any, pooling: str, model: ImageModel) -> str:
    told = "of unknown shape" if shape.rank is None else f"{shape.as_list()[1:]} for each image"
    if shape.rank == 2:
        if pooling:
            raise ModelError(
                f"{_output(model)} is a vector, {told}, without positions to pool; leave --pooling "
                "out, or name a layer before it by --layer."
            )
        return ""
    if shape.rank == 4:
        return pooling or "avg"
    if shape.rank == 3:
        if not pooling:
            raise ModelError(
                f"{_output(model)} is a row of vectors, {told}, such as the tokens of a "
                "transformer; pass --pooling=avg or max to make one of them, or name a layer that "
                "gives one by --layer."
            )
        return pooling
    raise ModelError(f"{_output(model)} is {told}, and features are vectors or maps of them.")


def check_features(model: ImageModel, features: Features) -> None:
    """Makes sure that the features of plain images are finite, and the same twice.

    Raises:
      ModelError: They are not, or the model cannot be run.
    """
    images = model_images(model)
    try:
        first, second = (features.run(images).numpy() for _ in range(2))
    except Exception as error:  # TensorFlow raises many types here.
        raise ModelError(
            f"The model {model.path!r} fails on images of {model.input.size[0]}x"
            f"{model.input.size[1]} pixels ({first_line(error)}); choose another size by "
            "--image_size, or another layer."
        ) from error
    if not np.isfinite(first).all():
        raise ModelError(
            f"{_output(model)} is not finite for a plain image; its weights are damaged, or it is "
            "in half precision and overflows."
        )
    # It may round in another order each time, but no more.
    if not np.allclose(first, second, rtol=1e-3, atol=1e-3 * float(np.abs(first).max())):
        raise ModelError(
            f"The model {model.path!r} gives two results for the same images, as it has random "
            "layers that are active in inference, such as RandomFlip or Dropout; save it as a "
            ".keras file, or export it by a call with training=False."
        )


def model_images(model: ImageModel) -> Any:
    """Returns images of noise in the numbers that a model takes."""
    batch = model.input.batch or 2
    noise = np.random.RandomState(0).randint(0, 256, (batch, *model.input.size, 3))
    scaling = model.scaling or Scaling()
    numbers: npt.NDArray[np.float32] = scaling.to_numbers(noise.astype(np.uint8))
    return numbers


def save_module(model: ImageModel, features: Features, target: str) -> None:
    """Writes a reusable TF2 SavedModel with what is known of it.

    Raises:
      ModelError: The directory cannot be written, or the graph has what cannot be saved.
    """
    import tensorflow as tf

    # A Checkpoint takes any attribute, `variables` among them; a tf.Module does not.
    module = tf.train.Checkpoint()
    module.variables = model.function.variables
    module.trainable_variables = [v for v in model.function.variables if v.trainable]
    module.regularization_losses = []
    module.__call__ = features.run
    serve = tf.function(
        lambda images: {"default": features.run(images)}, input_signature=[model.input.spec()]
    )
    metadata = ModuleMetadata(
        scaling=model.scaling, source=model.kind, layer=model.layer, pooling=features.pooling
    )
    with staged_directory(target) as staging:
        try:
            tf.saved_model.save(module, staging, signatures={"serving_default": serve})
        except (ValueError, TypeError, AssertionError, KeyError) as error:
            raise ModelError(
                f"TensorFlow cannot save what the model {model.path!r} computes "
                f"({first_line(error)}); name an earlier layer by --layer."
            ) from error
        write_metadata(staging, metadata)
