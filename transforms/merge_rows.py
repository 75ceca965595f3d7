"""MergeRows: the latest row of each image in several runs, copied as it is.

What the runs say of a key meets in partitions, as in `transforms.skip_known`; only then are records
read, each shard once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.measure_features import Health, MergeStatistics, health_of, merged
from image_features.transforms.runtime.concurrency import in_global_window
from image_features.transforms.shards.index import index_note, read_index
from image_features.transforms.shards.known_errors import outstanding, split_errors
from image_features.transforms.shards.known_files import KnownFiles, NameFiles
from image_features.transforms.shards.known_index import (
    TOMBSTONE,
    Latest,
    count_partitions,
    latest_of,
    read_known,
    split_table,
)
from image_features.transforms.shards.record_format import RECORDS, open_shard
from image_features.transforms.shards.staging import ShardRow
from image_features.transforms.shards.vectors import VectorField
from image_features.transforms.stores.uris import shard_of

_ROWS_TOGETHER = 8192  # So many rows of 5 KB are sorted by their new shard, in memory.


@dataclasses.dataclass(frozen=True)
class Merge:
    """The shards that are to be merged.

    Attributes:
      files: The indexes, each with its shard, and tombstones of the runs.
      errors: The errors shards of the runs.
      new: The ages of the runs whose rows and removals are wanted, for what has changed since the
        others; None for all of them.
    """

    files: KnownFiles
    errors: KnownFiles
    new: frozenset[int] | None = None

    def kept_in(self, staging: str) -> Merge:
        """Returns it as graphs take it: many files are named in staging."""
        return dataclasses.replace(
            self, files=self.files.kept_in(staging), errors=self.errors.kept_in(staging)
        )


class Merged(NamedTuple):
    """The rows of the merged run.

    Attributes:
      features: PCollection of ShardRow, the rows of features.
      errors: PCollection of ShardRow, the rows of errors.
      chosen: PCollection of one int, the number of rows that were taken.
      replaced: PCollection of one int, the number of rows that a later run replaces or removes, or
        that were not wanted.
      health: PCollection of one Health, of all rows that were taken.
      removed: PCollection of ShardRow, the keys (their payloads too) that had a row before the new
        runs and have none any more; none where all runs are wanted.
      current: PCollection of one int, the number of keys that have a row.
      added: PCollection of one int, the number of rows taken whose keys had none before the new
        runs; all of them where all runs are wanted.
    """

    features: Any
    errors: Any
    chosen: Any
    replaced: Any
    health: Any
    removed: Any
    current: Any
    added: Any


class MergeRows(beam.PTransform):
    """Maps a pipeline to `Merged`: the latest run that says anything of a key wins.

    An error is kept if its image has no row in any run and was not removed since; of an image that
    failed in several runs the latest error is. Errors that name no image are kept once each.

    Args:
      merge: The shards that are merged.
      num_shards: The number of feature shards to write.
      error_shards: The number of errors shards to write.
      vectors: The fields that hold vectors, whose health is measured; none measures none.
    """

    def __init__(
        self,
        *,
        merge: Merge,
        num_shards: int,
        error_shards: int,
        vectors: Sequence[VectorField],
    ) -> None:
        super().__init__()
        self._merge = merge
        self._num_shards = num_shards
        self._error_shards = error_shards
        self._vectors = tuple(vectors)

    def expand(self, pipeline: Any) -> Merged:
        merge = self._merge
        partitions = count_partitions(merge.files.rows + merge.errors.rows)
        known = (
            pipeline
            | "NameIndexes" >> NameFiles(merge.files)
            | "ReadIndexes" >> beam.FlatMap(read_known, False)
            | "HashIndexes" >> beam.FlatMap(split_table, partitions)
        )
        errors = (
            pipeline
            | "NameErrors" >> NameFiles(merge.errors)
            | "EachErrors" >> beam.FlatMap(lambda batch: [file for _, file in batch])
            | "HashErrors" >> beam.FlatMap(split_errors, partitions)
        )
        chosen = (
            {"known": known, "errors": errors}
            | "Meet" >> beam.CoGroupByKey()
            | "ChooseLatest"
            >> beam.ParDo(_ChooseDoFn(self._error_shards, merge.new)).with_outputs(
                "chosen", "replaced", "errors", "removed", "current", "added", main="positions"
            )
        )
        copied = (
            chosen.positions
            | "GroupByShard" >> beam.GroupByKey()
            | "CopyRows"
            >> beam.ParDo(_CopyDoFn(merge.files, self._num_shards, self._vectors)).with_outputs(
                "statistics", main="rows"
            )
        )
        return Merged(
            copied.rows,
            chosen.errors,
            chosen.chosen | "SumChosen" >> beam.CombineGlobally(sum),
            chosen.replaced | "SumReplaced" >> beam.CombineGlobally(sum),
            copied.statistics
            | "MergeStatistics" >> beam.CombineGlobally(MergeStatistics(self._vectors)),
            chosen.removed,
            chosen.current | "SumCurrent" >> beam.CombineGlobally(sum),
            chosen.added | "SumAdded" >> beam.CombineGlobally(sum),
        )


class _ChooseDoFn(beam.DoFn):
    """Chooses the latest rows of a partition.

    It yields (number of an index, positions of rows in it), and tagged errors, removals and counts.
    """

    def __init__(self, error_shards: int, new: frozenset[int] | None) -> None:
        self._error_shards = error_shards
        self._new = new

    def process(self, group: tuple[int, Mapping[str, Iterable[bytes]]]) -> Iterator[Any]:
        _, parts = group
        known = list(parts["known"])
        latest = latest_of(known)
        live = latest.files != TOMBSTONE
        taken = added = live
        if self._new is not None:
            wanted = np.isin(latest.ages, list(self._new))
            had = _live_in(latest_of(known, without=self._new), latest.keys)
            taken, added = live & wanted, live & wanted & ~had
            yield from self._removed(latest.keys[~live & wanted & had])
        for file in np.unique(latest.files[taken]).tolist():
            positions = latest.rows[taken & (latest.files == file)]
            yield file, positions.astype("<u4").tobytes()
        yield TaggedOutput("chosen", int(taken.sum()))
        yield TaggedOutput("replaced", latest.indexed - int(taken.sum()))
        yield TaggedOutput("current", int(live.sum()))
        yield TaggedOutput("added", int(added.sum()))
        for key, reason, line in outstanding(parts["errors"], latest):
            row = ShardRow(shard_of(key, self._error_shards), key, line, reason)
            yield TaggedOutput("errors", row)

    def _removed(self, gone: npt.NDArray[np.bytes_]) -> Iterator[TaggedOutput]:
        for key in gone.tolist():
            digits = key.ljust(16, b"\0").hex()
            shard = shard_of(digits, self._error_shards)
            yield TaggedOutput("removed", ShardRow(shard, digits, digits.encode()))


def _live_in(latest: Latest, keys: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
    """Returns which of the keys have a row."""
    positions, there = latest.find(keys.tolist())
    there[there] = latest.files[positions[there]] != TOMBSTONE
    return there


class _CopyDoFn(beam.DoFn):
    """Copies the chosen rows of a shard."""

    def __init__(
        self,
        files: KnownFiles,
        num_shards: int,
        vectors: tuple[VectorField, ...],
    ) -> None:
        self._files = files
        self._num_shards = num_shards
        self._vectors = vectors

    def start_bundle(self) -> None:
        self._whole: Health = {}

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[ShardRow]:
        number, parts = group
        index = self._files[number]
        positions = np.sort(np.concatenate([np.frombuffer(part, "<u4") for part in parts]))
        table = read_index(index.path, ["key", "version", "sha256", "uri"]).take(positions)
        wanted = iter([*positions.tolist(), -1])
        following = next(wanted)
        payloads: list[bytes] = []
        done = 0
        with open_shard(index.shard, compressed=index.compressed) as file:
            for position, payload in enumerate(RECORDS.payloads(file)):
                if position == following:
                    payloads.append(payload)
                    following = next(wanted)
                    if len(payloads) == _ROWS_TOGETHER:
                        yield from self._rows(table.slice(done, len(payloads)), payloads)
                        done += len(payloads)
                        payloads = []
        if following != -1:
            raise ValueError(f"{index.shard} has fewer rows than its index.")
        if payloads:
            yield from self._rows(table.slice(done, len(payloads)), payloads)

    def _rows(self, table: Any, payloads: list[bytes]) -> Iterator[ShardRow]:
        if self._vectors:
            records = [RECORDS.parse(payload) for payload in payloads]
            self._whole = merged(self._whole, health_of(records, self._vectors))
        rows = []
        for entry, payload in zip(table.to_pylist(), payloads, strict=True):
            key = entry["key"].hex()
            note = index_note(entry["sha256"].hex(), entry["version"], entry["uri"])
            shard = shard_of(key, self._num_shards)
            rows.append(ShardRow(shard, key, payload, note=note))
        # A piece has rows of one shard, so that neighbours should be of one.
        rows.sort(key=lambda row: row.shard)
        yield from rows

    def finish_bundle(self) -> Iterator[Any]:
        if self._whole:
            yield in_global_window(TaggedOutput("statistics", self._whole))
