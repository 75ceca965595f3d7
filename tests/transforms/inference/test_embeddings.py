"""The embedding in Beam's MLTransform: what columns may hold, and what one bad row does."""

from __future__ import annotations

import io
import json
import pathlib
import pickle
import threading
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.transforms.base import MLTransform
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, GlobalWindows, TimestampedValue
from PIL import Image

from image_features.errors import ModelError
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.inference import load_images
from image_features.transforms.inference.embeddings import FeatureVectorEmbeddings
from image_features.transforms.inference.model_handler import FeatureVectorModelHandler
from image_features.transforms.stores.http import HttpPolicy
from tests.http_server import ImageServer
from tests.images import bomb, encode, gradient, noise

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
POLICY = DecodePolicy((96, 96))


def _pipeline() -> beam.Pipeline:
    return beam.Pipeline(options=PipelineOptions(runner=RUNNER))


def _embed(tmp_path: pathlib.Path, **options) -> MLTransform:
    options.setdefault("columns", ["photo"])
    return MLTransform(write_artifact_location=str(tmp_path / "artifacts")).with_transform(
        FeatureVectorEmbeddings(**options)
    )


def _vector(model, data: bytes, policy: DecodePolicy = POLICY) -> list[float]:
    return model(decode_image(data, policy).pixels[np.newaxis])[0].tolist()


def _equals(expected):
    def check(rows):
        assert sorted(rows, key=lambda row: row["id"]) == expected

    return check


def test_every_kind_of_value_gives_the_same_vector(model, tmp_path):
    data = encode(noise(3, 200, 150), "PNG")
    picture = Image.open(io.BytesIO(data))
    (tmp_path / "a.png").write_bytes(data)
    values = [
        data,
        bytearray(data),
        str(tmp_path / "a.png"),
        f"file://{tmp_path}/a.png",
        picture.copy(),
        np.asarray(picture),
    ]
    rows = [{"id": number, "photo": value} for number, value in enumerate(values)]
    expected = [{"id": row["id"], "photo": _vector(model, data)} for row in rows]
    with _pipeline() as pipeline:
        results = pipeline | beam.Create(rows) | _embed(tmp_path)
        assert_that(results, _equals(expected))


def test_a_row_that_fails_fails_alone_and_as_it_came(model, tmp_path):
    good = {i: encode(noise(i)) for i in range(40)}
    bad = {
        40: (b"", "empty_file"),
        41: (b"<html>", "not_an_image"),
        42: (good[0][:200], "truncated"),
        43: (bomb(), "too_many_pixels"),
        44: (str(tmp_path / "none.jpg"), "not_found"),
        45: (None, "not_an_image"),
        46: (np.zeros((5, 5), np.float32), "not_an_image"),
    }
    rows = [{"id": i, "photo": data, "label": f"l{i}"} for i, data in good.items()]
    rows += [{"id": i, "photo": value, "label": f"l{i}"} for i, (value, _) in bad.items()]
    rows.append({"id": 47, "label": "no column"})
    expected = [
        {"id": i, "photo": _vector(model, data), "label": f"l{i}"} for i, data in good.items()
    ]

    def check_errors(errors):
        found = {error.element["id"]: error for error in errors}
        assert sorted(found) == [*bad, 47] and len(errors) == len(found)
        for i, (value, reason) in bad.items():
            np.testing.assert_array_equal(found[i].element["photo"], value)
            assert f"The column 'photo' holds no usable image ({reason})" in found[i].msg
        assert "['id', 'label'] only" in found[47].msg

    with _pipeline() as pipeline:
        results, errors = (
            pipeline
            | beam.Create(rows)
            | _embed(tmp_path, max_megapixels=64).with_exception_handling()
        )
        assert_that(results, _equals(expected))
        assert_that(errors, check_errors, label="Errors")


