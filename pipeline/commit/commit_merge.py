"""CommitMerge, the commit of a run whose rows other runs have made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from image_features.errors import CommitError
from image_features.pipeline.commit.counts import RowTally, add_up
from image_features.pipeline.commit.drift import Comparison
from image_features.pipeline.commit.publish import draft, in_order, publish_features
from image_features.pipeline.commit.tidy_up import RemoveStaging
from image_features.pipeline.config import RunConfig
from image_features.pipeline.dataset.run import current_runs
from image_features.transforms.measure_features import Health
from image_features.transforms.shards.shard_file import ShardFile


@dataclasses.dataclass(frozen=True)
class Lineage:
    """The committed runs that become one.

    Attributes:
      run_ids: The names of the runs, the latest first.
      replaces: The finish times, by name, of every run that their rows come from: a run that was
        merged into one of them must not come back when that one is removed.
      as_of: The time at which the latest of them was finished.
      rows: The number of rows in all of them.
      removed: The number of these rows that the last input did not name already.
    """

    run_ids: tuple[str, ...]
    replaces: Mapping[str, str]
    as_of: str
    rows: int
    removed: int = 0


class CommitMerge(beam.PTransform):
    """Checks that each row of the merged runs was chosen or replaced, then commits the new run.

    Args:
      run: The run that the others become.
      lineage: The runs that are merged.
      chosen: A PCollection of one int, the number of rows that were taken.
      replaced: A PCollection of one int, the number of rows that were left.
      health: A PCollection of one Health.
    """

    def __init__(
        self, *, run: RunConfig, lineage: Lineage, chosen: Any, replaced: Any, health: Any
    ) -> None:
        super().__init__()
        self._run = run
        self._lineage = lineage
        self._sides = {"chosen": chosen, "replaced": replaced, "health": health}

    def expand(self, shards: Any) -> Any:
        layout = self._run.layout
        sides = {name: AsSingleton(side) for name, side in self._sides.items()}
        return (
            shards
            | "GatherShards" >> beam.combiners.ToList()
            | "WriteRunFile" >> beam.Map(_commit, run=self._run, lineage=self._lineage, **sides)
            | "RemoveStaging" >> RemoveStaging(layout, layout.features, layout.errors)
        )


def _commit(
    shards: Sequence[ShardFile],
    *,
    run: RunConfig,
    lineage: Lineage,
    chosen: int,
    replaced: int,
    health: Health,
) -> dict[str, Any]:
    if chosen + replaced != lineage.rows:
        raise CommitError(
            f"Of {lineage.rows} rows {chosen} were taken and {replaced} were replaced, which does "
            "not add up; the run is not committed."
        )
    files = in_order(shards)
    failed = sum(shard.rows for shard in files if shard.kind == "errors")
    counts = add_up(files, RowTally(chosen + failed, run.shards.feature_shards(0)))
    counts = dataclasses.replace(counts, rows_removed=lineage.removed)
    record = draft(run, counts, health)
    record |= {"replaces": dict(lineage.replaces), "as_of": lineage.as_of}

    def check(_: dict[str, Any]) -> Comparison:
        _check_still_current(lineage, run.layout.dataset)
        return Comparison()

    return publish_features(run, record, files, health, before=check)


def _check_still_current(lineage: Lineage, dataset: str) -> None:
    """Makes sure that the merged runs are still what readers see."""
    finished = {run.run_id: run.finished for run in current_runs(dataset)}
    for run_id in lineage.run_ids:
        if finished.get(run_id) != lineage.replaces[run_id]:
            raise CommitError(
                f"The run {run_id} was merged by another `compact` meanwhile, or removed; this one "
                "is not committed. Merge what is there now."
            )
