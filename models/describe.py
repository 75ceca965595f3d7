"""The description of a model that `model describe` prints."""

from __future__ import annotations

import math
import os

from image_features.models.addresses import shown
from image_features.models.graphs import Graph
from image_features.models.handles import resolve
from image_features.models.module import FeatureModule
from image_features.models.soundness import examine


def parameter_count(module: FeatureModule) -> int:
    """Counts the floating-point numbers of a module, moving statistics included.

    They are those of its variables, and of the constants in the graph of its features; a single
    number, such as an epsilon, does not count there.
    """
    import tensorflow as tf

    function, _ = module.on_pixels(module.batch_size)
    constants = Graph(function).constant_numbers
    prefix = os.path.join(module.directory, "variables", "variables")
    if not os.path.isfile(prefix + ".index"):
        return constants
    reader = tf.train.load_checkpoint(prefix)
    types = reader.get_variable_to_dtype_map()
    return constants + sum(
        math.prod(shape)
        for name, shape in reader.get_variable_to_shape_map().items()
        if types[name].is_floating
    )


def describe(handle: str) -> dict[str, object]:
    """Resolves and loads a model, and says what it is.

    Args:
      handle: The model, in any form that `handles.resolve` takes.

    Returns:
      JSON-ready values by name: handle, directory, format, signatures, entry, image_size
      ([height, width] in pixels), input_range (or mean and std), num_features,
      gives_probabilities, parameters, content_hash.

    Raises:
      ModelError: The model cannot be resolved, is not an image feature vector model, or gives no
        features that can be repeated.
    """
    resolved = resolve(handle)
    module = FeatureModule.load(resolved.directory)
    return {
        "handle": shown(resolved.handle),
        "directory": resolved.directory,
        "format": module.format,
        "signatures": list(module.signatures),
        "entry": module.entry,
        "image_size": list(module.image_size),
        **module.scaling.to_json(),
        "num_features": module.num_features,
        "gives_probabilities": examine(module),
        "parameters": parameter_count(module),
        "content_hash": resolved.content_hash,
    }
