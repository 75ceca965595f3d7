"""The networks in Keras's files: .h5, .weights.h5 and .keras."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from image_features.errors import ModelError
from image_features.models.sources.found import Found, find
from image_features.models.sources.hdf5 import variables_of

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"


def read_hdf5(path: str, wanted: float | None) -> Found:
    """Finds the network in a .h5 file: a whole model, or weights of any edition of Keras.

    Raises:
      ModelError: The file cannot be read, or holds no network of the family.
    """
    with _refusing_damage(path, "HDF5"), _opened(path) as file:
        config = file.attrs.get("model_config")
        model = json.loads(config) if config is not None else None
        return find(path, variables_of(file), wanted, model)


def read_archive(path: str, wanted: float | None) -> Found:
    """Finds the network in a .keras archive.

    Raises:
      ModelError: The file cannot be read, or holds no network of the family.
    """
    with _refusing_damage(path, "a .keras archive"), zipfile.ZipFile(path) as archive:
        model = json.loads(archive.read(_CONFIG))
        with archive.open(_WEIGHTS) as member, _opened(io.BytesIO(member.read())) as file:
            return find(path, variables_of(file), wanted, model)


def _opened(file: Any) -> Any:
    import h5py

    return h5py.File(file, "r")


@contextlib.contextmanager
def _refusing_damage(path: str, kind: str) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    # h5py raises many types where a file is not as it says.
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise ModelError(
            f"{path!r} cannot be read as {kind} ({error}); get the file afresh."
        ) from error
