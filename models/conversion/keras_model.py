"""A Keras model in a file, cut where its features are."""

from __future__ import annotations

import logging
from typing import Any

from image_features.errors import ModelError
from image_features.models.conversion.graph_function import graph_function, inlined
from image_features.models.conversion.heads import Cut, cut_at, cut_before_classifier
from image_features.models.conversion.image_model import ImageModel
from image_features.models.conversion.inputs import ImageInput, image_input
from image_features.models.conversion.keras_file import KerasFile, load_model, read_keras_file
from image_features.models.conversion.layer_calls import Calls, LayerCall, Reached, recorded
from image_features.models.conversion.ranges import infer_scaling, published_advice
from image_features.models.first_line import first_line
from image_features.models.sources.form import Form


def open_keras(
    path: str, form: Form, *, layer: str, pooling: str, image_size: int | None
) -> ImageModel:
    """Loads a Keras model in safe mode, and cuts it.

    Args:
      path: A .keras archive, or an .h5 file with a whole model.
      form: Which of the two it is.
      layer: The layer whose output the features are; empty for the last before the classifier.
      pooling: How the caller pools; "" leaves a pooling of the model's own where it is.
      image_size: The side of the images, for models that take any.

    Raises:
      ModelError: The model cannot be loaded, takes no images, or has no such layer.
    """
    # Keras warns of what does not matter here, such as that the model is not compiled.
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    file = read_keras_file(path, form)
    library, model = load_model(file)
    given = _input_of(model, path, image_size)
    calls, images = _run(library, model, given, path)
    if layer:
        cut = cut_at(calls, layer, path)
    else:
        cut = cut_before_classifier(calls, file.loss, path, pools=bool(pooling))
    _refuse_channels_first(calls, path)
    scaling, reason = infer_scaling(calls, images, given.dtype)
    if scaling is None:
        reason = published_advice([model.name, *(c.path for c in calls.all if c.is_model)])
    stop = None if cut.call is None else calls.index(cut.call)
    concrete = _traced(library, model, given, stop)
    definition = inlined(concrete, path)
    function = graph_function(concrete, definition, concrete.outputs[0].name, path)
    return ImageModel(
        path=path,
        kind=_kind(file, model),
        function=function,
        input=given,
        layer=_end(calls, cut),
        cut=cut.reason,
        scaling=scaling,
        range_reason=reason,
    )


def _kind(file: KerasFile, model: Any) -> str:
    version = f"Keras {file.version}" if file.version else "an early Keras"
    return f"{type(model).__name__} {model.name!r} of {version}"


def _end(calls: Calls, cut: Cut) -> str:
    call: LayerCall | None = cut.call or calls.maker(calls.outputs[0])
    return "" if call is None else call.path


def _input_of(model: Any, path: str, image_size: int | None) -> ImageInput:
    inputs = model.inputs or []
    if len(inputs) != 1:
        names = ", ".join(repr(tensor.name) for tensor in inputs) or "none that is stated"
        raise ModelError(
            f"The model {path!r} has {len(inputs)} inputs ({names}), and one is needed; save "
            "the part that takes the images as a model of its own."
        )
    (taken,) = inputs
    dtype = getattr(taken.dtype, "name", taken.dtype)
    return image_input(
        list(taken.shape), str(dtype), path, image_size=image_size, resized=_resized(model)
    )


def _resized(model: Any) -> tuple[int, int] | None:
    """Returns the size that a model's own first layer resizes its images to."""
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "Resizing":
            return (layer.height, layer.width)
        if hasattr(layer, "layers") and layer.layers:
            return _resized(layer)
        if kind != "InputLayer" and not kind.startswith(("Random", "Rescaling")):
            return None
    return None


def _run(library: Any, model: Any, given: ImageInput, path: str) -> tuple[Calls, Any]:
    """Traces the whole model; returns the calls of its layers and the tensor of its images."""
    import tensorflow as tf

    kept: list[Any] = []

    def run(images: Any) -> None:
        cast = given.cast(images)
        with recorded(library) as calls:
            outputs = model(cast, training=False)
        kept.extend((calls, tuple(tf.nest.flatten(outputs)), cast))

    try:
        # The graph is kept alive by its tensors.
        tf.function(run, autograph=False).get_concrete_function(given.spec())
    except Exception as error:  # Keras raises what its layers raise.
        raise ModelError(
            f"The model {path!r} cannot be run on images of {given.size[0]}x{given.size[1]} pixels "
            f"({first_line(error)}); choose another size by --image_size, or make it anew."
        ) from error
    calls, outputs, images = kept
    return Calls(calls, outputs), images


def _traced(library: Any, model: Any, given: ImageInput, stop: int | None) -> Any:
    """Traces the model up to a call, so that what follows is not in the graph at all."""
    import tensorflow as tf

    def run(images: Any) -> Any:
        try:
            with recorded(library, stop):
                output = tf.nest.flatten(model(given.cast(images), training=False))[0]
        except Reached as reached:
            output = reached.outputs[0]
        return tf.identity(output)

    return tf.function(run, autograph=False).get_concrete_function(given.spec())


def _refuse_channels_first(calls: Calls, path: str) -> None:
    for call in calls.layers:
        if getattr(call.layer, "data_format", None) == "channels_first":
            raise ModelError(
                f"The layer {call.path!r} of the model {path!r} has its channels first, which "
                "TensorFlow does not run on a CPU; make the model anew with channels last."
            )