def test_a_batch_that_the_model_fails_on_becomes_a_row_of_errors_each(tmp_path):
    rows = [{"id": i, "photo": encode(noise(i))} for i in range(5)]
    embed = _embed(tmp_path, model=_Failing("builtin")).with_exception_handling()

    def check(errors):
        assert sorted(error.element["id"] for error in errors) == [0, 1, 2, 3, 4]
        assert all(error.element == rows[error.element["id"]] for error in errors)
        assert all("the device is gone" in error.msg for error in errors)

    with _pipeline() as pipeline:
        results, errors = pipeline | beam.Create(rows) | embed
        assert_that(results, lambda rows: rows and pytest.fail("There are results."))
        assert_that(errors, check, label="Errors")


class _Failing(FeatureVectorModelHandler):
    def run_inference(self, batch, model, inference_args=None):
        raise RuntimeError("the device is gone")


def test_without_handling_a_bad_row_ends_the_pipeline(tmp_path):
    rows = [{"id": 0, "photo": encode(noise(0))}, {"id": 1, "photo": b"junk"}]
    message = r"column 'photo' holds no usable image \(not_an_image\)"
    with pytest.raises(Exception, match=message), _pipeline() as pipeline:
        _ = pipeline | beam.Create(rows) | _embed(tmp_path)


def test_threshold_of_failures(tmp_path):
    rows = [{"id": i, "photo": b"junk" if i else encode(noise(0))} for i in range(4)]
    embed = _embed(tmp_path).with_exception_handling(threshold=0.5)
    with pytest.raises(Exception, match="exceeded threshold: 3 / 4"), _pipeline() as pipeline:
        _ = pipeline | beam.Create(rows) | embed


class Item(NamedTuple):
    id: int
    front: bytes
    back: bytes


def test_rows_of_several_columns(model, tmp_path):
    rows = [Item(i, encode(noise(i)), encode(noise(100 + i))) for i in range(3)]
    expected = [
        {"id": row.id, "front": _vector(model, row.front), "back": _vector(model, row.back)}
        for row in rows
    ]
    with _pipeline() as pipeline:
        results = (
            pipeline
            | beam.Create(rows)
            | _embed(tmp_path, columns=["front", "back"])
            | beam.Map(lambda row: row._asdict())
        )
        assert_that(results, _equals(expected))


