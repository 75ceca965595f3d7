"""The networks in Keras's files: .h5, .weights.h5 and .keras."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from image_features.errors import ModelError
from image_features.models import limits
from image_features.models.sources.found import Found, find
from image_features.models.sources.hdf5 import variables_of

_MEMBERS = ("config.json", "model.weights.h5")


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
        if sum(archive.getinfo(name).file_size for name in _MEMBERS) > limits.MAX_UNPACKED_BYTES:
            raise ModelError(
                f"{path!r} unpacks to more than {limits.MAX_UNPACKED_BYTES} bytes, which no "
                "feature model needs; check what it is."
            )
        config, weights = map(archive.read, _MEMBERS)
        with _opened(io.BytesIO(weights)) as file:
            return find(path, variables_of(file), wanted, json.loads(config))


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
