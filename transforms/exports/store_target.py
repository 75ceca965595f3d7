"""StoreTarget: exports that are rows of a database."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from image_features.transforms.exports.fields import RowFields
from image_features.transforms.exports.store import StoreSession, VectorStore
from image_features.transforms.exports.target import REMOVED_KEYS, VECTORS
from image_features.transforms.runtime.concurrency import in_global_window
from image_features.transforms.runtime.metrics import NAMESPACE
from image_features.transforms.runtime.progress import Progress
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.shards.staging import ShardRow

# So many rows go to a database at once, some MiB.
_ROWS_TOGETHER = 512


@dataclasses.dataclass(frozen=True)
class StoreTarget:
    """A collection in a database.

    Attributes:
      store: The database.
      fields: The fields of a row.
      export: The name of the export.
      whole: Whether rows that the export has not are to go.
      staging: The directory in which progress is told.
    """

    store: VectorStore
    fields: RowFields
    export: str
    whole: bool
    staging: str

    def write(self, merged: Any) -> Any:
        """Adds the writing of rows to a pipeline."""
        taken = merged.features | "UpsertRows" >> beam.ParDo(_WriteDoFn(self, VECTORS))
        removed = merged.removed | "RemoveRows" >> beam.ParDo(_WriteDoFn(self, REMOVED_KEYS))
        return (
            taken
            | "CountTaken" >> beam.CombineGlobally(sum)
            | "TellTaken" >> beam.Map(_told, VECTORS),
            removed
            | "CountGone" >> beam.CombineGlobally(sum)
            | "TellGone" >> beam.Map(_told, REMOVED_KEYS),
        ) | "CollectCounts" >> beam.Flatten()

    def finish(self, written: Sequence[ShardFile], record: Mapping[str, Any]) -> None:
        """Commits the rows, and makes sure that the database has as many as the dataset.

        Raises:
          ValueError: it has not.
        """
        rows = self.store.finish(record, whole=self.whole)
        if rows != record["rows"]:
            raise ValueError(
                f"{self.store.shown} has {rows} rows after the export, where the dataset has "
                f"{record['rows']}: others write to it too, or rows were removed by hand. Export "
                "without --since=last, which puts that right."
            )


def _told(rows: int, kind: str) -> ShardFile:
    return ShardFile(kind, "", rows, 0, "")


class _WriteDoFn(beam.DoFn):
    """Hands a bundle's rows over, and yields how many they were."""

    def __init__(self, target: StoreTarget, kind: str) -> None:
        self._target = target
        self._kind = kind
        self._rows = Metrics.counter(NAMESPACE, f"export/{kind}")
        self._progress = Progress(target.staging, kind)
        self._session: StoreSession | None = None

    def start_bundle(self) -> None:
        self._waiting: list[ShardRow] = []
        self._count = 0

    def process(self, row: ShardRow) -> None:
        self._waiting.append(row)
        if len(self._waiting) >= _ROWS_TOGETHER:
            self._hand_over()

    def finish_bundle(self) -> Iterator[Any]:
        if self._waiting:
            self._hand_over()
        self.teardown()
        self._progress.flush()
        if self._count:
            yield in_global_window(self._count)

    def teardown(self) -> None:
        """Ends the connection, also of a bundle that has failed."""
        if self._session:
            self._session.close()
            self._session = None

    def _hand_over(self) -> None:
        if self._session is None:
            self._session = self._target.store.connect(self._target.export)
        rows, self._waiting = self._waiting, []
        if self._kind == VECTORS:
            table = self._target.fields.table([row.payload for row in rows])
            self._session.upsert(table)
        else:
            self._session.remove([row.key for row in rows])
        self._count += len(rows)
        self._rows.inc(len(rows))
        self._progress.add(len(rows))
