"""Loading, determinism, and what is not an image feature vector model."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from image_features.errors import ModelError
from image_features.models.module import FeatureModule

Pixels = npt.NDArray[np.uint8]


def _save(directory: Path, function: Callable[..., Any], spec: Any, signature: bool = True) -> str:
    """Saves a function as a SavedModel: as serving_default, or as __call__."""
    import tensorflow as tf

    module = tf.train.Checkpoint()
    traced = tf.function(function, input_signature=[spec])
    signatures = {}
    if signature:
        signatures["serving_default"] = traced
    else:
        module.__call__ = traced
    tf.saved_model.save(module, str(directory), signatures=signatures or None)
    return str(directory)


def _image_spec(size: int | None = 8, batch: int | None = None) -> Any:
    import tensorflow as tf

    return tf.TensorSpec([batch, size, size, 3], tf.float32, name="images")


def test_attributes(tf1_module: FeatureModule) -> None:
    assert tf1_module.image_size == (96, 96)
    assert tf1_module.num_features == 1280
    assert tf1_module.scaling.input_range == (0.0, 1.0)
    assert tf1_module.format == "tf1_hub"
    assert tf1_module.entry == "image_feature_vector"
    assert tf1_module.frozen


def test_a_row_does_not_depend_on_its_batch(tf1_module: FeatureModule, pixels: Pixels) -> None:
    features = tf1_module(pixels)
    assert features.dtype == np.float32
    assert features.shape == (40, 1280)
    for index in range(0, 40, 3):
        np.testing.assert_array_equal(tf1_module(pixels[index : index + 1])[0], features[index])
    np.testing.assert_array_equal(tf1_module(pixels[::-1])[::-1], features)
    np.testing.assert_array_equal(tf1_module(pixels[5:]), features[5:])
    assert tf1_module(pixels[:0]).shape == (0, 1280)


def test_threads_do_not_change_a_byte(
    tf1_dir: str, tf1_module: FeatureModule, pixels: Pixels, tmp_path: Path
) -> None:
    """A fresh process with 1 and with 2 threads gives what this process gives."""
    np.save(tmp_path / "pixels.npy", pixels)
    script = (
        "import sys, hashlib, numpy as np\n"
        "from image_features.models.module import FeatureModule\n"
        "from image_features.models.quiet import import_tensorflow\n"
        "import_tensorflow(threads_per_operation=int(sys.argv[3]))\n"
        "module = FeatureModule.load(sys.argv[1])\n"
        "print(hashlib.sha256(module(np.load(sys.argv[2])).tobytes()).hexdigest())\n"
    )
    root = Path(__file__).resolve().parents[2]
    expected = hashlib.sha256(tf1_module(pixels).tobytes()).hexdigest()
    for threads in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", script, tf1_dir, str(tmp_path / "pixels.npy"), threads],
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert printed.strip() == expected, f"{threads} threads"


def test_features_depend_on_the_image(tf1_module: FeatureModule, pixels: Pixels) -> None:
    features = tf1_module(pixels[[0, 12, 22]])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert cosines[0, 1] < 0.99
    assert cosines[0, 2] < 0.99
    assert cosines[1, 2] < 0.99
    assert np.mean(features > 0) > 0.5


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, 96, 96, 3), np.float32),
        np.zeros((1, 95, 96, 3), np.uint8),
        np.zeros((96, 96, 3), np.uint8),
    ],
)
def test_wrong_pixels_are_refused(tf1_module: FeatureModule, bad: Any) -> None:
    with pytest.raises(ValueError, match="resize the images first"):
        tf1_module(bad)


def test_pixels_are_scaled_to_unit_range(tmp_path: Path) -> None:
    directory = _save(tmp_path / "m", lambda images: {"x": images[:, 0, 0, :]}, _image_spec())
    module = FeatureModule.load(directory)
    assert (module.image_size, module.num_features) == ((8, 8), 3)
    pixels = np.full((2, 8, 8, 3), 255, np.uint8)
    pixels[0, 0, 0] = (0, 51, 128)
    expected = np.array([[0, 51, 128], [255, 255, 255]], np.float32) / np.float32(255)
    np.testing.assert_array_equal(module(pixels), expected)


def test_singular_axes_are_squeezed_and_callables_without_training_work(tmp_path: Path) -> None:
    import tensorflow as tf

    directory = _save(
        tmp_path / "m",
        lambda images: tf.reduce_mean(images, [1, 2], keepdims=True),
        _image_spec(),
        signature=False,
    )
    module = FeatureModule.load(directory)
    assert module.entry == "__call__"
    assert module(np.zeros((3, 8, 8, 3), np.uint8)).shape == (3, 3)


def test_image_size_unstated(tmp_path: Path) -> None:
    import tensorflow as tf

    directory = _save(
        tmp_path / "m", lambda images: tf.reduce_mean(images, [1, 2]), _image_spec(None)
    )
    assert FeatureModule.load(directory, batch_size=2).image_size == (224, 224)


def test_fixed_batch_is_kept(tmp_path: Path) -> None:
    import tensorflow as tf

    directory = _save(
        tmp_path / "m", lambda images: tf.reduce_mean(images, [1, 2]), _image_spec(batch=5)
    )
    module = FeatureModule.load(directory)
    assert module.batch_size == 5
    assert module(np.zeros((7, 8, 8, 3), np.uint8)).shape == (7, 3)


def _text_model(directory: Path) -> str:
    import tensorflow as tf

    return _save(
        directory,
        lambda text: tf.cast(tf.strings.length(text), tf.float32)[:, None],
        tf.TensorSpec([None], tf.string, name="text"),
    )


def _detector(directory: Path) -> str:
    import tensorflow as tf

    return _save(
        directory,
        lambda images: {"boxes": tf.zeros([tf.shape(images)[0], 4]), "scores": images[:, 0, 0, 0]},
        _image_spec(),
    )


def _classes(directory: Path) -> str:
    import tensorflow as tf

    return _save(directory, lambda images: tf.argmax(images[:, 0, 0], 1), _image_spec(), False)


def _feature_map(directory: Path) -> str:
    return _save(directory, lambda images: {"map": images[:, ::2, ::2]}, _image_spec())


def _not_finite(directory: Path) -> str:
    import tensorflow as tf

    return _save(directory, lambda images: tf.math.log(images[:, 0, 0] - 2), _image_spec(), False)


def _no_signature(directory: Path) -> str:
    import tensorflow as tf

    tf.saved_model.save(tf.train.Checkpoint(v=tf.Variable(1.0)), str(directory))
    return str(directory)


def _damaged(directory: Path) -> str:
    directory.mkdir()
    (directory / "saved_model.pb").write_bytes(b"no protocol buffer")
    return str(directory)


def _empty(directory: Path) -> str:
    directory.mkdir()
    return str(directory)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_text_model, r"'serving_default' takes string \[None\]"),
        (_detector, "it has the outputs 'boxes', 'scores'"),
        (_classes, "is int64, not floating point"),
        (_feature_map, r"has shape \(32, 4, 4, 3\)"),
        (_not_finite, "not finite"),
        (_no_signature, r"\(found: none\)"),
        (_damaged, "cannot load the SavedModel"),
        (_empty, r"no saved_model\.pb"),
    ],
)
def test_other_models_are_refused(
    make: Callable[[Path], str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        FeatureModule.load(make(tmp_path / "model"))
    assert os.sep + "model'" in str(caught.value)
