"""PlanShards, which gives a run its number of feature shards when its rows are counted."""

from __future__ import annotations

from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.runtime.progress import write_total


class Plan(NamedTuple):
    """Two PCollections of one int each."""

    rows_read: Any
    num_shards: Any


class PlanShards(beam.PTransform):
    """Maps row counts of the sources, ints to be summed, to the number of shards to write.

    Args:
      policy: The rule that gives the number of shards for a number of rows.
      staging: The staging directory, where the launcher looks for the number of rows to come.
      left_out: PCollections of ints whose sum is the number of rows that need not be written.
    """

    def __init__(
        self, *, policy: ShardPolicy, staging: str, left_out: tuple[Any, ...] = ()
    ) -> None:
        super().__init__()
        self._policy = policy
        self._staging = staging
        self._left_out = left_out

    def expand(self, counts: Any) -> Plan:
        rows_read = counts | "SumRows" >> beam.CombineGlobally(sum)
        left_out: Any = 0
        if self._left_out:
            left_out = AsSingleton(
                self._left_out
                | "LeftOut" >> beam.Flatten()
                | "SumLeftOut" >> beam.CombineGlobally(sum)
            )
        return Plan(
            rows_read,
            rows_read | "CountShards" >> beam.Map(_plan, left_out, self._policy, self._staging),
        )


def _plan(rows_read: int, left_out: int, policy: ShardPolicy, staging: str) -> int:
    rows = rows_read - left_out
    write_total(staging, rows)
    return policy.feature_shards(rows)
