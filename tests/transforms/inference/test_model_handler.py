"""The handler in Beam's RunInference: its features are the engine's, bit for bit."""

from __future__ import annotations

import json

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.ml.inference.base import (
    KeyedModelHandler,
    KeyModelMapping,
    PredictionResult,
    RunInference,
)
from apache_beam.testing.util import assert_that

from image_features.errors import ModelError
from image_features.models.engines import load, prepare
from image_features.models.scaling import Scaling
from image_features.transforms.inference.model_handler import FeatureVectorModelHandler
from tests.models import channel_means
from tests.models.tiny import means, save
from tests.transforms.inference.inference import RUNNER, equals, keyed, pipeline_of


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 1}, {"batch_size": 7}, {"max_batch_size": 3}]
)
def test_features_do_not_depend_on_the_batch(pixels, features, prepared, options):
    handler = KeyedModelHandler(FeatureVectorModelHandler("builtin", **options))
    with pipeline_of() as pipeline:
        results = pipeline | keyed(pixels) | RunInference(handler)
        assert_that(results, equals(features, prepared.content_hash))


def test_results_and_metrics(pixels, features, prepared):
    pipeline = pipeline_of()
    results = pipeline | beam.Create(list(pixels)) | RunInference(FeatureVectorModelHandler())

    def check(results):
        assert len(results) == len(pixels)
        by_bytes = {image.tobytes(): vector for image, vector in zip(pixels, features, strict=True)}
        for result in results:
            assert isinstance(result, PredictionResult)
            np.testing.assert_array_equal(result.inference, by_bytes[result.example.tobytes()])

    assert_that(results, check)
    run = pipeline.run()
    run.wait_until_finish()
    found = run.metrics().query(MetricsFilter().with_namespace("image_features"))
    counters = {row.key.metric.name: row.committed for row in found["counters"]}
    distributions = {row.key.metric.name: row.committed for row in found["distributions"]}
    assert counters["num_inferences"] == len(pixels)
    # Beam must not try larger batches than the handler's.
    assert distributions["inference_request_batch_size"].max == 32
    assert distributions["inference_request_batch_byte_size"].sum == pixels.nbytes


def test_batch_sizes_are_bounded():
    def sizes(**options):
        return dict(FeatureVectorModelHandler(**options).batch_elements_kwargs())

    assert sizes() == {"min_batch_size": 32, "max_batch_size": 32}
    assert sizes(batch_size=8) == {"min_batch_size": 8, "max_batch_size": 8}
    assert sizes(max_batch_size=16) == {"min_batch_size": 16, "max_batch_size": 16}
    assert sizes(min_batch_size=64) == {"min_batch_size": 64, "max_batch_size": 64}
    assert sizes(min_batch_size=4, max_batch_duration_secs=2) == {
        "min_batch_size": 4,
        "max_batch_size": 32,
        "max_batch_duration_secs": 2,
    }


def test_several_models_by_key(pixels, features, prepared):
    float16 = FeatureVectorModelHandler("builtin", precision="float16")
    handler = KeyedModelHandler(
        [
            KeyModelMapping(["single"], FeatureVectorModelHandler("builtin")),
            KeyModelMapping(["half"], float16),
        ]
    )
    expected = {"single": features[0], "half": load(float16.prepared)(pixels[:1])[0]}

    def check(results):
        assert sorted(key for key, _ in results) == ["half", "single"]
        for key, result in results:
            np.testing.assert_array_equal(result.inference, expected[key])

    assert not np.array_equal(expected["single"], expected["half"])
    with pipeline_of() as pipeline:
        rows = beam.Create([("single", pixels[0]), ("half", pixels[0])])
        assert_that(pipeline | rows | RunInference(handler), check)


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (np.zeros((224, 224, 3), np.uint8), r"uint8 \[224, 224, 3\]"),
        (np.zeros((96, 96, 3), np.float32), r"float32 \[96, 96, 3\]"),
        (np.zeros((1, 96, 96, 3), np.uint8), r"uint8 \[1, 96, 96, 3\]"),
        (b"\xff\xd8\xff", "a bytes"),
    ],
)
def test_a_wrong_element_is_named(pixels, bad, found):
    message = rf"\[96, 96, 3\].*element 3 of a batch of 4 is {found}"
    with pytest.raises(Exception, match=message), pipeline_of() as pipeline:
        _ = (
            pipeline
            | beam.Create([[*pixels[:2], bad, pixels[3]]])
            | RunInference(FeatureVectorModelHandler().with_no_batching())
        )


def test_a_wrong_batch_is_a_dead_letter_if_asked(pixels, features):
    def check(results):
        assert sorted(key for key, _ in results) == [0, 1]

    def check_failed(failed):
        [(batch, (_, message, _))] = failed
        assert [key for key, _ in batch] == [2, 3]
        assert "element 2 of a batch of 2" in message

    elements = [(0, pixels[0]), (1, pixels[1]), (2, pixels[2]), (3, pixels[3][:10])]
    with pipeline_of() as pipeline:
        results, dead = (
            pipeline
            | beam.Create([elements], reshuffle=False)
            | beam.FlatMap(lambda rows: rows)
            | RunInference(
                KeyedModelHandler(FeatureVectorModelHandler(batch_size=2))
            ).with_exception_handling()
        )
        assert_that(results, check)
        assert_that(dead.failed_inferences, check_failed, label="Failed")