def test_decoding_is_as_asked(model, tmp_path):
    data = encode(gradient(300, 100))
    cut = encode(noise(1, 300, 200))
    cut = cut[: len(cut) * 3 // 4]
    asked = {
        "resize": "pad",
        "interpolation": "lanczos",
        "antialias": False,
        "decode": "exact",
        "allow_truncated": True,
    }
    policy = DecodePolicy((96, 96), **asked)
    rows = [{"id": 0, "photo": data}, {"id": 1, "photo": cut}]
    expected = [{"id": row["id"], "photo": _vector(model, row["photo"], policy)} for row in rows]
    assert expected[0]["photo"] != _vector(model, data)
    with _pipeline() as pipeline:
        results = pipeline | beam.Create(rows) | _embed(tmp_path, **asked)
        assert_that(results, _equals(expected))


def test_artifacts_make_the_transform_again(model, tmp_path):
    data = encode(gradient(300, 100))
    rows = [{"id": 0, "photo": data}, {"id": 1, "photo": b"junk"}]
    padded = _vector(model, data, DecodePolicy((96, 96), resize="pad"))
    with _pipeline() as pipeline:
        _ = pipeline | beam.Create(rows[:1]) | _embed(tmp_path, resize="pad")
    read = MLTransform(read_artifact_location=str(tmp_path / "artifacts"))
    with _pipeline() as pipeline:
        results, errors = pipeline | beam.Create(rows) | read.with_exception_handling()
        assert_that(results, _equals([{"id": 0, "photo": padded}]))
        assert_that(
            errors | beam.Map(lambda error: error.element),
            lambda found: found == rows[1:] or pytest.fail(str(found)),
            label="Errors",
        )


def test_artifacts_refuse_another_module(tmp_path):
    rows = [{"id": 0, "photo": encode(noise(0))}]
    _ = beam.Pipeline(runner=RUNNER) | beam.Create(rows) | _embed(tmp_path)
    file = tmp_path / "artifacts" / "attributes.json"
    text = file.read_text()
    found = json.loads(text)[0]["py/state"]["handler"]["content_hash"]
    file.write_text(text.replace(found, "0" * 64))
    with pytest.raises(ModelError, match="or write its artifacts again"):
        _ = (
            beam.Pipeline(runner=RUNNER)
            | beam.Create(rows)
            | MLTransform(read_artifact_location=str(tmp_path / "artifacts"))
        )


def test_two_embeddings_in_one_transform(model, tmp_path):
    data = encode(noise(0))
    both = _embed(tmp_path, columns=["a"]).with_transform(
        FeatureVectorEmbeddings(columns=["b"], resize="center_crop")
    )
    cropped = _vector(model, data, DecodePolicy((96, 96), resize="center_crop"))
    with _pipeline() as pipeline:
        results = pipeline | beam.Create([{"id": 0, "a": data, "b": data}]) | both
        assert_that(results, _equals([{"id": 0, "a": _vector(model, data), "b": cropped}]))


def test_locations_of_a_batch_are_fetched_at_once(monkeypatch):
    barrier = threading.Barrier(8, timeout=20)

    def fetch(value, fetcher):
        barrier.wait()  # Breaks, and fails the test, unless eight arrive.
        return encode(noise(int(value)))

    monkeypatch.setattr(load_images, "fetch_value", fetch)
    load = load_images._LoadDoFn(["photo"], FetchPolicy(), POLICY)
    load.setup()
    rows = [{"photo": str(i)} for i in range(8)]
    loaded = list(load.process(rows))
    load.teardown()
    assert [row.row for row in loaded] == rows
    for i, row in enumerate(loaded):
        expected = decode_image(encode(noise(i)), POLICY).pixels
        np.testing.assert_array_equal(row.images[0], expected)


def test_private_hosts_only_if_allowed(model, tmp_path):
    data = encode(noise(0))
    with ImageServer({"a.jpg": data}) as server:
        url = server.url("a.jpg")
        load = load_images._LoadDoFn(["photo"], FetchPolicy(), POLICY)
        load.setup()
        [refused] = load.process([{"photo": url}])
        trusting = FetchPolicy(http=HttpPolicy(allow_private_hosts=True))
        with _pipeline() as pipeline:
            results = (
                pipeline | beam.Create([{"id": 0, "photo": url}]) | _embed(tmp_path, fetch=trusting)
            )
            assert_that(results, _equals([{"id": 0, "photo": _vector(model, data)}]))
    assert refused.error is not None and refused.error[1] == "blocked_host"


def test_windows_are_kept(model, tmp_path):
    data = encode(noise(0))
    vector = _vector(model, data)
    rows = [TimestampedValue({"id": i, "photo": data}, 10 * i) for i in range(4)]

    class WithWindow(beam.DoFn):
        def process(self, row, window=beam.DoFn.WindowParam):
            yield row["id"], float(window.start), row["photo"] == vector

    with _pipeline() as pipeline:
        results = (
            pipeline
            | beam.Create(rows)
            | beam.WindowInto(FixedWindows(20))
            | _embed(tmp_path)
            | beam.ParDo(WithWindow())
            | "Global" >> beam.WindowInto(GlobalWindows())
        )
        expected = [(0, 0.0, True), (1, 0.0, True), (2, 20.0, True), (3, 20.0, True)]
        assert_that(results, equal_to(expected))


def test_constructor_refuses():
    for columns in ("photo", []):
        with pytest.raises(ValueError, match="list of names"):
            FeatureVectorEmbeddings(columns=columns)
    with pytest.raises(ValueError, match="not for area"):
        FeatureVectorEmbeddings(columns=["photo"], interpolation="area", antialias=False)
    with pytest.raises(TypeError, match="interpolate"):
        FeatureVectorEmbeddings(columns=["photo"], interpolate="area")


def test_rows_on_their_way_can_be_pickled():
    # A runner that does not fuse the steps stores what flows between them.
    load = load_images._LoadDoFn(["photo"], FetchPolicy(), POLICY)
    load.setup()
    [loaded] = load.process([{"photo": b"junk"}])
    assert pickle.loads(pickle.dumps(loaded)) == loaded
