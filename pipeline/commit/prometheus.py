"""A run in Prometheus's text exposition format, for a textfile collector or a push gateway.

It is written without a library, since the format is a page long and does not change: version 0.0.4
at prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from image_features.pipeline.dataset.model_sections import sections_in

_PREFIX = "image_features_"
Labels = dict[str, str]
Metric = tuple[str, str, list[tuple[Labels, float]]]
_Readers = tuple[tuple[str, str, Callable[[Mapping[str, Any]], float]], ...]
_OF_HEALTH: _Readers = (
    ("health_rows", "Feature vectors measured.", lambda of: of["rows"]),
    ("health_zero_rows", "Feature vectors that are all zero.", lambda of: of["zero_rows"]),
    (
        "health_constant_dimensions",
        "Dimensions in which no two vectors differ.",
        lambda of: of["constant_dimensions"],
    ),
    ("health_norm_mean", "Mean L2 norm of feature vectors.", lambda of: of["norm"]["mean"]),
    ("health_norm_std", "Standard deviation of the L2 norms.", lambda of: of["norm"]["std"]),
)
_OF_DRIFT: _Readers = (
    ("drift_psi", "Stability index of norms to an earlier run.", lambda of: of["psi"]),
    (
        "drift_mean_difference",
        "Mean absolute standardised difference of means to an earlier run.",
        lambda of: of["mean_difference"],
    ),
    ("drifted", "1 if the features have drifted.", lambda of: int(of["drifted"])),
)


def exposition(run: Mapping[str, Any]) -> str:
    """Returns the gauges of a run.

    Each is labelled `run_id`, and `model`, the content hash of the model. Where models have names,
    only what is said of one is labelled `model`, and its name as `features`.

    Args:
      run: The content of the run's run.json.
    """
    common = {"run_id": run["run_id"]}
    if "model" in run:
        common["model"] = run["model"]["content_hash"]
    lines = []
    for name, description, samples in _metrics(run):
        full = _PREFIX + name
        lines.append(f"# HELP {full} {_escape(description)}")
        lines.append(f"# TYPE {full} gauge")
        for labels, value in samples:
            lines.append(f"{full}{_labels(common | labels)} {value!r}")
    return "\n".join(lines) + "\n"


def _metrics(run: Mapping[str, Any]) -> Iterator[Metric]:
    counts = run["counts"]

    def single(name: str, description: str, value: float) -> Metric:
        return name, description, [({}, value)]

    yield single("rows_in", "Rows read, without duplicates.", counts["rows_in"])
    yield single("rows_out", "Rows with features.", counts["rows_out"])
    yield single("rows_failed", "Rows that failed.", counts["rows_failed"])
    yield single("rows_unchanged", "Rows that the dataset had already.", counts["rows_unchanged"])
    yield single("rows_removed", "Rows that the input named no more.", counts["rows_removed"])
    reasons = counts["failed_by_reason"]
    if reasons:
        yield (
            "rows_failed_by_reason",
            "Rows that failed, by reason.",
            [({"reason": reason}, count) for reason, count in reasons.items()],
        )
    yield single("duplicates", "Rows dropped as duplicates.", counts["duplicates"])
    yield single("duration_seconds", "From launch to commit.", run["duration_seconds"])
    yield single(
        "images_per_second", "Rows done, unchanged ones apart, a second.", run["images_per_second"]
    )
    yield single("started_timestamp_seconds", "Time of launch.", _timestamp(run["started"]))
    yield single("finished_timestamp_seconds", "Time of commit.", _timestamp(run["finished"]))
    of: dict[str, Labels] = {
        entry["name"]: {"features": entry["name"], "model": entry["content_hash"]}
        for entry in run.get("models", ())
    } or {"": {}}
    health = sections_in(run["health"])
    for name, description, read in _OF_HEALTH:
        yield name, description, [(of[model], read(each)) for model, each in health.items()]
    yield (
        "health_norm",
        "Quantiles of the L2 norms.",
        [
            (of[model] | {"quantile": f"{int(percent) / 100:g}"}, value)
            for model, each in health.items()
            for percent, value in each["norm"]["percentiles"].items()
        ],
    )
    drift = sections_in(run["drift"])
    for name, description, read in _OF_DRIFT if drift else ():
        yield name, description, [(of[model], read(each)) for model, each in drift.items()]


def _timestamp(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _labels(labels: Labels) -> str:
    quote = '\\"'
    inside = ",".join(
        f'{name}="{_escape(value).replace(chr(34), quote)}"' for name, value in labels.items()
    )
    return "{" + inside + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
