"""A SavedModel, of Keras or anything else, cut where its features are."""

from __future__ import annotations

import os
from typing import Any

from image_features.errors import ModelError
from image_features.models.conversion.graph_function import graph_function, inlined
from image_features.models.conversion.image_model import ImageModel
from image_features.models.conversion.inputs import image_input
from image_features.models.conversion.ranges import BYTES, by_arithmetic
from image_features.models.conversion.saved_graph import SavedGraph
from image_features.models.entries import OUTPUT_ORDER, Entry, find_entries
from image_features.models.first_line import first_line
from image_features.models.metadata import read_metadata
from image_features.models.module import load_saved_model
from image_features.models.scaling import Scaling

_KERAS_2_MARKER = "keras_metadata.pb"


def open_saved_model(directory: str, *, layer: str, image_size: int | None) -> ImageModel:
    """Loads a SavedModel, and cuts its graph.

    Args:
      directory: A local directory with saved_model.pb.
      layer: The layer whose output the features are; empty for the last before a classifier that
        gives probabilities.
      image_size: The side of the images, for models that take any.

    Raises:
      ModelError: It cannot be loaded, takes no images, or has no such layer.
    """
    loaded, format = load_saved_model(directory)
    entry = find_entries(loaded, directory, any_type=True)[0]
    known = entry.spec is not None and entry.spec.shape.rank is not None
    shape = entry.spec.shape.as_list() if known else None
    dtype = entry.spec.dtype.name if entry.spec is not None else "float32"
    given = image_input(shape, dtype, directory, image_size=image_size)
    concrete = _traced(entry, given, directory)
    definition = inlined(concrete, directory)
    graph = SavedGraph(definition, concrete)
    cut = graph.cut_at(layer, directory) if layer else graph.cut_before_classifier(directory)
    scaling, reason = _declared(directory, format, dtype)
    if scaling is None:
        kind, numbers, node = graph.first_arithmetic(concrete.inputs[0].name)
        scaling = by_arithmetic(kind, numbers)
        reason = f"as its first operation {node!r} says" if scaling else ""
    return ImageModel(
        path=directory,
        kind=_kind(directory, format),
        function=graph_function(concrete, definition, cut.tensor, directory),
        input=given,
        layer=cut.layer,
        cut=cut.reason,
        scaling=scaling,
        range_reason=reason,
    )


def _kind(directory: str, format: str) -> str:
    if os.path.isfile(os.path.join(directory, _KERAS_2_MARKER)):
        return "a SavedModel of Keras 2"
    return "a TF1 Hub module" if format == "tf1_hub" else "a SavedModel"


def _declared(directory: str, format: str, dtype: str) -> tuple[Scaling | None, str]:
    declared = read_metadata(directory).scaling
    if declared is not None:
        return declared, "as the module itself says"
    if format == "tf1_hub":
        return Scaling(), "as modules of TensorFlow Hub have it"
    if dtype.startswith(("int", "uint")):
        return BYTES, f"as it takes {dtype}"
    return None, ""


def _traced(entry: Entry, given: Any, directory: str) -> Any:
    """Traces a model to its only output, or that of the features."""
    import tensorflow as tf

    def run(images: Any) -> Any:
        output = entry.call(given.cast(images))
        named = output if isinstance(output, dict) else dict(enumerate(tf.nest.flatten(output)))
        key = next((key for key in OUTPUT_ORDER if key in named), None)
        if key is None and len(named) != 1:
            raise ModelError(
                f"The model {directory!r} has the outputs {', '.join(map(repr, sorted(named)))}; "
                "export it with the one that the features are."
            )
        return tf.identity(named[key] if key is not None else next(iter(named.values())))

    try:
        return tf.function(run, autograph=False).get_concrete_function(given.spec())
    except ModelError:
        raise
    except Exception as error:  # TensorFlow raises many types here.
        raise ModelError(
            f"The model {directory!r} cannot be run on images of {given.size[0]}x{given.size[1]} "
            f"pixels ({first_line(error)}); choose another size by --image_size."
        ) from error
