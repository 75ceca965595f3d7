"""The charts of a report, as specifications for Vega-Lite; the page's theme has the colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from image_features.pipeline.dataset.run import Run
from image_features.pipeline.report.contents import (
    Health,
    ModelReport,
    Report,
    SampledImage,
    SampledImages,
)

SHOWN_RUNS = 60  # The latest runs, which charts and the table show.
_CATEGORIES = 10
_ON_MAP = (16, 11)  # The cells of the map; each holds one picture at most.
_BINS = 40

Json = dict[str, Any]


def rate_of(rows: int, seconds: float) -> float:
    """Returns rows a second."""
    return round(rows / seconds, 1) if seconds > 0 else 0.0


def run_line(run: Run) -> Json:
    """Describes a run for a table or a chart."""
    models = run.provenance.models
    return {
        "id": run.run_id,
        "finished": run.finished[:19].replace("T", " "),
        "counts": run.counts.to_json(),
        "seconds": round(run.seconds, 1),
        "rate": rate_of(run.counts.rows_done, run.seconds),
        "model": ", ".join(f"{n} = {m.handle}" if n else m.handle for n, m in models.items()),
        "hash": ", ".join(model.content_hash[:12] for model in models.values()),
    }


def draw(report: Report, thumbnails: Mapping[int, str]) -> dict[str, Json]:
    """Returns the charts' specifications by name; the map names its pictures by their rows."""
    runs = [run_line(run) for run in reversed(report.runs[:SHOWN_RUNS])]
    charts = {
        "rows": _rows_chart(runs),
        "rate": _rate_chart(runs),
    }
    for number, model in enumerate(report.models):
        charts |= _of_model(number, model, thumbnails)
    reasons = [
        {"run": run["id"], "reason": reason, "rows": count}
        for run in runs
        for reason, count in run["counts"]["failed_by_reason"].items()
    ]
    if reasons:
        charts["reasons"] = _bars(reasons, "rows", "reason")
    images = report.images
    if images.formats:
        formats = [{"format": name, "images": n} for name, n in images.formats.items()]
        charts["formats"] = _bars(formats, "images", "format")
        charts["sides"] = _columns(
            [
                {"pixels": f"{2 ** (bits - 1)} to {2**bits - 1}", "images": count}
                for bits, count in images.sides.items()
            ],
            "pixels",
            "longer side, pixels",
        )
        ratios = [
            {"ratio": round(2 ** (step / 10), 2), "images": n} for step, n in images.ratios.items()
        ]
        charts["ratios"] = _columns(ratios, "ratio", "width : height")
    return charts


def _of_model(number: int, model: ModelReport, thumbnails: Mapping[int, str]) -> dict[str, Json]:
    charts = {f"map-{number}": _map(model.sample, thumbnails)}
    if any(len(one.vectors.norms) for one in model.health):
        charts[f"norms-{number}"] = _norms(model.health)
    return charts


def _chart(values: Sequence[Json], mark: Json, encoding: Json, height: int = 180) -> Json:
    return {
        "data": {"values": list(values)},
        "mark": {"tooltip": True, **mark},
        "encoding": encoding,
        "width": "container",
        "height": height,
    }


def _axis(field: str, kind: str, title: str | None, **more: Any) -> Json:
    return {"field": field, "type": kind, "title": title, **more}


def _rows_chart(runs: Sequence[Json]) -> Json:
    values = [
        {"run": run["id"], "outcome": outcome, "rows": run["counts"][name]}
        for run in runs
        for outcome, name in (("extracted", "rows_out"), ("failed", "rows_failed"))
    ]
    outcomes = {"domain": ["extracted", "failed"], "range": "diverging"}
    return _chart(
        values,
        {"type": "bar", "size": 18} if len(runs) < 12 else {"type": "bar"},
        {
            "x": _axis("run", "ordinal", None, sort=None, axis={"labelAngle": -35}),
            "y": _axis("rows", "quantitative", "rows"),
            "color": _axis("outcome", "nominal", None, scale=outcomes, legend={"orient": "top"}),
            "order": {"field": "outcome"},
        },
    )


