"""The weights of the MobileNet V2 family, from the files that people have them in."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.resources
import logging
import os
import re
from typing import Any

import numpy as np

from image_features.errors import ModelError
from image_features.models import mobilenet_v2 as network
from image_features.models.bundled import bundled_file
from image_features.models.sources.form import Form, recognise
from image_features.models.sources.found import Found, find
from image_features.models.sources.matching import BY_NAME
from image_features.models.sources.refusal import NotOfFamilyError as NotOfFamilyError

IMAGE_SIZES = (96, 128, 160, 192, 224)
_log = logging.getLogger(__name__)
_HDF5_SUFFIXES = (".h5", ".hdf5")
_HDF5_FORMS = (Form.KERAS_H5_MODEL, Form.KERAS_H5_WEIGHTS, Form.KERAS_3_WEIGHTS)


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkWeights:
    """A network of the family, ready to be exported.

    Attributes:
      arrays: float32 arrays by variable name, shaped as `mobilenet_v2.variable_shapes` says.
      depth_multiplier: The factor of all its depths.
      image_size: The side of its images in pixels; None if the source does not say.
      matched: What its layers were told by in the source, in words.
    """

    arrays: network.Weights
    depth_multiplier: float
    image_size: int | None
    matched: str = BY_NAME


def bundled_weights() -> NetworkWeights:
    """Reads the trained weights in the package: depth multiplier 0.5, 96 x 96 pixels."""
    with importlib.resources.as_file(bundled_file()) as path:
        return NetworkWeights(load_bundled(str(path)), 0.5, 96)


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
    form = recognise(path)
    if form is None:
        return path.endswith(_HDF5_SUFFIXES)
    return form.wants_converting


def read_weights(path: str, *, depth_multiplier: float | None = None) -> NetworkWeights:
    """Reads the weights of a network of the family.

    Args:
      path: Any form of `sources.form.Form` but an archive of a SavedModel; or the prefix, the
        index or the directory of a checkpoint. What it is is told by its content.
      depth_multiplier: The network's depth multiplier; None finds it by the shapes of the
        variables.

    Raises:
      NotOfFamilyError: The source can be read, and holds no network of the family.
      ModelError: The source cannot be read.
    """
    found, name = _find(path, depth_multiplier)
    if found.matched != BY_NAME:
        _log.warning("%r: the layers of MobileNet V2 were told by %s.", path, found.matched)
    for variable, array in found.arrays.items():
        if not np.isfinite(array).all():
            raise ModelError(
                f"{path!r} has values that are not finite in {variable!r}; get it afresh."
            )
    size = found.image_size or _size_in_name(name)
    return NetworkWeights(found.arrays, found.depth_multiplier, size, found.matched)


def _find(path: str, wanted: float | None) -> tuple[Found, str]:
    """Returns the network of a source, and the path whose name may tell the size of its images."""
    from image_features.models.sources import checkpoints, keras_files, saved_models, tfjs

    form = recognise(path)
    if form is Form.SAVED_MODEL:
        from image_features.models.entries import stated_image_size
        from image_features.models.module import load_saved_model

        loaded, _ = load_saved_model(path)
        found = saved_models.read_saved_model(path, loaded, wanted)
        if found.image_size is None:
            with contextlib.suppress(ModelError):
                height, width = stated_image_size(loaded, path) or (None, None)
                found = dataclasses.replace(found, image_size=height if height == width else None)
        return found, path
    if form is Form.TFJS:
        return tfjs.read_tfjs(path, wanted), path
    if form is Form.KERAS_ARCHIVE:
        return keras_files.read_archive(path, wanted), path
    if form in _HDF5_FORMS or (form is None and path.endswith(_HDF5_SUFFIXES)):
        return keras_files.read_hdf5(path, wanted), path
    prefix = checkpoints.prefix_of(path)
    return find(path, checkpoints.variables_of(prefix), wanted), prefix


def _size_in_name(path: str) -> int | None:
    """Reads the image size in a published file's name, such as "mobilenet_v2_0.5_96"."""
    sizes = "|".join(map(str, IMAGE_SIZES))
    names = (os.path.basename(path), os.path.basename(os.path.dirname(os.path.abspath(path))))
    for name in names:
        if found := re.search(rf"_({sizes})(?=[_.]|$)", name):
            return int(found[1])
    return None
