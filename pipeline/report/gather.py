"""Gathers what a report says about a dataset: one pass over its rows for each model.

Each pass takes bounded memory, and what is gathered of one model is small.
"""

from __future__ import annotations

from collections.abc import Sequence

from image_features.pipeline.dataset.failures import examples
from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.run import Run, unreplaced
from image_features.pipeline.dataset.series import Series
from image_features.pipeline.report.contents import Failures, ModelReport, Report
from image_features.pipeline.report.sample import Sample
from image_features.pipeline.report.tally import Tally

_ERROR_SAMPLES = 3


def gather(path: str, runs: Sequence[Run], max_points: int, features: str | None = None) -> Report:
    """Reads the rows of a dataset.

    Args:
      path: The location of the dataset.
      runs: Its committed runs, the latest first.
      max_points: The number of rows to sample.
      features: The name of the only model to report on; None is for all of the latest run.

    Raises:
      UsageError: the latest run has no such model.
      ValueError: a shard is not as it was written.
    """
    current = unreplaced(runs)
    read = Series.of(current).runs
    fields = read[0].vectors if features is None else (read[0].reading(features).vector,)
    return Report(
        path=path,
        runs=tuple(runs),
        current=LatestRows(read).rows(),
        others=len(current) - len(read),
        failures=_failures(current[0]),
        models=tuple(_of_model(read, field.model, max_points) for field in fields),
    )


def _of_model(runs: Sequence[Run], name: str, max_points: int) -> ModelReport:
    latest = LatestRows([run.reading(name) for run in runs])
    everything = Sample(max_points)
    # The latest two runs are also looked at one by one.
    each = {run.directory: (Tally(run), Sample(max_points)) for run in latest.runs[:2]}
    for block, seen in latest.blocks():
        everything.add(block.only(seen))
        if block.run.directory in each:
            for whole in each[block.run.directory]:
                whole.add(block)
    samples = [sample for _, sample in each.values()]
    return ModelReport(
        name=name,
        health=tuple(tally.health(sample.features) for tally, sample in each.values()),
        shared=samples[0].agreement(samples[1]) if len(samples) == 2 else None,
        sample=everything.images(),
    )


def _failures(run: Run) -> tuple[Failures, ...]:
    counts = run.counts.failed_by_reason
    shards = [run.path(shard) for shard in run.files("errors") if shard.rows]
    samples = examples(shards, counts, _ERROR_SAMPLES)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Failures(name, count, tuple(samples[name])) for name, count in ordered)