def _rate_chart(runs: Sequence[Json]) -> Json:
    return _chart(
        [{"run": run["id"], "rows a second": run["rate"]} for run in runs],
        {"type": "line", "point": True},
        {
            "x": _axis("run", "ordinal", None, sort=None, axis={"labelAngle": -35}),
            "y": _axis("rows a second", "quantitative", "rows a second"),
        },
        206,
    )


def _bars(values: Sequence[Json], amount: str, name: str) -> Json:
    encoding = {
        "y": _axis(name, "nominal", None, sort="-x", axis={"labelLimit": 200}),
        "x": _axis(amount, "quantitative", amount, axis={"tickMinStep": 1, "tickCount": 5}),
    }
    if "run" in values[0]:
        encoding["color"] = _axis("run", "ordinal", "run", scale={"scheme": "blues"}, legend=None)
    return _chart(values, {"type": "bar"}, encoding) | {"height": {"step": 24}}


def _columns(values: Sequence[Json], name: str, title: str) -> Json:
    encoding = {
        "x": _axis(name, "ordinal", title, sort=None, axis={"labelAngle": -35}),
        "y": _axis("images", "quantitative", "images", axis={"tickMinStep": 1}),
    }
    return _chart(values, {"type": "bar"}, encoding)


def _norms(health: Sequence[Health]) -> Json:
    together = np.concatenate([one.vectors.norms for one in health])
    edges = np.histogram_bin_edges(together, _BINS)
    values = []
    for one in health:
        counts, _ = np.histogram(one.vectors.norms, edges)
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            share = float(count / max(1, len(one.vectors.norms)))
            values.append({"run": one.run_id, "length": float(low + high) / 2, "share": share})
    order = [one.run_id for one in health]
    return _chart(
        values,
        {"type": "area", "interpolate": "step", "opacity": 0.45, "line": True},
        {
            "x": _axis("length", "quantitative", "length of the vector", scale={"zero": False}),
            "y": _axis("share", "quantitative", "of the rows", stack=None, axis={"format": "%"}),
            "color": _axis("run", "nominal", None, sort=order, legend={"orient": "top"}),
        },
    )


def _map(sample: SampledImages, thumbnails: Mapping[int, str]) -> Json:
    points = [
        {"i": i, "x": round(float(x), 5), "y": round(float(y), 5)}
        for i, (x, y) in enumerate(sample.map.points)
    ]
    column = _category(sample.rows)
    for point, row in zip(points, sample.rows, strict=True):
        if column:
            point["c"] = dict(row.columns).get(column, "")  # type: ignore[assignment]
    hidden = {"axis": None, "scale": {"zero": False, "nice": False, "padding": 26}}
    place = {"x": _axis("x", "quantitative", None, **hidden)}
    place["y"] = _axis("y", "quantitative", None, **hidden)
    tooltip = {"field": "i", "type": "quantitative"}
    colour = {"color": _axis("c", "nominal", column)} if column else {}
    zoom = {"type": "interval", "zoom": "wheel![event.ctrlKey]"}
    return {
        "data": {"values": points},
        "width": "container",
        "height": 560,
        "encoding": {**place, "tooltip": tooltip},
        "layer": [
            {
                "params": [{"name": "view", "select": zoom, "bind": "scales"}],
                "mark": {"type": "circle", "size": 46, "opacity": 0.75},
                "encoding": colour,
            },
            {
                "data": {"values": [points[i] for i in _spread(sample.map.points, thumbnails)]},
                "mark": {"type": "image", "width": 40, "height": 40},
                "encoding": {"url": {"field": "u", "type": "nominal"}},
            },
        ],
    }


def _category(rows: Sequence[SampledImage]) -> str | None:
    """Returns the name of the first column with few values, for the colour of points."""
    for name, _ in rows[0].columns if rows else ():
        values = {dict(row.columns).get(name, "") for row in rows}
        if 2 <= len(values) <= _CATEGORIES:
            return name
    return None


def _spread(points: Any, thumbnails: Mapping[int, str]) -> list[int]:
    """Returns rows whose pictures do not hide each other on the map: one a cell."""
    if not thumbnails:
        return []
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.where(high > low, high - low, 1)
    cells: dict[tuple[int, ...], int] = {}
    for row in sorted(thumbnails):
        place = (points[row] - low) / size * _ON_MAP
        cells.setdefault(tuple(math.floor(value) for value in place), row)
    return sorted(cells.values())
