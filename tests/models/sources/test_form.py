"""What a file is, told by its content, also where it is damaged."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from image_features.errors import ModelError
from image_features.models.conversion.keras_file import read_keras_file
from image_features.models.sources.form import Form, recognise
from image_features.models.weights import read_weights


def test_the_tables_of_an_hdf5_file_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.create_group("model_weights").create_group("conv")
        file.attrs["model_config"] = "{}"
    whole = path.read_bytes()
    assert recognise(str(path)) is Form.KERAS_H5_MODEL
    path.write_bytes(whole.replace(b"TREE", b"FREE").replace(b"SNOD", b"NODS"))
    for read in (recognise, read_weights):
        with pytest.raises(ModelError, match=r"model\.h5' cannot be read") as raised:
            read(str(path))
        assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match=r"model\.h5' cannot be read"):
        read_keras_file(str(path), Form.KERAS_H5_MODEL)
