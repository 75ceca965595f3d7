"""Gathers what a report says about a dataset, in one pass over its rows and in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

from image_features.pipeline.dataset.failures import examples
from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.run import Run, unreplaced
from image_features.pipeline.dataset.series import Series
from image_features.pipeline.report.contents import Failures, Report
from image_features.pipeline.report.sample import Sample
from image_features.pipeline.report.tally import Tally

_ERROR_SAMPLES = 3


def gather(path: str, runs: Sequence[Run], max_points: int) -> Report:
    """Reads the rows of a dataset once.

    Args:
      path: The location of the dataset.
      runs: Its committed runs, the latest first.
      max_points: The number of rows to sample.

    Raises:
      ValueError: a shard is not as it was written.
    """
    current = unreplaced(runs)
    latest = LatestRows(Series.of(current).runs)
    everything = Sample(max_points)
    # The latest two runs are also looked at one by one.
    each = {run.directory: (Tally(run), Sample(max_points)) for run in latest.runs[:2]}
    for block, seen in latest.blocks():
        everything.add(block.only(seen))
        if block.run.directory in each:
            for whole in each[block.run.directory]:
                whole.add(block)
    samples = [sample for _, sample in each.values()]
    return Report(
        path=path,
        runs=tuple(runs),
        current=latest.rows(),
        others=len(current) - len(latest.runs),
        failures=_failures(current[0]),
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
