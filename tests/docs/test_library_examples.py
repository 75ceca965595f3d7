"""The examples of docs/library.md, run as they stand there."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import StandardOptions
from PIL import Image

from image_features.models.engines import FeatureFunction, load, prepare
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from tests.images import encode, noise

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "library.md"
# Looking for the default runner's server would need a network.
RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@pytest.fixture(scope="module")
def model() -> FeatureFunction:
    return load(prepare("builtin"))


@pytest.fixture
def photos(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Three pictures in photos/ of the current directory, and a file that is none."""
    monkeypatch.setattr(StandardOptions, "DEFAULT_RUNNER", RUNNER)
    monkeypatch.chdir(tmp_path)
    files = [encode(noise(i, 160, 120)) for i in range(3)]
    (tmp_path / "photos").mkdir()
    for i, data in enumerate(files):
        (tmp_path / "photos" / f"{i}.jpg").write_bytes(data)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return files


def _blocks(section: str) -> list[str]:
    """The Python blocks under a heading of the page."""
    text = PAGE.read_text().split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _run(block: str) -> dict[str, Any]:
    """Runs a block as a script would run; returns the names that it leaves."""
    # Beam pickles functions of __main__ by value, as in a script.
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block, str(PAGE), "exec"), names)
    return names


def _json_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in pathlib.Path(name).read_text().splitlines()]


def _vector(model: FeatureFunction, data: bytes, policy: DecodePolicy) -> list[float]:
    return model(decode_image(data, policy).pixels[np.newaxis])[0].tolist()


def _vector_of_path(model: FeatureFunction, path: str) -> list[float]:
    """What the page's own `read` and the model give."""
    pixels = np.asarray(Image.open(path).convert("RGB").resize((96, 96)))
    return model(pixels[np.newaxis])[0].tolist()


def test_every_block_compiles() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    for block in blocks:
        compile(block, str(PAGE), "exec")


def test_extract_and_read(photos: list[bytes], model: FeatureFunction) -> None:
    [block] = _blocks("Extract from Python")
    run = _run(block)["run"]
    assert (run.counts.rows_out, run.counts.failed_by_reason) == (3, {"corrupt": 1})

    [block] = _blocks("Read and search")
    names = _run(block)
    assert [found.run_id for found in names["runs"]] == [run.run_id]
    arrays, rows = names["arrays"], names["rows"]
    found = dict(zip(arrays.uris.tolist(), arrays.features.tolist(), strict=True))
    policy = DecodePolicy((96, 96))
    expected = {
        str(pathlib.Path(f"photos/{i}.jpg").resolve()): _vector(model, data, policy)
        for i, data in enumerate(photos)
    }
    assert found == expected
    assert rows["image/features"].shape == (3, 1280)
    assert names["nearest"][0].uri == str(pathlib.Path("photos/0.jpg").resolve())
    assert len(names["nearest"]) == 2


def test_steps(photos: list[bytes], model: FeatureFunction) -> None:
    [block, staging] = _blocks("Steps in a pipeline of your own")
    names = _run(block)
    assert names["model"].num_features == 1280
    assert names["decode"] == DecodePolicy((96, 96), resize="center_crop")
    rows = sorted(_json_lines("vectors.jsonl"), key=lambda row: row["uri"])
    assert [row["uri"] for row in rows] == [f"photos/{i}.jpg" for i in range(3)]
    for row, data in zip(rows, photos, strict=True):
        assert row["vector"] == _vector(model, data, names["decode"])
    [error] = pathlib.Path("errors.txt").read_text().splitlines()
    assert error.startswith("photos/broken.jpg ")
    _run(staging.replace("gs://bucket/models/builtin", str(pathlib.Path.cwd() / "staged")))
    assert list(pathlib.Path("staged").iterdir()) == [pathlib.Path("staged/model.tflite")]


def test_run_inference(photos: list[bytes], model: FeatureFunction) -> None:
    plain, keyed = _blocks("RunInference")
    names = _run(plain)
    assert (names["height"], names["width"]) == names["handler"].prepared.image_size == (96, 96)
    paths = ["photos/0.jpg", "photos/1.jpg"]
    expected = [_vector_of_path(model, path) for path in paths]
    found = [
        np.array(line.split(), np.float32).tolist()
        for line in pathlib.Path("vectors.txt").read_text().splitlines()
    ]
    assert sorted(found) == sorted(expected)

    _run(keyed)
    rows = sorted(_json_lines("keyed.jsonl"), key=lambda row: row["path"])
    assert [(row["path"], row["vector"]) for row in rows] == list(zip(paths, expected, strict=True))


def test_ml_transform(photos: list[bytes], model: FeatureFunction) -> None:
    write, read = _blocks("MLTransform")
    policy = DecodePolicy((96, 96), resize="pad")
    names = _run(write)
    rows = sorted(_json_lines("embedded.jsonl"), key=lambda row: row["id"])
    assert rows == [{"id": i + 1, "photo": _vector(model, photos[i], policy)} for i in range(2)]
    [line] = pathlib.Path("unusable.txt").read_text().splitlines()
    assert line.startswith("3: ImageColumnError") and "not_an_image" in line
    assert names["rows"][2]["photo"] == b"not an image"

    _run(read)
    assert _json_lines("again.jsonl") == [{"id": 4, "photo": _vector(model, photos[0], policy)}]
