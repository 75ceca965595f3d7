"""The description of a model that `model describe` prints."""

from __future__ import annotations

from image_features.models.addresses import shown
from image_features.models.declaration import declared_scaling
from image_features.models.graphs import Graph
from image_features.models.handles import resolve
from image_features.models.module import FeatureModule
from image_features.models.soundness import examine


def describe(handle: str) -> dict[str, object]:
    """Resolves and loads a model, and says what it is.

    Args:
      handle: The model, in any form that `handles.resolve` takes.

    Returns:
      JSON-ready values by name: handle, directory, format, signatures, entry, image_size
      ([height, width] in pixels), input_range (or mean and std), input_range_declared_by
      ("module", "hub" or None), num_features, gives_probabilities, parameters, content_hash.

    Raises:
      ModelError: The model cannot be resolved, is not an image feature vector model, or gives no
        features that can be repeated.
    """
    resolved = resolve(handle)
    scaling, declared_by = declared_scaling(resolved)
    module = FeatureModule.load(resolved.directory, scaling=scaling)
    function, _ = module.on_pixels(1)
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
        "gives_probabilities": examine(module),
        "parameters": Graph(function).parameters,
        "content_hash": resolved.content_hash,
    }
