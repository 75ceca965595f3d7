from __future__ import annotations

import io
import pathlib

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmarks import found, variants
from tests.images import encode, noise


def _read(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_variants_are_what_their_names_say() -> None:
    original = _read(encode(noise(1, 80, 120)))
    made = {name: _read(data) for name, data in variants.variants(encode(noise(1, 80, 120)))}
    assert list(made) == list(variants.VARIANTS)
    width, height = original.size
    sizes = {name: image.size for name, image in made.items()}
    assert sizes.pop("resized to half") == (width // 2, height // 2)
    assert sizes.pop("cropped by 5 %") == (width - 4, height - 6)
    assert sizes.pop("rotated 3 degrees") == (width - 6, height - 10)
    assert sizes.pop("caption bar") == (width, height + 15)
    assert set(sizes.values()) == {original.size}
    pixels = {name: np.asarray(image, np.int16) for name, image in made.items()}
    plain = np.asarray(original, np.int16)
    mirrored = pixels["mirrored"]
    assert np.abs(mirrored[:, ::-1] - plain).mean() < np.abs(mirrored - plain).mean() / 2
    assert np.ptp(pixels["grey"], axis=2).max() <= 3
    assert pixels["caption bar"][-3:].mean() > 240


def test_names_of_files_tell_what_they_are(tmp_path: pathlib.Path) -> None:
    (tmp_path / "images").mkdir()
    for seed in range(2):
        (tmp_path / "images" / f"{seed}.jpg").write_bytes(encode(noise(seed)))
    assert variants.plant(tmp_path / "images", tmp_path / "planted") == 2
    files = list((tmp_path / "planted").iterdir())
    told = {variants.parse_name(str(file)) for file in files}
    names = (variants.ORIGINAL, *variants.VARIANTS)
    assert told == {(number, name) for number in range(2) for name in names}
    assert len(files) == len(told)


def test_shares_and_false_pairs_are_counted() -> None:
    first, second = list(variants.VARIANTS)[:2]
    of = [(0, variants.ORIGINAL), (0, first), (1, variants.ORIGINAL), (1, second), (1, first)]
    # Beside a variant and its original: two variants, two photographs, and variants of these.
    pairs = np.array([[0, 1], [3, 4], [0, 2], [1, 3]])
    row = found.tell(of, pairs, 2)
    assert row[first] == 0.5 and row[second] == 0
    assert row["false"] == 1
    assert row["precision"] == 0.5
    assert row["all"] == round(1 / 2 / len(variants.VARIANTS), 3)
    assert found.tell(of, np.empty((0, 2), np.int64), 2)["precision"] == 1


def test_pairs_of_vectors_come_once() -> None:
    units = np.array([[1, 0], [0.6, 0.8], [1, 0]], np.float32)
    assert found.near(units, 0.99).tolist() == [[0, 2]]


def test_rows_that_are_dropped_for_another_photograph_are_counted() -> None:
    names = [variants.file_name(number, "mirrored") for number in (0, 0, 1, 2, 2)]
    table = pa.table(
        {"group": [0, 0, 0, 1, 1], "uri": names, "keep": [True, False, False, True, False]}
    )
    assert found.of_groups(table) == {"dropped": 3, "dropped_wrongly": 1}
