"""What a job reports of itself: Beam metrics in one namespace, and events in its log."""

from __future__ import annotations

import json
import logging
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.values import ImageError

NAMESPACE = "image_features"
ERRORS_TAG = "errors"


def dead_letter(error: ImageError) -> TaggedOutput:
    """Counts a failure under its stage and reason, and tags it for the errors output."""
    Metrics.counter(NAMESPACE, f"{error.stage}/failed").inc()
    Metrics.counter(NAMESPACE, f"{error.stage}/failed_{error.reason}").inc()
    return TaggedOutput(ERRORS_TAG, error)


def log_event(logger: logging.Logger, event: str, **fields: Any) -> None:
    """Logs one line that is a JSON object, so that it can be found again in any engine's log."""
    logger.info("%s", json.dumps({"event": event, **fields}))
