"""keep.jsonl and drop.jsonl: the rows of a dataset as manifests, which `extract` takes again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dataset.latest_rows import Keys, LatestRows
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import merged_columns
from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.jsonl import encode_bytes
from image_features.transforms.manifests.rows import URI_COLUMNS
from image_features.transforms.shards.record_format import URI, Record

# No column of a manifest can have this name, as records keep the URI under it.
_URI_BESIDE = URI


@dataclasses.dataclass(frozen=True)
class ManifestFields:
    """What a line of a manifest holds.

    Attributes:
      uri: The name under which it has the URI.
      columns: The passed-through columns.
      options: The options by which `extract` takes the columns with their types again, and the
        members of archives as images.
    """

    uri: str
    columns: tuple[Column, ...]
    options: tuple[str, ...]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> ManifestFields:
        """Returns the fields for the rows of runs, the latest first."""
        columns = tuple(merged_columns(runs))
        uri = URI_COLUMNS[0]
        options = []
        if any(column.name == uri for column in columns):
            uri = _URI_BESIDE
            options.append(f"--uri_column={uri}")
        # The first rows alone would not tell all types: that of a column which they lack, say.
        declared = [f"{c.name}:{c}" for c in columns if "," not in c.name]
        if declared:
            options.append(f"--column_types={','.join(declared)}")
        told = next((said for run in runs if (said := run.provenance.archives.to_json())), {})
        for name, value in told.items():
            options.append(f"--{name}={','.join(value) if isinstance(value, list) else value}")
        return cls(uri, columns, tuple(options))

    def line(self, record: Record) -> bytes:
        """Returns the line of a row: the URI first, then the columns, null where one is absent."""
        fields = {self.uri: record.text(URI)}
        values = {column.name: record.column_value(column) for column in self.columns}
        return (json.dumps(fields | values, default=encode_bytes) + "\n").encode()


def divided(
    runs: Sequence[Run], dropped: Sequence[str], report: Callable[[int], object]
) -> Iterator[tuple[Run, Record, bool]]:
    """Yields the rows that are seen, run by run and shard by shard, and whether each is dropped.

    A block of rows is in memory, and 16 bytes for each one that is dropped.

    Args:
      runs: The runs, the latest first.
      dropped: The keys of the rows that are dropped.
      report: A function that is called now and then with the number of rows so far.

    Raises:
      ValueError: a shard is not as it was written.
      OSError: a shard cannot be read.
    """
    keys: Keys = np.sort(np.array([bytes.fromhex(key) for key in dropped], "S16"))
    rows = 0
    for block in LatestRows(runs).seen():
        gone = _among(block.keys, keys).tolist()
        for record, drop in zip(block.records, gone, strict=True):
            yield block.run, record, drop
        rows += len(gone)
        report(rows)


def _among(keys: Keys, ordered: Keys) -> npt.NDArray[np.bool_]:
    """Returns which keys are among others that are sorted, bool [keys]."""
    if not len(ordered):
        return np.zeros(len(keys), np.bool_)
    places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return ordered[places] == keys
