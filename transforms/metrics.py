"""The job's Beam metrics: one namespace, and one way to count a dead letter."""

from __future__ import annotations

from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from transforms.types import ImageError

NAMESPACE = "image_features"
ERRORS_TAG = "errors"


def dead_letter(error: ImageError) -> TaggedOutput:
    """Counts a failure under its stage and reason, and tags it for the errors output."""
    Metrics.counter(NAMESPACE, f"{error.stage}/failed").inc()
    Metrics.counter(NAMESPACE, f"{error.stage}/failed_{error.reason}").inc()
    return TaggedOutput(ERRORS_TAG, error)
