"""Pipelines with RunInference, and what their results must be."""

from __future__ import annotations

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def pipeline_of(**options) -> beam.Pipeline:
    return beam.Pipeline(options=PipelineOptions(runner=RUNNER, **options))


def keyed(pixels) -> beam.PTransform:
    return beam.Create(list(enumerate(pixels)))


def equals(features, content_hash):
    """Checks keyed results against the features by key, to the bit."""

    def check(results):
        assert sorted(key for key, _ in results) == list(range(len(features)))
        for key, result in results:
            assert result.model_id == content_hash
            assert result.inference.dtype == np.float32
            np.testing.assert_array_equal(result.inference, features[key])

    return check
