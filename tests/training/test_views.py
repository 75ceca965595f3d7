"""The crops that teacher and student share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.views import crop, crop_boxes, load_images


@given(view=st.integers(0, 50), count=st.integers(1, 40), seed=st.integers(0, 9))
@settings(deadline=None)
def test_boxes_are_inside_and_repeat(view: int, count: int, seed: int) -> None:
    boxes = crop_boxes(view, count, seed=seed)
    assert boxes.shape == (count, 4)
    assert boxes.dtype == np.float32
    assert (boxes >= 0).all()
    assert (boxes <= 1 + 1e-6).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (sides.prod(axis=1) > 0.25).all()
    np.testing.assert_array_equal(boxes, crop_boxes(view, count, seed=seed))


def test_crops_are_pillows() -> None:
    """Whole images and parts agree with Pillow's bilinear resize but for its rounding."""
    stream = np.random.RandomState(0)
    small = stream.randint(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    pixels = np.stack([np.asarray(Image.fromarray(i).resize((64, 64), 2)) for i in small])
    for box in ((0, 0, 1, 1), (0.25, 0.5, 0.75, 1)):
        found = crop(pixels, np.tile(np.float32(box), (3, 1)), 96).numpy() * 255
        top, left, bottom, right = (int(64 * part) for part in box)
        for image, result in zip(pixels, found, strict=True):
            part = Image.fromarray(image).crop((left, top, right, bottom)).resize((96, 96), 2)
            # Pillow's crop knows nothing of what is outside it.
            inner = slice(None) if box[0] == 0 else slice(3, -3)
            np.testing.assert_allclose(result[inner, inner], np.asarray(part)[inner, inner], atol=2)


def test_classes_are_directories(tmp_path: Path) -> None:
    for name, colour in (("b", 9), ("a", 7), ("c", 5)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 10), (colour, 0, 0)).save(tmp_path / name / "0.png")
    (tmp_path / "c" / "notes.txt").write_text("no image")
    images = load_images(str(tmp_path), 16)
    assert images.classes == ("a", "b", "c")
    assert images.labels.tolist() == [0, 1, 2]
    assert images.pixels[:, 0, 0, 0].tolist() == [7, 9, 5]
    assert images.pixels.shape == (3, 16, 16, 3)
    with pytest.raises(ValueError, match="has no images"):
        load_images(str(tmp_path / "a"))
