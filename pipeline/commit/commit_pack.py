"""CommitPack, the check that makes archives a whole collection, and the file that says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from image_features.pipeline.commit.counts import RowTally, add_up
from image_features.pipeline.commit.descriptions import versions
from image_features.pipeline.commit.plan_shards import Plan
from image_features.pipeline.commit.publish import in_order, opening, publish
from image_features.pipeline.commit.tidy_up import RemoveStaging
from image_features.pipeline.config import PackConfig
from image_features.transforms.shards.shard_file import ShardFile


class CommitPack(beam.PTransform):
    """Checks that no row was lost or invented, then writes pack.json.

    Args:
      run: The packing to commit.
      plan: The numbers of rows that were read and of archives that were planned for them.
      duplicates: A PCollection of ints whose sum is the number of rows that name an image again.
    """

    def __init__(self, *, run: PackConfig, plan: Plan, duplicates: Any) -> None:
        super().__init__()
        self._run = run
        self._plan = plan
        self._duplicates = duplicates

    def expand(self, shards: Any) -> Any:
        layout = self._run.layout
        duplicates = self._duplicates | "SumDuplicates" >> beam.CombineGlobally(sum)
        return (
            shards
            | "GatherShards" >> beam.combiners.ToList()
            | "WritePackFile"
            >> beam.Map(
                commit_pack,
                run=self._run,
                rows_read=AsSingleton(self._plan.rows_read),
                num_shards=AsSingleton(self._plan.num_shards),
                duplicates=AsSingleton(duplicates),
            )
            | "RemoveStaging" >> RemoveStaging(layout, layout.errors)
        )


def commit_pack(
    shards: Sequence[ShardFile],
    *,
    run: PackConfig,
    rows_read: int,
    num_shards: int,
    duplicates: int = 0,
) -> dict[str, Any]:
    """Checks archives, and writes pack.json.

    Args:
      shards: Every archive and errors shard.
      run: The packing.
      rows_read: The rows of the manifests.
      num_shards: The number of archives that were planned.
      duplicates: The rows that name an image again.

    Returns:
      The content of pack.json, which is an earlier attempt's if one got that far.

    Raises:
      CommitError: rows do not add up, an archive is missing, or another job has committed there.
      GuardError: a guard stops the commit.
    """
    files = in_order(shards)
    counts = add_up(files, RowTally(rows_read, num_shards, duplicates), "images")
    record = {
        **opening(run, counts),
        "guards": {},
        **run.recipe,
        "versions": versions(),
        "files": None,
    }
    return publish(run, record, files)
