"""CommitRun, the check that makes shards a run, and the one file that says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from image_features.pipeline.commit import drift
from image_features.pipeline.commit.counts import RowTally, add_up
from image_features.pipeline.commit.plan_shards import Plan
from image_features.pipeline.commit.publish import draft, in_order, publish_features
from image_features.pipeline.commit.tidy_up import RemoveStaging
from image_features.pipeline.config import RunConfig
from image_features.transforms.measure_features import Health
from image_features.transforms.shards.shard_file import ShardFile


class CommitRun(beam.PTransform):
    """Checks that no row was lost or invented, then writes the run's descriptions.

    run.json comes last, and a reader believes a run only when it is there. Then nothing in
    staging is of use any more. The launcher has no part in this, since it may be gone by then.

    Args:
      run: The run to commit.
      plan: The numbers of rows that were read and of shards that were planned for them.
      duplicates: PCollections of ints whose sum is the number of rows that name an image again.
      unchanged: PCollections of ints whose sum is the number of rows that the dataset has.
      health: A PCollection of one Health.
    """

    def __init__(
        self,
        *,
        run: RunConfig,
        plan: Plan,
        duplicates: tuple[Any, ...],
        unchanged: tuple[Any, ...],
        health: Any,
    ) -> None:
        super().__init__()
        self._run = run
        self._sides = {**plan._asdict(), "health": health}
        self._sums = {"Duplicates": duplicates, "Unchanged": unchanged}

    def expand(self, shards: Any) -> Any:
        layout = self._run.layout
        sums = {
            name.lower(): AsSingleton(
                parts | name >> beam.Flatten() | f"Sum{name}" >> beam.CombineGlobally(sum)
            )
            for name, parts in self._sums.items()
            if parts
        }
        return (
            shards
            | "GatherShards" >> beam.combiners.ToList()
            | "WriteRunFile"
            >> beam.Map(
                _commit,
                run=self._run,
                **sums,
                **{name: AsSingleton(side) for name, side in self._sides.items()},
            )
            | "RemoveStaging" >> RemoveStaging(layout, layout.features, layout.errors)
        )


def _commit(
    shards: Sequence[ShardFile],
    *,
    run: RunConfig,
    rows_read: int,
    num_shards: int,
    health: Health,
    duplicates: int = 0,
    unchanged: int = 0,
) -> dict[str, Any]:
    return commit(run, shards, RowTally(rows_read, num_shards, duplicates, unchanged), health)


def commit(
    run: RunConfig, shards: Sequence[ShardFile], tally: RowTally, health: Health
) -> dict[str, Any]:
    """Checks a run, writes what describes it, and at last run.json.

    Args:
      run: The run to commit.
      shards: Every shard and index of the run.
      tally: The counts that the graph made on the way to them.
      health: The statistics of the features.

    Returns:
      The content of run.json, which is an earlier attempt's if one got that far.

    Raises:
      CommitError: rows do not add up, a shard is missing, or another run is committed there.
      GuardError: a guard stops the commit.
    """
    files = in_order(shards)
    record = draft(run, add_up(files, tally), health)

    def compare(document: dict[str, Any]) -> drift.Comparison:
        return drift.find(run.layout.directory, run.provenance, document)

    return publish_features(run, record, files, health, before=compare)
