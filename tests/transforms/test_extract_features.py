"""Inference with a module that fails on purpose; real modules run in tests/pipeline."""

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from image_features.models.engines import PreparedModel
from image_features.models.identity import ModelIdentity
from image_features.transforms.extract_features import ExtractFeatures
from image_features.transforms.values import DecodedImage, ImageRef, Reason, Stage

SPEC = PreparedModel(ModelIdentity("fake", "", (2, 2), 3), batch_size=8)
POISON, INFINITE = 13, 14


class FaultyModule:
    """Fails on any batch with a poisoned image; gives infinity for another."""

    def __init__(self, parallelism):
        self.parallelism = parallelism

    def __call__(self, pixels):
        assert len(pixels) <= SPEC.batch_size
        values = pixels[:, 0, 0, 0]
        if POISON in values:
            raise ValueError("cannot compute this")
        features = np.repeat(values[:, None], 3, 1).astype(np.float32)
        features[values == INFINITE] = np.inf
        return features


@pytest.mark.parametrize("parallelism", [None, 2])
def test_a_row_that_fails_leaves_its_batch_alone(parallelism):
    images = [
        DecodedImage(ImageRef(str(i), str(i)), np.full((2, 2, 3), i, np.uint8), "", "png", 2, 2)
        for i in range(30)
    ]

    def check(rows):
        assert sorted(int(row.features[0]) for row in rows) == [
            i for i in range(30) if i not in (POISON, INFINITE)
        ]
        assert all(row.ref.uri == str(int(row.features[0])) for row in rows)

    def check_errors(errors):
        assert {(error.ref.uri, error.reason) for error in errors} == {
            (str(POISON), Reason.INFERENCE_FAILED),
            (str(INFINITE), Reason.NOT_FINITE),
        }
        assert {error.stage for error in errors} == {Stage.EXTRACT}

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = (
            pipeline
            | beam.Create(images)
            | ExtractFeatures(model=SPEC, load_model=lambda _: FaultyModule(parallelism))
        )
        assert_that(rows.features, check, label="Features")
        assert_that(rows.errors, check_errors, label="Errors")


class Mean:
    """Gives the mean of an image with its height, and fails on no image."""

    parallelism = None

    def __call__(self, pixels):
        assert len(pixels) <= 2 * SPEC.batch_size
        means = pixels.mean((1, 2, 3), dtype=np.float32)
        return np.stack([means, np.full_like(means, pixels.shape[1])], 1)


def test_a_row_fails_with_one_of_its_models():
    larger = PreparedModel(ModelIdentity("mean", "", (5, 4), 2), batch_size=2 * SPEC.batch_size)
    images = [
        DecodedImage(
            ImageRef(str(i), str(i)),
            np.full((2, 2, 3), i, np.uint8),
            *("", "png", 2, 2),
            further=(np.full((5, 4, 3), i, np.uint8),),
        )
        for i in range(30)
    ]

    def check(rows):
        assert len(rows) == 28
        for row in rows:
            i = int(row.ref.uri)
            assert row.features.tolist() == [i, 5, i, i, i, i, 5]

    def check_errors(errors):
        assert {(error.ref.uri, error.message) for error in errors} == {
            (
                str(POISON),
                "The module faulty failed on this image (ValueError: cannot compute this).",
            ),
            (
                str(INFINITE),
                "The module faulty's features for this image hold NaN or infinity.",
            ),
        }

    class InHalves(FaultyModule):
        """Takes any number of images, as every engine does."""

        def __call__(self, pixels):
            halves = np.split(pixels, [SPEC.batch_size])
            return np.concatenate([super(InHalves, self).__call__(half) for half in halves])

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = (
            pipeline
            | beam.Create(images)
            | ExtractFeatures(
                model={"one": larger, "faulty": SPEC, "two": larger},
                load_model=lambda spec: InHalves(None) if spec is SPEC else Mean(),
            )
        )
        assert_that(rows.features, check, label="Features")
        assert_that(rows.errors, check_errors, label="Errors")
