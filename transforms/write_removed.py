"""WriteRemoved: lists the rows of a dataset that its input does not name any more."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np

from image_features.transforms.shards.index import read_index
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.staging import ShardRow
from image_features.transforms.shards.write_shards import WriteShards
from image_features.transforms.stores.uris import shard_of

_ROWS_PER_SHARD = 250_000  # While shards are merged, a row takes about 250 bytes of memory.


class WriteRemoved(beam.PTransform):
    """Writes a line of JSON, `key` and `uri`, for each removed row; returns PCollection[ShardFile].

    The input is a PCollection of (path of an index, positions of rows in it as uint32's bytes).

    Args:
      naming: Where the shards go.
      known_rows: The number of rows that could be removed.
    """

    def __init__(self, *, naming: ShardNaming, known_rows: int) -> None:
        super().__init__()
        self._naming = naming
        self._num_shards = max(1, math.ceil(known_rows / _ROWS_PER_SHARD))

    def expand(self, removed: Any) -> Any:
        return (
            removed
            | "GroupByIndex" >> beam.GroupByKey()
            | "ReadRows" >> beam.FlatMap(_rows, self._num_shards)
            | "WriteShards" >> WriteShards(naming=self._naming, num_shards=self._num_shards)
        )


def _rows(group: tuple[str, Iterable[bytes]], num_shards: int) -> Iterator[ShardRow]:
    path, parts = group
    positions = np.concatenate([np.frombuffer(part, "<u4") for part in parts])
    for row in read_index(path, ["key", "uri"]).take(np.sort(positions)).to_pylist():
        key = row["key"].hex()
        line = json.dumps({"key": key, "uri": row["uri"]}) + "\n"
        yield ShardRow(shard_of(key, num_shards), key, line.encode())
