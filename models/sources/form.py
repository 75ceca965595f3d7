"""The forms that models come in, told by what files hold and not by how they are named."""

from __future__ import annotations

import enum
import os
import zipfile

from image_features.errors import ModelError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_TAR, _TAR_AT = b"ustar", 257
_ZIP = b"PK\x03\x04"
_LFS_POINTER = b"version https://git-lfs"
_HEAD_BYTES = 512
# HDF5's library raises what comes to its mind of a damaged file.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, SystemError)
_KERAS_MEMBERS = frozenset({"config.json", "model.weights.h5"})


class Form(enum.StrEnum):
    """A form that a model comes in; the value is its name in messages."""

    SAVED_MODEL = "a SavedModel directory"
    ARCHIVE = "a .tar archive, or a compressed one"
    CHECKPOINT = "a TensorFlow checkpoint"
    KERAS_ARCHIVE = "a .keras archive"
    KERAS_H5_MODEL = "a Keras model in one .h5 file"
    KERAS_H5_WEIGHTS = "a Keras .h5 file of weights"
    KERAS_3_WEIGHTS = "a Keras 3 .weights.h5 file"
    TFJS = "a TensorFlow.js model"

    @property
    def wants_converting(self) -> bool:
        """Whether `model convert` must make a module of it before it can be used."""
        return self not in (Form.SAVED_MODEL, Form.ARCHIVE)


def recognise(path: str) -> Form | None:
    """Tells the form of a local model.

    Args:
      path: A file, a directory, or the prefix of a checkpoint.

    Returns:
      The form; None if it is nothing that is known, or not there.

    Raises:
      ModelError: The file is only the pointer that Git LFS keeps in a file's place, or cannot be
        read.
    """
    if os.path.isdir(path):
        return _form_of_directory(path)
    if os.path.isfile(f"{path.removesuffix('.index').removesuffix('.meta')}.index"):
        return Form.CHECKPOINT
    if not os.path.isfile(path):
        return None
    try:
        return _form_of_file(path)
    except ModelError:
        raise
    except zipfile.BadZipFile as error:
        raise ModelError(
            f"The model {path!r} begins as a .zip or .keras archive does, and does not end as one "
            f"({error}); copy it afresh."
        ) from error
    except _DAMAGE as error:
        why = getattr(error, "strerror", None) or "it is cut short or damaged"
        raise ModelError(
            f"The model {path!r} cannot be read ({why}); check the file and its permissions, or "
            "copy it afresh."
        ) from error


def refuse_pointer(path: str, name: str = "") -> None:
    """Raises ModelError if a file is only the pointer that Git LFS keeps in a file's place.

    Args:
      path: The file.
      name: What messages call it, if not by its path.
    """
    with open(path, "rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ModelError(
                f"{name or repr(path)} is a Git LFS pointer, not the file itself; run "
                "`git lfs pull` where it was cloned, or download the file."
            )


def _form_of_directory(directory: str) -> Form | None:
    names = os.listdir(directory)
    if "saved_model.pb" in names or "saved_model.pbtxt" in names:
        return Form.SAVED_MODEL
    if "model.json" in names:
        return Form.TFJS
    if "checkpoint" in names or any(name.endswith(".index") for name in names):
        return Form.CHECKPOINT
    return None


def _form_of_file(path: str) -> Form | None:
    refuse_pointer(path)
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_HDF5):
        return _form_of_hdf5(path)
    if head.startswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            return Form.KERAS_ARCHIVE if set(archive.namelist()) >= _KERAS_MEMBERS else None
    if head.startswith(_COMPRESSED) or head[_TAR_AT:].startswith(_TAR):
        return Form.ARCHIVE
    if head.lstrip().startswith(b"{") and os.path.basename(path).endswith(".json"):
        return Form.TFJS
    return None


def _form_of_hdf5(path: str) -> Form:
    import h5py

    with h5py.File(path, "r") as file:
        if "model_weights" in file or "model_config" in file.attrs:
            return Form.KERAS_H5_MODEL
        return Form.KERAS_H5_WEIGHTS if "layer_names" in file.attrs else Form.KERAS_3_WEIGHTS
