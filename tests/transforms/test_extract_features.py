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
            | ExtractFeatures(models={"": SPEC}, load_model=lambda _: FaultyModule(parallelism))
        )
        assert_that(rows.features, check, label="Features")
        assert_that(rows.errors, check_errors, label="Errors")
