"""The range of a dataset's vectors, as its runs tell it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems

from image_features.errors import UsageError
from image_features.pipeline.dataset.layout import HEALTH_FILE
from image_features.pipeline.dataset.model_sections import sections_in
from image_features.pipeline.dataset.run import Run
from image_features.transforms.exports.fields import FLOAT16_LIMIT, RowFields, VectorType
from image_features.transforms.stores.files import open_plain


def check_range(fields: RowFields, runs: Sequence[Run]) -> None:
    """Makes sure that the exported type can hold the vectors, as far as the runs tell their range.

    A run of an early version does not, nor one without its health.json; then the rows do.

    Raises:
      UsageError: it cannot.
    """
    if fields.type is not VectorType.FLOAT16 or fields.normalize:
        return
    for run in runs:
        largest = _largest(run, fields.vector.model)
        if largest >= FLOAT16_LIMIT:
            raise UsageError(
                f"The run {run.directory} has a vector with a value of {largest:g}, which float16 "
                "cannot hold: export with --normalize, or as float32."
            )


def _largest(run: Run, model: str) -> float:
    """Returns the largest absolute value in a run's vectors; 0 where nothing tells it."""
    try:
        if not run.rows or not run.files("health"):
            return 0.0
        with open_plain(FileSystems.join(run.directory, HEALTH_FILE)) as file:
            dimensions = sections_in(json.loads(file.read()))[model]["dimensions"]
        return float(max(*dimensions["max"], -min(dimensions["min"])))
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
