"""The weights of the MobileNet V2 family, from the files that people have them in."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import os
import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError
from image_features.models import mobilenet_v2 as network
from image_features.models.sources.refusal import NotOfFamilyError as NotOfFamilyError

# The published checkpoints have these (Slim's mobilenet README and keras.applications).
DEPTH_MULTIPLIERS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
IMAGE_SIZES = (96, 128, 160, 192, 224)
_BUNDLED = "builtin.npz"
_AVERAGE = "/ExponentialMovingAverage"

Arrays = dict[str, npt.NDArray[np.float32]]


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkWeights:
    """A network of the family, ready to be exported.

    Attributes:
      arrays: float32 arrays by variable name, shaped as `mobilenet_v2.variable_shapes` says.
      depth_multiplier: The factor of all its depths.
      image_size: The side of its images in pixels; None if the source does not say.
    """

    arrays: network.Weights
    depth_multiplier: float
    image_size: int | None


def bundled_weights() -> NetworkWeights:
    """Reads the trained weights in the package: depth multiplier 0.5, 96 x 96 pixels."""
    with importlib.resources.as_file(_bundled_file()) as path:
        return NetworkWeights(load_bundled(str(path)), 0.5, 96)


def bundled_digest() -> str:
    """Returns the hexadecimal SHA-256 of the weights in the package."""
    return hashlib.sha256(_bundled_file().read_bytes()).hexdigest()


def _bundled_file() -> Traversable:
    return importlib.resources.files(__package__) / _BUNDLED


def load_bundled(path: str) -> network.Weights:
    """Reads a file that `save_bundled` wrote, as float32."""
    with np.load(path) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def save_bundled(weights: network.Weights, path: str) -> None:
    """Writes weights as compressed .npz: kernels in half precision, the rest in single.

    With one version of NumPy, every run gives the same bytes.
    """
    small: dict[str, Any] = {
        name: array.astype(np.float32 if "/BatchNorm/" in name else np.float16)
        for name, array in weights.items()
    }
    with open(path, "wb") as file:
        np.savez_compressed(file, **small)


def is_weights_file(path: str) -> bool:
    """Whether a path is a weights file or a checkpoint rather than a module's handle."""
    if path.endswith((".h5", ".hdf5", ".index")) or os.path.isfile(f"{path}.index"):
        return True
    return os.path.isdir(path) and any(
        name.endswith(".ckpt.index") or name == "checkpoint" for name in os.listdir(path)
    )


def read_weights(path: str, *, depth_multiplier: float | None = None) -> NetworkWeights:
    """Reads the weights of a network of the family.

    Args:
      path: A Keras .h5 or .weights.h5 file, with or without its top; a TF-Slim checkpoint (its
        prefix, its .index, or the directory that has it); or a directory with saved_model.pb, in
        either Hub format.
      depth_multiplier: The network's depth multiplier; None finds it by the shapes of the
        variables.

    Raises:
      ModelError: The file cannot be read, or a variable is missing or misshapen.
    """
    if os.path.isfile(os.path.join(path, "saved_model.pb")):
        arrays, image_size = _read_saved_model(path)
    elif path.endswith((".h5", ".hdf5")):
        from image_features.models.keras_weights import read_keras

        arrays, image_size = read_keras(path), _size_in_name(path)
    else:
        prefix = _checkpoint_prefix(path)
        arrays, image_size = _read_checkpoint(prefix), _size_in_name(prefix)
    multiplier = depth_multiplier or _find_depth_multiplier(arrays)
    checked = {
        name: _checked(arrays, name, shape, multiplier, path)
        for name, shape in network.variable_shapes(multiplier).items()
    }
    return NetworkWeights(checked, multiplier, image_size)


def _checked(
    arrays: Arrays, name: str, shape: network.Shape, multiplier: float, path: str
) -> npt.NDArray[np.float32]:
    array = arrays.get(name)
    if array is None or array.shape != shape:
        fault = "lacks" if array is None else f"has shape {array.shape} for"
        raise NotOfFamilyError(
            f"{path!r} {fault} the variable {name!r}, which is {shape} in MobileNet V2 with depth "
            f"multiplier {multiplier}; give a file of the MobileNet V2 family, or its own "
            "--depth_multiplier."
        )
    if not np.isfinite(array).all():
        raise ModelError(f"{path!r} has values that are not finite in {name!r}; get it afresh.")
    return array


def _find_depth_multiplier(arrays: Arrays) -> float:
    """Returns the multiplier of the family whose shapes agree with most of the arrays."""

    def agreeing(multiplier: float) -> int:
        shapes = network.variable_shapes(multiplier)
        return sum(n in arrays and arrays[n].shape == shape for n, shape in shapes.items())

    return max(DEPTH_MULTIPLIERS, key=agreeing)


def _size_in_name(path: str) -> int | None:
    """Reads the image size in a published file's name, such as "mobilenet_v2_0.5_96"."""
    sizes = "|".join(map(str, IMAGE_SIZES))
    names = (os.path.basename(path), os.path.basename(os.path.dirname(os.path.abspath(path))))
    for name in names:
        if found := re.search(rf"_({sizes})(?=[_.]|$)", name):
            return int(found[1])
    return None


def _checkpoint_prefix(path: str) -> str:
    import tensorflow as tf

    prefix = path.removesuffix(".index").removesuffix(".meta")
    if os.path.isdir(path):
        # The state file may name a path of the machine that wrote it, so look at what is there.
        found = sorted(n for n in os.listdir(path) if n.endswith(".index"))
        latest = os.path.basename(tf.train.latest_checkpoint(path) or "")
        if f"{latest}.index" in found:
            found = [f"{latest}.index"]
        if len(found) == 1:
            return os.path.join(path, found[0].removesuffix(".index"))
    elif os.path.isfile(f"{prefix}.index"):
        return prefix
    raise ModelError(
        f"There are no MobileNet V2 weights at {path!r}; name a Keras .h5 file, the prefix of a "
        "TF-Slim checkpoint, or a module's directory with saved_model.pb."
    )


def _read_checkpoint(prefix: str) -> Arrays:
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(prefix)
        names = reader.get_variable_to_shape_map()
        return _by_slim_name({name: name for name in names}, reader.get_tensor)
    except (ValueError, tf.errors.OpError) as error:
        raise ModelError(
            f"TensorFlow cannot read the checkpoint {prefix!r} ({error}); get it afresh."
        ) from error


def _read_saved_model(directory: str) -> tuple[Arrays, int | None]:
    from image_features.models.entries import stated_image_size
    from image_features.models.module import load_saved_model

    loaded, _ = load_saved_model(directory)
    variables = {v.name.partition(":")[0]: v for v in getattr(loaded, "variables", ())}
    arrays = _by_slim_name(variables, lambda variable: variable.numpy())
    size = stated_image_size(loaded, directory)
    return arrays, size[0] if size and size[0] == size[1] else None


def _by_slim_name(keys: Mapping[str, Any], read: Any) -> Arrays:
    """Reads the network's variables, whatever scope their names begin with.

    Where a training checkpoint has moving averages too, they are taken: they were published.
    """
    wanted = network.variable_shapes(0.5)
    arrays: Arrays = {}
    for name in sorted(keys, key=lambda name: name.endswith(_AVERAGE)):
        start = name.find("MobilenetV2/")
        slim = name[start:].removesuffix(_AVERAGE)
        if start >= 0 and slim in wanted:
            arrays[slim] = np.asarray(read(keys[name]), np.float32)
    return arrays
