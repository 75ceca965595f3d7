"""The files that describe a run beside its shards, and their entries in run.json."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import uuid
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.commit.schema import dataset_info_json, features_json, schema_pbtxt
from image_features.pipeline.config import RunConfig
from image_features.pipeline.dataset.layout import RunLayout
from image_features.pipeline.dataset.model_sections import by_model
from image_features.transforms.images.policy import DECODING_PACKAGES
from image_features.transforms.measure_features import (
    BINS_PER_OCTAVE,
    FIRST_BIN,
    FeatureStatistics,
    Health,
)
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import create_whole

_PACKAGES = (
    "apache-beam",
    "ai-edge-litert",
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-hub",
    "pillow",
    "numpy",
    *DECODING_PACKAGES,
)
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
# The last digits of a sum in double precision depend on the order of bundles; the first seven
# digits do not.
_DIGITS = 7


def write_description(layout: RunLayout, name: str, kind: str, text: str) -> dict[str, Any]:
    """Writes a file into a run's directory, whole or not at all; returns its entry in run.json."""
    data = text.encode()
    part = FileSystems.join(layout.staging, f"{name}.{uuid.uuid4().hex}")
    with create_whole(layout.path(name), part) as file:
        file.write(data)
    digest = hashlib.sha256(data).hexdigest()
    return {"name": name, "kind": kind, "bytes": len(data), "sha256": digest}


def write_schemas(run: RunConfig, features: Sequence[ShardFile]) -> list[dict[str, Any]]:
    """Writes schema.pbtxt, features.json and dataset_info.json; returns their entries."""
    columns, vectors = run.provenance.columns, run.provenance.vectors
    schemas = {"schema.pbtxt": schema_pbtxt(columns, vectors)}
    if run.layout.compression == "none":
        # TFDS reads plain TFRecord only, and its files beside others would be a false promise.
        schemas["features.json"] = features_json(columns, vectors)
        schemas["dataset_info.json"] = dataset_info_json(
            "image_features", "1.0.0", [s.rows for s in features], sum(s.bytes for s in features)
        )
    return [
        write_description(run.layout, name, "schema", text)
        for name, text in sorted(schemas.items())
    ]


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that features depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def health_section(health: Health) -> dict[str, Any]:
    """Returns what run.json says of the features; percentiles are right to 1.1 %."""
    return by_model({name: _section(statistics) for name, statistics in health.items()})


def _section(statistics: FeatureStatistics) -> dict[str, Any]:
    return {
        "rows": statistics.rows,
        "zero_rows": statistics.zero_rows,
        "constant_dimensions": int(statistics.constant.sum()) if statistics.rows > 1 else 0,
        "norm": {
            "mean": _rounded(statistics.norm_mean),
            "std": _rounded(statistics.norm_deviation),
            "percentiles": {
                str(percent): _rounded(statistics.norm_percentile(percent))
                for percent in _PERCENTILES
            },
        },
    }


def health_document(health: Health) -> dict[str, Any]:
    """Returns health.json: the section, the histogram of norms and every dimension.

    Bin k of the histogram counts norms from 2^((k - 1/2) / 32) to 2^((k + 1/2) / 32); the ends
    -641 and 641 take what is beyond. Lists of dimensions are empty where there are no rows.
    """
    return by_model({name: _document(statistics) for name, statistics in health.items()})


def _document(statistics: FeatureStatistics) -> dict[str, Any]:
    bins = statistics.norm_counts.nonzero()[0]
    first, last = (int(bins[0]), int(bins[-1])) if len(bins) else (0, -1)
    dimensions: dict[str, npt.NDArray[Any]] = {
        "mean": statistics.means,
        "std": statistics.deviations,
        "min": statistics.minima,
        "max": statistics.maxima,
    }
    return {
        **_section(statistics),
        "norm_histogram": {
            "bins_per_octave": BINS_PER_OCTAVE,
            "first": first + FIRST_BIN - 1,
            "counts": statistics.norm_counts[first : last + 1].tolist(),
        },
        "dimensions": {
            name: [_rounded(value) for value in values.tolist()] if statistics.rows else []
            for name, values in dimensions.items()
        },
    }


def as_json(document: dict[str, Any]) -> str:
    """Returns JSON with a line for every key of the first level."""
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in document.items())
    return "{\n" + ",\n".join(f"  {line}" for line in lines) + "\n}\n"


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
