"""What becomes of pixels before a model sees them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_features.errors import ModelError
from image_features.models.metadata import ModuleMetadata, read_metadata, write_metadata
from image_features.models.scaling import Scaling

PIXELS = np.arange(256 * 3, dtype=np.int64).reshape(-1, 1, 3).astype(np.uint8)
IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_by_default_pixels_are_in_zero_to_one():
    numbers = Scaling().to_numbers(PIXELS)
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, PIXELS.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("low, high", [(-1, 1), (0, 255), (0, 1), (-0.5, 0.5)])
def test_a_range_is_reached_at_its_ends(low: float, high: float):
    scaling = Scaling.of_range(low, high)
    ends = scaling.to_numbers(np.uint8([[0, 0, 0], [255, 255, 255]]))
    np.testing.assert_allclose(ends, [[low] * 3, [high] * 3], atol=1e-6 * max(1, high))
    assert scaling.input_range == (low, high)
    assert scaling.to_json() == {"input_range": [low, high]}


def test_mean_and_deviation_are_of_channels():
    expected = (PIXELS / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(IMAGENET.to_numbers(PIXELS), expected, atol=1e-5)
    assert IMAGENET.input_range is None
    assert str(IMAGENET) == "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225"


@pytest.mark.parametrize("scaling", [Scaling(), Scaling.of_range(-1, 1), IMAGENET])
def test_tensorflow_computes_the_same(scaling: Scaling):
    tensor = scaling.to_tensor(PIXELS).numpy()
    np.testing.assert_allclose(tensor, scaling.to_numbers(PIXELS), rtol=1e-6, atol=1e-6)


channels = st.tuples(*[st.floats(-300, 300)] * 3)
positive = st.tuples(*[st.floats(1e-3, 300)] * 3)


@given(st.builds(Scaling, channels, positive))
def test_json_gives_back_what_it_took(scaling: Scaling):
    assert Scaling.from_json(json.loads(json.dumps(scaling.to_json()))) == scaling


@given(st.floats(-1e3, 1e3), st.floats(0.01, 1e3))
def test_json_gives_back_a_range(low: float, width: float):
    scaling = Scaling.of_range(low, low + width)
    assert Scaling.from_json(json.loads(json.dumps(scaling.to_json()))) == scaling


@pytest.mark.parametrize("numbers", [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_range_goes_from_less_to_more(numbers: tuple[float, float]):
    with pytest.raises(ValueError, match="must go from less to more"):
        Scaling.of_range(*numbers)


@pytest.mark.parametrize("low, high", [(0, 255), (-1, 1), (-128, 127), (0, 1)])
def test_common_ranges_are_exact(low: float, high: float):
    scaling, levels = Scaling.of_range(low, high), np.arange(256)
    pixels = np.repeat(levels.astype(np.uint8)[:, np.newaxis], 3, axis=1)
    numbers = scaling.to_numbers(pixels)
    assert (numbers[0] == low).all() and (numbers[-1] == high).all()
    np.testing.assert_array_equal(scaling.to_tensor(pixels).numpy(), numbers)
    if high - low == 255:
        np.testing.assert_array_equal(numbers[:, 1], levels + low)


@pytest.mark.parametrize("numbers", [(0, 1e-60), (0, 1e39), (1e8, 1e8 + 1)])
def test_a_range_that_float32_cannot_hold(numbers: tuple[float, float]):
    with pytest.raises(ValueError, match="no numbers that float32 tells"):
        Scaling.of_range(*numbers)


def test_a_deviation_is_above_zero():
    with pytest.raises(ValueError, match="above 0"):
        Scaling((0, 0, 0), (1, 0, 1))


@pytest.mark.parametrize("metadata", [ModuleMetadata(), ModuleMetadata(IMAGENET, "x", "y", "avg")])
def test_a_module_says_what_was_written(tmp_path, metadata: ModuleMetadata):
    write_metadata(str(tmp_path), metadata)
    assert read_metadata(str(tmp_path)) == metadata


def test_a_module_without_the_file_says_nothing(tmp_path):
    assert read_metadata(str(tmp_path)) == ModuleMetadata()


@pytest.mark.parametrize(
    "content", ["{", "[]", "3", '{"input_range": [1]}', '{"std": ["a", 1, 1]}', '{"mean": null}']
)
def test_a_file_that_says_nonsense_is_named(tmp_path, content: str):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "image_features.json").write_text(content)
    with pytest.raises(ModelError, match=r"image_features\.json' of the module cannot be underst"):
        read_metadata(str(tmp_path))
