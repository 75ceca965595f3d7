"""What a launcher prepares and a worker loads, on either engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_features.errors import ModelError
from image_features.models.engines import load, prepare
from image_features.models.identity import Engine, Precision


def _module_that_does_not_compile(directory: Path) -> str:
    """Runs in TensorFlow; LiteRT has no Fourier transform of this length."""
    import tensorflow as tf

    def run(images: Any) -> dict[str, Any]:
        flat = tf.reshape(images, [tf.shape(images)[0], 8 * 8 * 3])
        return {"default": tf.math.real(tf.signal.fft(tf.cast(flat, tf.complex64)))}

    module = tf.train.Checkpoint()
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32, name="images")
    signatures = {"serving_default": tf.function(run, input_signature=[spec])}
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return str(directory)


def test_what_does_not_compile_runs_on_tensorflow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = _module_that_does_not_compile(tmp_path / "fft")
    model = prepare(directory, engine=Engine.AUTO, batch_size=4)
    assert model.engine is Engine.TENSORFLOW
    assert "runs on TensorFlow, more slowly: " in caplog.text
    pixels = np.random.RandomState(0).randint(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    flat = pixels.reshape(5, -1).astype(np.float32) / 255
    np.testing.assert_allclose(load(model)(pixels), np.fft.fft(flat).real, rtol=1e-3, atol=1e-3)
    with pytest.raises(ModelError, match="pass --engine=tensorflow"):
        prepare(directory, engine=Engine.LITERT)


def test_a_worker_loads_what_was_launched(tf1_dir: str, tmp_path: Path) -> None:
    model = prepare(tf1_dir, batch_size=8)
    assert model.engine is Engine.LITERT
    copy = tmp_path / "model.tflite"
    copy.write_bytes(Path(model.flatbuffer).read_bytes() + b"x")
    with pytest.raises(ModelError, match="not the one that was launched"):
        load(dataclasses.replace(model, flatbuffer=str(copy)))
    with pytest.raises(ModelError, match="cannot be read"):
        load(dataclasses.replace(model, flatbuffer=str(tmp_path / "absent")))


def test_int8_is_litert_only(tf1_dir: str) -> None:
    with pytest.raises(ModelError, match="does not run int8"):
        prepare(tf1_dir, engine=Engine.TENSORFLOW, precision=Precision.INT8)