def test_arguments_are_refused_where_the_pipeline_is_built(pixels):
    with pytest.raises(ValueError, match="takes no inference_args, and got \\['top_k'\\]"):
        (
            beam.Pipeline(runner=RUNNER)
            | beam.Create(list(pixels[:1]))
            | RunInference(FeatureVectorModelHandler(), inference_args={"top_k": 3})
        )
    with pytest.raises(ModelError, match="/no/such/model"):
        (
            beam.Pipeline(runner=RUNNER)
            | beam.Create(list(pixels[:1]))
            | RunInference(KeyedModelHandler(FeatureVectorModelHandler("/no/such/model")))
        )


def test_constructor_refuses(prepared):
    with pytest.raises(ValueError, match="at least 1"):
        FeatureVectorModelHandler(batch_size=0)
    with pytest.raises(ValueError, match="gpu"):
        FeatureVectorModelHandler(engine="gpu")
    with pytest.raises(ValueError, match=r"pass them to prepare\(\)"):
        FeatureVectorModelHandler(prepared, precision="int8")
    with pytest.raises(ValueError, match=r"scaling already"):
        FeatureVectorModelHandler(prepared, scaling=Scaling())


def test_a_prepared_model(pixels, features):
    handler = FeatureVectorModelHandler(prepare("builtin", batch_size=5), min_batch_size=2)
    assert dict(handler.batch_elements_kwargs()) == {"min_batch_size": 2, "max_batch_size": 5}
    results = handler.run_inference(list(pixels), handler.load_model())
    np.testing.assert_array_equal([result.inference for result in results], features)


def test_tensorflow(pixels, features, model):
    handler = FeatureVectorModelHandler(engine="tensorflow")
    expected = load(handler.prepared)(pixels)
    with pipeline_of() as pipeline:
        results = pipeline | keyed(pixels) | RunInference(KeyedModelHandler(handler))
        assert_that(
            results,
            lambda rows: [
                np.testing.assert_allclose(row.inference, expected[key], rtol=1e-4, atol=1e-5)
                for key, row in rows
            ],
        )
    np.testing.assert_allclose(expected, features, rtol=1e-2, atol=1e-3)


def test_refreshing_the_model(pixels, features):
    handler = FeatureVectorModelHandler("untrained")
    before = handler.run_inference(pixels[:1], handler.load_model())
    handler.update_model_path("")
    handler.update_model_path("untrained")
    assert handler.run_inference(pixels[:1], handler.load_model())[0].model_id == before[0].model_id
    handler.update_model_path("builtin")
    after = handler.run_inference(pixels[:1], handler.load_model())
    assert after[0].model_id == prepare("builtin").content_hash != before[0].model_id
    np.testing.assert_array_equal(after[0].inference, features[0])
    assert not np.array_equal(before[0].inference, features[0])


def test_json(prepared):
    handler = FeatureVectorModelHandler(
        "builtin", precision="float16", batch_size=4, resource_hints={"min_ram": "2GB"}
    )
    again = FeatureVectorModelHandler.from_json(handler.to_json())
    assert again.to_json() == handler.to_json()
    # Artifacts of version 0.2 tell no scaling.
    before = {name: value for name, value in handler.to_json().items() if name != "scaling"}
    assert FeatureVectorModelHandler.from_json(before).to_json() == handler.to_json()
    assert again.get_resource_hints() == {"min_ram": "2GB"}
    with pytest.raises(ModelError, match="write its artifacts again"):
        _ = FeatureVectorModelHandler.from_json(
            {**handler.to_json(), "content_hash": "0" * 64}
        ).prepared


def test_probabilities_are_refused_unless_they_are_wanted(tmp_path):
    import tensorflow as tf

    directory = save(tmp_path / "softmax", lambda batch: tf.nn.softmax(means(batch)))
    with pytest.raises(ModelError, match="gives the probabilities of classes"):
        _ = FeatureVectorModelHandler(directory).prepared
    handler = FeatureVectorModelHandler(directory, allow_probabilities=True)
    again = FeatureVectorModelHandler.from_json(handler.to_json())
    assert again.prepared.num_features == 3


def test_a_scaling_travels_with_the_handler(tmp_path):
    handler = FeatureVectorModelHandler(
        channel_means.save(str(tmp_path / "module")), scaling=Scaling.of_range(0, 255)
    )
    again = FeatureVectorModelHandler.from_json(json.loads(json.dumps(handler.to_json())))
    colour = np.full((channel_means.SIZE, channel_means.SIZE, 3), (1, 128, 255), np.uint8)
    (result,) = again.run_inference([colour], again.load_model())
    np.testing.assert_array_equal(result.inference, [1, 128, 255])
