"""Small networks of either Keras, with weights that tell their layers apart."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

Build = Callable[[Any, Any], Any]


def library(version: int) -> Any:
    """Keras 3 or Keras 2."""
    if version == 3:
        import keras

        return keras
    import tf_keras

    return tf_keras


def network(
    keras: Any,
    head: Build,
    *,
    before: Build | None = None,
    shape: tuple[int | None, ...] = (16, 16, 3),
    dtype: str = "float32",
) -> Any:
    """Two convolutions named `first` and `second`, in a model within the model, and a head."""
    layers = keras.layers
    keras.backend.clear_session()
    images = keras.Input(shape, dtype=dtype)
    taken = images if before is None else before(keras, images)
    inner = keras.Input((None, None, taken.shape[-1]))
    values = layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(inner)
    values = layers.BatchNormalization(name="normal")(values)
    body = keras.Model(inner, layers.Conv2D(6, 3, name="second")(values), name="body")
    return seeded(keras.Model(images, head(keras, body(taken)), name="whole"))


def seeded(model: Any) -> Any:
    """Gives a model weights that are positive for the most part, and all different."""
    stream = np.random.RandomState(0)
    model.set_weights(
        [
            w + stream.uniform(0.01, 0.2, w.shape).astype(w.dtype) if w.dtype.kind == "f" else w
            for w in model.get_weights()
        ]
    )
    return model


def pooled(keras: Any, values: Any) -> Any:
    return keras.layers.GlobalAveragePooling2D(name="pool")(values)


def classified(keras: Any, values: Any) -> Any:
    """The head of transfer learning."""
    values = keras.layers.Dropout(0.5)(pooled(keras, values))
    return keras.layers.Dense(3, activation="softmax", name="classes")(values)


def save(keras: Any, model: Any, directory: Path, form: str) -> str:
    """Saves a model as "keras", "h5" or "saved_model", as its own Keras does that."""
    path = str(directory / f"model.{form}")
    if form != "saved_model":
        model.save(path)
    elif hasattr(keras, "Operation"):
        model.export(path, verbose=False)
    else:
        model.save(path, save_format="tf")
    return path


def noise(size: int = 16, count: int = 3) -> Any:
    """Images in [0, 255]."""
    return np.random.RandomState(1).randint(0, 256, (count, size, size, 3)).astype(np.float32)
