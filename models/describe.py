"""The description of a model that `model describe` prints."""

from __future__ import annotations

import math
import os

from image_features.models.addresses import shown
from image_features.models.declaration import declared_scaling
from image_features.models.handles import resolve
from image_features.models.module import FeatureModule


def parameter_count(directory: str) -> int:
    """Counts the numbers in a SavedModel's floating-point variables, moving statistics included."""
    import tensorflow as tf

    prefix = os.path.join(directory, "variables", "variables")
    if not os.path.isfile(prefix + ".index"):
        return 0  # The graph has constants, and no variables.
    reader = tf.train.load_checkpoint(prefix)
    types = reader.get_variable_to_dtype_map()
    return sum(
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
      ([height, width] in pixels), input_range (or mean and std), input_range_declared_by
      ("module", "hub" or None), num_features, parameters, content_hash.

    Raises:
      ModelError: The model cannot be resolved, or is not an image feature vector model.
    """
    resolved = resolve(handle)
    scaling, declared_by = declared_scaling(resolved)
    module = FeatureModule.load(resolved.directory, scaling=scaling)
    return {
        "handle": shown(resolved.handle),
        "directory": resolved.directory,
        "format": module.format,
        "signatures": list(module.signatures),
        "entry": module.entry,
        "image_size": list(module.image_size),
        **scaling.to_json(),
        "input_range_declared_by": declared_by,
        "num_features": module.num_features,
        "parameters": parameter_count(resolved.directory),
        "content_hash": resolved.content_hash,
    }
