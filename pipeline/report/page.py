"""A report as one HTML page that needs nothing else; its charts are drawn by Vega-Lite in it.

URIs, messages and column values may be anybody's text. Marks of direction and other characters that
nobody sees are written out, and secrets in URLs hidden. Jinja escapes what is HTML; data for the
scripts are JSON whose angle brackets are escaped; scripts put text into text nodes only; and the
page's policy runs no script but its own two, by their hashes, and loads nothing.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from image_features.pipeline.report.charts import SHOWN_RUNS, draw, rate_of, run_line
from image_features.pipeline.report.contents import Health, Report, SampledImage, VectorHealth
from image_features.pipeline.report.sample import NEAR_DUPLICATE
from image_features.pipeline.terminal import shown

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
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("image_features.pipeline.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
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
        policy=_policy(scripts),
        data=_shown(
            {
                "charts": draw(report, thumbnails),
                "rows": [_details(row) for row in report.rows],
                "thumbnails": {str(row): uri for row, uri in thumbnails.items()},
            }
        ),
    )


def _shown(value: Any) -> Any:
    """Returns what goes into the page as users may see it; markup of our own stays as it is."""
    if isinstance(value, Mapping):
        return {_shown(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(scripts: Sequence[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
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
