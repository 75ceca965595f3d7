"""A report as one HTML page that needs nothing else; its charts are drawn by Vega-Lite in it.

Data for the scripts are JSON whose angle brackets are escaped, and scripts put text into text nodes
only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from image_features.pipeline.report.charts import SHOWN_RUNS, draw, rate_of, run_line
from image_features.pipeline.report.contents import Health, Report, SampledImage, VectorHealth
from image_features.pipeline.report.markup import all_shown, make_environment, policy_for
from image_features.pipeline.report.sample import NEAR_DUPLICATE

_PER_GROUP = 8


def wanted_thumbnails(report: Report, limit: int) -> list[int]:
    """Returns the rows that get a picture: neighbours and near duplicates first, then the map's."""
    rows: dict[int, None] = {}
    for sample in (model.sample for model in report.models):
        for row, near in sample.strips:
            rows |= dict.fromkeys([row, *(other for other, _ in near)])
        for group in sample.groups:
            rows |= dict.fromkeys(group[:_PER_GROUP])
    rows |= dict.fromkeys(range(len(report.rows)))
    return list(rows)[:limit]


def render(report: Report, thumbnails: Mapping[int, str]) -> str:
    """Makes the page.

    Args:
      report: The content of the page.
      thumbnails: Pictures as data URIs, by their rows.
    """
    environment = make_environment("image_features.pipeline.report")
    template = environment.get_template("report.html")
    scripts = [_library(), _source(environment, "report.js")]
    latest = report.runs[0]
    return template.render(
        report=report,
        latest=latest,
        counts=latest.counts,
        rate=rate_of(latest.counts.rows_done, latest.seconds),
        runs=[run_line(run) for run in report.runs[:SHOWN_RUNS]],
        thumbnails=thumbnails,
        per_group=_PER_GROUP,
        threshold=NEAR_DUPLICATE,
        health=[_health_table(model.health) for model in report.models],
        scripts=[Markup(script) for script in scripts],
        policy=policy_for(scripts),
        data=all_shown(
            {
                "charts": draw(report, thumbnails),
                "rows": [_details(row) for row in report.rows],
                "thumbnails": {str(row): uri for row, uri in thumbnails.items()},
            }
        ),
    )


@functools.cache
def _library() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed in one script."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace(
        "</script", "<\\/script"
    )


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _details(row: SampledImage) -> list[Any]:
    shape = f"{row.format} {row.width}x{row.height}"
    return [row.uri, shape, row.run_id, [[name, value] for name, value in row.columns if value]]


def _health_table(health: Sequence[Health]) -> list[tuple[str, list[str]]]:
    def norms(vectors: VectorHealth) -> str:
        if not len(vectors.norms):
            return "none"
        low, middle, high = np.quantile(vectors.norms, [0.01, 0.5, 0.99])
        return f"{middle:.3g} ({low:.3g} to {high:.3g})"

    lines: dict[str, Callable[[VectorHealth], str]] = {
        "rows": lambda vectors: f"{vectors.rows:,}",
        "rows with NaN or infinity": lambda vectors: f"{vectors.not_finite:,}",
        "rows of zeros only": lambda vectors: f"{vectors.zeros:,}",
        "constant dimensions": lambda v: f"{v.constant:,} of {v.num_features:,}",
        "vector length (1 to 99 %)": norms,
    }
    return [(name, [line(one.vectors) for one in health]) for name, line in lines.items()]
