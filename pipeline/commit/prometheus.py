"""A run in Prometheus's text exposition format, for a textfile collector or a push gateway.

It is written without a library, since the format is a page long and does not change: version 0.0.4
at prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

_PREFIX = "image_features_"
Labels = dict[str, str]
Metric = tuple[str, str, list[tuple[Labels, float]]]


def exposition(run: Mapping[str, Any]) -> str:
    """Returns the gauges of a run, each labelled `run_id` and `model`, the model's content hash.

    Args:
      run: The content of the run's run.json.
    """
    common = {"run_id": run["run_id"], "model": run["model"]["content_hash"]}
    lines = []
    for name, description, samples in _metrics(run):
        full = _PREFIX + name
        lines.append(f"# HELP {full} {_escape(description)}")
        lines.append(f"# TYPE {full} gauge")
        for labels, value in samples:
            lines.append(f"{full}{_labels(common | labels)} {value!r}")
    return "\n".join(lines) + "\n"


def _metrics(run: Mapping[str, Any]) -> Iterator[Metric]:
    counts, health, drift = run["counts"], run["health"], run["drift"]

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
    yield single("health_rows", "Feature vectors measured.", health["rows"])
    yield single("health_zero_rows", "Feature vectors that are all zero.", health["zero_rows"])
    yield single(
        "health_constant_dimensions",
        "Dimensions in which no two vectors differ.",
        health["constant_dimensions"],
    )
    norm = health["norm"]
    yield single("health_norm_mean", "Mean L2 norm of feature vectors.", norm["mean"])
    yield single("health_norm_std", "Standard deviation of the L2 norms.", norm["std"])
    yield (
        "health_norm",
        "Quantiles of the L2 norms.",
        [
            ({"quantile": f"{int(percent) / 100:g}"}, value)
            for percent, value in norm["percentiles"].items()
        ],
    )
    if drift:
        yield single("drift_psi", "Stability index of norms to an earlier run.", drift["psi"])
        yield single(
            "drift_mean_difference",
            "Mean absolute standardised difference of means to an earlier run.",
            drift["mean_difference"],
        )
        yield single("drifted", "1 if the features have drifted.", int(drift["drifted"]))


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
