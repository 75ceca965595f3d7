"""Conversion of MobileNet V2 between the formats that its weights come in."""

from __future__ import annotations

import enum
import os
from typing import Any

from image_features.errors import ModelError
from image_features.models import mobilenet_v2 as network
from image_features.models.addresses import shown
from image_features.models.export import export_tf1_hub, export_tf2
from image_features.models.files import staged_directory
from image_features.models.handles import BUILTIN, UNTRAINED, resolve
from image_features.models.weights import NetworkWeights, is_weights_file, read_weights
from image_features.system.paths import absolute


class ModelFormat(enum.StrEnum):
    """The formats that `convert` writes."""

    TF1_HUB = "tf1_hub"
    TF2 = "tf2"
    SLIM = "slim"


def read_network(source: str, *, depth_multiplier: float | None = None) -> NetworkWeights:
    """Reads the weights of a network from a file, a checkpoint or any model handle.

    Raises:
      ModelError: The source cannot be read, or is not of the MobileNet V2 family.
    """
    path = source if source in (BUILTIN, UNTRAINED) else absolute(source)
    path = path if is_weights_file(path) else resolve(source).directory
    return read_weights(path, depth_multiplier=depth_multiplier)


def convert(
    source: str,
    target: str,
    *,
    format: ModelFormat,
    image_size: int | None = None,
    depth_multiplier: float | None = None,
) -> NetworkWeights:
    """Writes a network in another format.

    Args:
      source: The network, in any form that `read_network` takes.
      target: The directory to make.
      format: The format of the target.
      image_size: The side of the images in pixels; None takes what the source says.
      depth_multiplier: The network's depth multiplier; None finds it by the shapes of the
        variables.

    Returns:
      The network that was written.

    Raises:
      ModelError: The source cannot be read, does not say its image size, or the target is there.
    """
    if os.path.lexists(target):
        raise ModelError(f"The target {target!r} exists; name a directory that does not exist yet.")
    found = read_network(source, depth_multiplier=depth_multiplier)
    size = image_size or found.image_size
    if size is None:
        raise ModelError(
            f"{shown(source)!r} does not say the size of its images; pass --image_size with the "
            "size it "
            "was trained for, such as 96 or 224."
        )
    written = NetworkWeights(found.arrays, found.depth_multiplier, size)
    if format is ModelFormat.SLIM:
        _save_slim(written, target)
    else:
        export = export_tf1_hub if format is ModelFormat.TF1_HUB else export_tf2
        export(written.arrays, target, image_size=size, depth_multiplier=written.depth_multiplier)
    return written


def _save_slim(weights: NetworkWeights, target: str) -> None:
    """Writes a checkpoint named as TF-Slim's published ones are."""
    import tensorflow as tf

    shapes = network.variable_shapes(weights.depth_multiplier)
    name = f"mobilenet_v2_{weights.depth_multiplier}_{weights.image_size}.ckpt"
    with (
        staged_directory(target) as staging,
        tf.Graph().as_default(),
        tf.compat.v1.Session() as session,
    ):
        variables: list[Any] = [
            tf.compat.v1.get_variable(name, initializer=weights.arrays[name]) for name in shapes
        ]
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(variables)
        saver.save(
            session,
            os.path.join(staging, name),
            write_meta_graph=False,
            # Its state file would name the staging directory.
            write_state=False,
        )
