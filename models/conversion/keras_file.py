"""A file that holds a whole Keras model: read, checked, and loaded by the Keras that knows it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from image_features.errors import ModelError
from image_features.models import limits
from image_features.models.conversion.keras_objects import check_objects, parse
from image_features.models.conversion.replacing import replaced
from image_features.models.first_line import first_line
from image_features.models.sources.form import Form

_DAMAGE = (OSError, zipfile.BadZipFile, KeyError, RuntimeError, EOFError, SystemError)
_MAX_DESCRIPTION_BYTES = 64 * 2**20
_SPARE_NUMBERS = 10**6  # Some layers have numbers that no file keeps, such as seeds.


@dataclasses.dataclass(frozen=True, slots=True)
class KerasFile:
    """What a file says about the model in it.

    Attributes:
      path: The file.
      version: The version of Keras that wrote it; empty if it does not say.
      description: The model's configuration; its classes are known to be Keras's own.
      loss: The losses that it was compiled with, as text; empty if it was not compiled.
      numbers: How many numbers the weights in the file have.
    """

    path: str
    version: str
    description: Any
    loss: str
    numbers: int

    @property
    def is_legacy(self) -> bool:
        """Whether Keras 2 or 1 has written the file."""
        return not self.version.split(".")[0].isdigit() or int(self.version.split(".")[0]) < 3


def read_keras_file(path: str, form: Form) -> KerasFile:
    """Reads and checks what a file says about its model; no object of it is made.

    Args:
      path: A .keras archive, or an .h5 file with a whole model.
      form: Which of the two it is.

    Raises:
      ModelError: The file is damaged, too large, or needs code that is not Keras's own.
    """
    try:
        if form is Form.KERAS_ARCHIVE:
            found = _read_archive(path)
        else:
            with open(path, "rb") as file:
                found = _read_hdf5(path, file)
    except _DAMAGE as error:
        raise ModelError(
            f"The Keras model {path!r} cannot be read ({first_line(error)}); get the file afresh."
        ) from error
    check_objects(found.description, path, legacy=found.is_legacy)
    return found


def _read_archive(path: str) -> KerasFile:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > limits.MAX_UNPACKED_BYTES or len(members) > limits.MAX_MEMBERS:
            raise _too_large(path)
        texts = {}
        for name in ("config.json", "metadata.json"):
            if archive.getinfo(name).file_size > _MAX_DESCRIPTION_BYTES:
                raise _too_large(path)
            texts[name] = parse(archive.read(name), path)
        with archive.open("model.weights.h5") as file:
            numbers = _count_numbers(file, path)
    description, metadata = texts["config.json"], texts["metadata.json"]
    version = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
    compiled = description.pop("compile_config", None) if isinstance(description, dict) else None
    return KerasFile(path, str(version), description, _loss_of(compiled), numbers)


def _read_hdf5(path: str, file: Any) -> KerasFile:
    import h5py

    with h5py.File(file, "r") as content:
        if "model_config" not in content.attrs:
            raise ModelError(
                f"{path!r} holds weights without a description of their model, so the layers are "
                "not known; save the whole model by model.save('model.keras') and convert that."
            )
        description = parse(content.attrs["model_config"], path)
        version = content.attrs.get("keras_version", "")
        training = parse(content.attrs.get("training_config", "null"), path)
    version = version.decode() if isinstance(version, bytes) else str(version)
    return KerasFile(path, version, description, _loss_of(training), _count_numbers(file, path))


def _loss_of(compiled: Any) -> str:
    return str(compiled.get("loss") or "") if isinstance(compiled, dict) else ""


def _count_numbers(file: Any, path: str) -> int:
    """Counts the numbers in a file of HDF5, which are all there and nowhere else.

    Raises:
      ModelError: It refers to other files, or declares more than any feature model has.
    """
    import h5py

    total = size = 0

    # An exception would not come through HDF5; a name ends the visit, and is its result.
    def look(name: str, item: Any) -> str | None:
        nonlocal total, size
        if isinstance(item, h5py.Dataset):
            total += item.size or 0
            size += item.nbytes
            return name if item.external or item.is_virtual else None
        return None

    def look_at_link(name: str, link: Any) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    with h5py.File(file, "r") as content:
        outside = content.visititems_links(look_at_link) or content.visititems(look)
    if outside:
        raise _refers(path, outside)
    if size > limits.MAX_UNPACKED_BYTES:
        raise _too_large(path)
    return total


def _refers(path: str, name: str) -> ModelError:
    return ModelError(
        f"The Keras model {path!r} refers to another file at {name!r}, which is not followed; "
        "save the model as one file."
    )


def _too_large(path: str) -> ModelError:
    return ModelError(
        f"The Keras model {path!r} unpacks to more than {limits.MAX_UNPACKED_BYTES} bytes, which "
        "no feature model needs; check what it is."
    )


def load_model(file: KerasFile) -> tuple[Any, Any]:
    """Loads the model of a checked file in safe mode; returns its library and the model.

    Files of Keras 2 are loaded by Keras 2 (the package tf_keras), which knows all of its layers.

    Raises:
      ModelError: Keras cannot load it.
    """
    import tensorflow as tf

    library = _library(legacy=file.is_legacy)
    # The first MobileNets of Keras name this function, which Keras no longer has.
    custom = {"relu6": tf.nn.relu6} if file.is_legacy else None
    try:
        with tempfile.TemporaryDirectory() as scratch, _limited_weights(library, file):
            return library, library.models.load_model(
                _named(file, scratch), custom_objects=custom, compile=False, safe_mode=True
            )
    except ModelError:
        raise
    except Exception as error:  # Keras raises what its layers raise.
        raise ModelError(
            f"Keras {library.__version__} cannot load the model {file.path!r}, which "
            f"{'Keras ' + file.version if file.version else 'an unknown Keras'} has written "
            f"({first_line(error)}); where it was made, call model.export(DIR) and convert the "
            "directory."
        ) from error


def _library(*, legacy: bool) -> Any:
    """Imports the Keras of a file.

    Raises:
      ModelError: Keras runs on something else than TensorFlow in this process.
    """
    if legacy:
        import tf_keras

        return tf_keras
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"  # Modules are graphs of TensorFlow.
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"Keras runs on {keras.backend.backend()} in this process, and a module is made by "
            "TensorFlow; set KERAS_BACKEND=tensorflow."
        )
    return keras


def _named(file: KerasFile, scratch: str) -> str:
    """Gives the file a name that Keras tells its form by, and classes the names that it has."""
    archive = zipfile.is_zipfile(file.path)
    path = os.path.join(scratch, "model.keras" if archive else "model.h5")
    if not (archive and file.is_legacy):
        os.symlink(os.path.abspath(file.path), path)
        return path
    # Keras 2 as a package of its own has other names for its modules than Keras 2 in TensorFlow.
    with zipfile.ZipFile(file.path) as old, zipfile.ZipFile(path, "w") as new:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            with old.open(name) as source, new.open(name, "w", force_zip64=True) as target:
                while block := source.read(2**24 if name.endswith(".h5") else -1):
                    if name == "config.json":
                        block = block.replace(b'"module": "keras.src', b'"module": "tf_keras.src')
                    target.write(block)
    return path


@contextlib.contextmanager
def _limited_weights(library: Any, file: KerasFile) -> Iterator[None]:
    """Stops a description that declares more weights than its file holds, before it has them all.

    Raises:
      ModelError: It does.
    """
    base = library.layers.Layer
    original = base.add_weight
    declared = 0

    def add_weight(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal declared
        # The shape follows the name in Keras 2, and comes first in Keras 3.
        shape = options.get("shape")
        for value in args:
            shape = value if shape is None and not isinstance(value, str) else shape
        dimensions = [n for n in np.atleast_1d(() if shape is None else shape) if n]
        declared += int(np.prod(dimensions, dtype=object))
        if declared > file.numbers + _SPARE_NUMBERS:
            raise ModelError(
                f"The Keras model {file.path!r} describes more weights than the {file.numbers} "
                "numbers that the file holds; get it afresh."
            )
        return original(self, *args, **options)

    with replaced(base, "add_weight", add_weight):
        yield
