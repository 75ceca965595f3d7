"""What workers on other machines read: the copy must do without the original."""

import pathlib
from dataclasses import replace

import numpy as np

from image_features.models.engines import PreparedModel, load, prepare
from image_features.models.identity import Engine
from image_features.models.staging import stage


def _features(model: PreparedModel) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    return load(model)(pixels)


def test_compiled_model(tmp_path: pathlib.Path) -> None:
    model = prepare("builtin")
    staged = stage(model, str(tmp_path / "new"))
    assert staged.flatbuffer == str(tmp_path / "new" / "model.tflite")
    assert (tmp_path / "new" / "model.tflite").read_bytes() == pathlib.Path(
        model.flatbuffer
    ).read_bytes()
    np.testing.assert_array_equal(_features(staged), _features(model))
    assert stage(replace(staged, flatbuffer="gs://b/m"), str(tmp_path)).flatbuffer == "gs://b/m"
    # Staging again replaces the copy, and leaves no parts behind.
    stage(model, str(tmp_path / "new"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.tflite"]


def test_module_for_tensorflow(tf2_dir: str, tmp_path: pathlib.Path) -> None:
    model = prepare(tf2_dir, engine=Engine.TENSORFLOW)
    staged = stage(model, str(tmp_path))
    assert staged.directory == str(tmp_path / "module.tar.gz")
    np.testing.assert_array_equal(_features(staged), _features(model))
    assert stage(staged, str(tmp_path / "elsewhere")) == staged
