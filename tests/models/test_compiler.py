"""Compiling to LiteRT: equal to TensorFlow, cached by content, refused where it cannot be."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_features.models import compiler
from image_features.models.compiler import NotCompilableError, compile_module
from image_features.models.handles import resolve
from image_features.models.identity import Precision
from image_features.models.litert import CompiledModule
from image_features.models.verify import compare


@pytest.fixture(scope="module")
def compiled(tf1_dir: str) -> CompiledModule:
    found = compile_module(resolve(tf1_dir))
    return CompiledModule(Path(found.path).read_bytes())


def test_features_are_tensorflows(compiled: CompiledModule, tf1_module: Any, pixels: Any) -> None:
    assert (compiled.image_size, compiled.num_features, compiled.batch_size) == ((96, 96), 1280, 8)
    for image in pixels:
        difference = compare(compiled, tf1_module, image[np.newaxis])
        assert difference.max_cosine <= 1e-5
        assert difference.max_relative <= 1e-3


def test_both_formats_give_the_same(compiled: CompiledModule, pixels: Any, tf2_dir: str) -> None:
    found = compile_module(resolve(tf2_dir))
    other = CompiledModule(Path(found.path).read_bytes())
    np.testing.assert_allclose(other(pixels), compiled(pixels), rtol=1e-4, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(compiled: CompiledModule, pixels: Any) -> None:
    features = compiled(pixels)
    for index in range(0, 40, 3):
        np.testing.assert_array_equal(compiled(pixels[index : index + 1])[0], features[index])
    np.testing.assert_array_equal(compiled(pixels[::-1])[::-1], features)
    assert compiled(pixels[:0]).shape == (0, 1280)


def test_threads_do_not_disturb_each_other(compiled: CompiledModule, pixels: Any) -> None:
    expected = compiled(pixels)
    results: dict[int, Any] = {}

    def run(offset: int) -> None:
        results[offset] = [compiled(np.roll(pixels, -offset, axis=0)) for _ in range(3)]

    threads = [threading.Thread(target=run, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for offset, runs in results.items():
        for features in runs:
            np.testing.assert_array_equal(features, np.roll(expected, -offset, axis=0))


def test_wrong_pixels_are_refused(compiled: CompiledModule) -> None:
    with pytest.raises(ValueError, match="resize the images first"):
        compiled(np.zeros((1, 95, 96, 3), np.uint8))


def test_the_second_time_nothing_is_compiled(
    tf1_dir: str, compiled: CompiledModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "_write", lambda *_: pytest.fail("compiled again"))
    found = compile_module(resolve(tf1_dir))
    assert found.image_size == (96, 96)


@pytest.mark.parametrize("precision", [Precision.FLOAT16, Precision.INT8])
def test_lower_precision_is_smaller_and_close(
    tf1_dir: str, compiled: CompiledModule, pixels: Any, precision: Precision
) -> None:
    full = compile_module(resolve(tf1_dir))
    found = compile_module(resolve(tf1_dir), precision=precision)
    assert Path(found.path).stat().st_size < 0.6 * Path(full.path).stat().st_size
    other = CompiledModule(Path(found.path).read_bytes())
    difference = compare(other, compiled, pixels)
    assert 0 < difference.max_cosine < 0.02
    assert found.max_cosine_difference > full.max_cosine_difference


def test_other_features_are_refused(
    tf1_dir: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "MAX_RELATIVE_DIFFERENCE", 0.0)
    with pytest.raises(NotCompilableError, match="differ from TensorFlow's"):
        compile_module(resolve(tf1_dir))
    assert not list(own_cache.iterdir())  # What failed leaves nothing to be found.


def test_the_description_says_how_far_it_is_from_tensorflow(tf1_dir: str) -> None:
    found = compile_module(resolve(tf1_dir))
    description = json.loads((Path(found.path).parent / "model.json").read_text())
    assert 0 <= description["max_cosine_difference"] < 1e-5
    assert 0 < description["max_relative_difference"] < 1e-3
