"""WriteRemoved: the rows of a dataset that its input does not name any more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from transforms.index import read_index
from transforms.shard_files import ShardNaming, ShardRow, WriteShards
from transforms.uris import shard_of


class WriteRemoved(beam.PTransform):
    """Writes a line of JSON, `key` and `uri`, for each removed row; PCollection[ShardFile].

    Input: PCollection of (path of an index, places of rows in it as uint32's bytes).

    Args:
      naming: Where the shards go.
      num_shards: Side input, their number.
    """

    def __init__(self, *, naming: ShardNaming, num_shards: Any) -> None:
        super().__init__()
        self._naming = naming
        self._num_shards = num_shards

    def expand(self, removed: Any) -> Any:
        return (
            removed
            | "GroupByIndex" >> beam.GroupByKey()
            | "ReadRows" >> beam.FlatMap(_rows, self._num_shards)
            | "WriteShards" >> WriteShards(naming=self._naming, num_shards=self._num_shards)
        )


def _rows(group: tuple[str, Iterable[bytes]], num_shards: int) -> Iterator[ShardRow]:
    path, parts = group
    places = np.concatenate([np.frombuffer(part, "<u4") for part in parts])
    for row in read_index(path, ["key", "uri"]).take(np.sort(places)).to_pylist():
        key = row["key"].hex()
        line = json.dumps({"key": key, "uri": row["uri"]}) + "\n"
        yield ShardRow(shard_of(key, num_shards), key, line.encode())
