"""SkipKnown: leaves out the images that a dataset has already, as they are now.

The references and the indexes of committed runs meet in partitions of their keys, wherever the
runner puts these. What is known is then looked at in place: a file's time and size, an object's
generation, a server's answer that nothing was modified, or the content.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, TaggedOutput

from transforms.concurrency import BoundedPool, io_pool
from transforms.fetch import Fetcher, FetchPolicy
from transforms.known_index import (
    TOMBSTONE,
    KnownFile,
    batches,
    count_partitions,
    latest_of,
    partition_of,
    read_known,
    split_table,
)
from transforms.metrics import NAMESPACE
from transforms.packing import PackRows, Row, pack, unpack
from transforms.refs import KEY, URI, VERSION, ref_of, row_of, sorted_once
from transforms.types import EncodedImage

_ROWS_PER_SLICE = 1024
_VERIFIED_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of a dataset.

    Attributes:
      files: Of its runs that have the same model and preprocessing.
      verify_content: Whether to compare the content itself, by its hash.
      tombstones: Whether rows that the input does not name any more are to disappear.
    """

    files: tuple[KnownFile, ...] = ()
    verify_content: bool = False
    tombstones: bool = False


class Skipped(NamedTuple):
    """PCollections: `refs` that are new or changed, and what became of the others.

    `unchanged` and `duplicates` are ints to be summed; `removed` is of (path of an index, places
    of rows in it as uint32's bytes): what no reference names any more.
    """

    refs: Any
    unchanged: Any
    duplicates: Any
    removed: Any


class SkipKnown(beam.PTransform):
    """ImageRef to `Skipped`.

    Args:
      known: What there is.
      rows_read: PCollection of one int, how many references there are at most.
      fetch: How to ask for versions.
    """

    def __init__(self, *, known: Known, rows_read: Any, fetch: FetchPolicy) -> None:
        super().__init__()
        self._known = known
        self._rows_read = rows_read
        self._fetch = fetch

    def expand(self, refs: Any) -> Skipped:
        known_rows = sum(file.rows for file in self._known.files)
        partitions = AsSingleton(
            self._rows_read | "CountPartitions" >> beam.Map(_partitions, known_rows)
        )
        rows = (
            refs
            | "TakeRows" >> beam.Map(row_of)
            | "PackRows" >> PackRows()
            | "HashRows" >> beam.FlatMap(_split_rows, partitions)
        )
        indexes = (
            refs.pipeline
            | "NameIndexes" >> beam.Create(batches(self._known.files), reshuffle=True)
            | "ReadIndexes" >> beam.FlatMap(read_known, self._known.verify_content)
            | "HashIndexes" >> beam.FlatMap(split_table, partitions)
        )
        paths = {number: file.path for number, file in enumerate(self._known.files)}
        joined = (
            {"rows": rows, "known": indexes}
            | "Meet" >> beam.CoGroupByKey()
            | "Compare"
            >> beam.ParDo(_CompareDoFn(paths, self._known.verify_content)).with_outputs(
                "unchanged", "duplicates", "removed", main="slices"
            )
        )
        checked = (
            joined.slices
            | "SpreadOverWorkers" >> beam.Reshuffle()
            | "CheckVersions"
            >> beam.ParDo(_CheckDoFn(self._fetch, self._known.verify_content)).with_outputs(
                "unchanged", main="refs"
            )
        )
        unchanged = (joined.unchanged, checked.unchanged) | "Unchanged" >> beam.Flatten()
        return Skipped(checked.refs, unchanged, joined.duplicates, joined.removed)


def _partitions(rows_read: int, known_rows: int) -> int:
    return count_partitions(max(rows_read, known_rows))


def _split_rows(packed: bytes, partitions: int) -> Iterator[tuple[int, bytes]]:
    parts: dict[int, list[Row]] = {}
    for row in unpack(packed):
        parts.setdefault(partition_of(row[KEY], partitions), []).append(row)
    return ((number, pack(rows)) for number, rows in parts.items())


class _CompareDoFn(beam.DoFn):
    """Tells the rows of a partition that are new from those that have to be looked at."""

    def __init__(self, paths: Mapping[int, str], verify: bool) -> None:
        self._paths = paths
        self._verify = verify
        self._duplicates = Metrics.counter(NAMESPACE, "skip_known/duplicates")
        self._unchanged = Metrics.counter(NAMESPACE, "skip_known/unchanged")
        self._removed = Metrics.counter(NAMESPACE, "skip_known/removed")

    def process(self, group: tuple[int, Mapping[str, Iterable[bytes]]]) -> Iterator[Any]:
        _, parts = group
        rows, duplicates = sorted_once(parts["rows"])
        known = latest_of(parts["known"])
        keys = np.array([bytes.fromhex(row[KEY]) for row in rows], "S16")
        places = np.searchsorted(known.keys, keys)
        there = places < len(known.keys)
        there[there] = known.keys[places[there]] == keys[there]
        removed = known.files != TOMBSTONE
        removed[places[there]] = False
        there[there] = known.files[places[there]] != TOMBSTONE
        marks = iter(known.marks.take(places[there]).to_pylist())

        slice_: list[Row] = []
        unchanged = 0
        for row, is_there in zip(rows, there.tolist(), strict=True):
            mark = next(marks) if is_there else b""
            if not self._verify and row[VERSION]:
                if mark.decode() == row[VERSION]:
                    unchanged += 1
                    continue
                mark = b""
            slice_.append((row, mark))
            if len(slice_) == _ROWS_PER_SLICE:
                yield pack(slice_)
                slice_ = []
        if slice_:
            yield pack(slice_)
        yield from self._counted("duplicates", duplicates, self._duplicates)
        yield from self._counted("unchanged", unchanged, self._unchanged)
        self._removed.inc(int(removed.sum()))
        for file in np.unique(known.files[removed]).tolist():
            chosen = known.rows[removed & (known.files == file)]
            yield TaggedOutput("removed", (self._paths[file], chosen.astype("<u4").tobytes()))

    def _counted(self, tag: str, count: int, counter: Any) -> Iterator[Any]:
        if count:
            counter.inc(count)
            yield TaggedOutput(tag, count)


class _CheckDoFn(beam.DoFn):
    """Looks at what is known, in place."""

    def __init__(self, policy: FetchPolicy, verify: bool) -> None:
        self._policy = policy
        self._verify = verify
        self._unchanged = Metrics.counter(NAMESPACE, "skip_known/unchanged")

    def setup(self) -> None:
        self._fetcher = Fetcher(self._policy)

    def process(self, packed: bytes) -> Iterator[Any]:
        threads = _VERIFIED_AT_ONCE if self._verify else self._policy.threads
        pool: BoundedPool[Row, Row] = BoundedPool(
            self._checked, executor=io_pool(self._policy.threads), max_items=threads
        )
        unchanged = 0
        for row, mark in unpack(packed):
            if not mark:
                yield ref_of(row)
            elif "://" in row[URI] or self._verify:
                for result in pool.submit((row, mark), alone=True):
                    unchanged += result[1]
                    if not result[1]:
                        yield ref_of(result[0])
            elif self._fetcher.is_unchanged(row[URI], mark.decode()):
                unchanged += 1
            else:
                yield ref_of(row)
        for row, same in pool.drain():
            unchanged += same
            if not same:
                yield ref_of(row)
        if unchanged:
            self._unchanged.inc(unchanged)
            yield TaggedOutput("unchanged", unchanged)

    def teardown(self) -> None:
        self._fetcher.close()

    def _checked(self, item: Row) -> Row:
        """A row, and whether its image is as it was."""
        row, mark = item
        if not self._verify:
            return row, self._fetcher.is_unchanged(row[URI], mark.decode())
        found = self._fetcher.fetch(ref_of(row))
        same = isinstance(found, EncodedImage) and hashlib.sha256(found.data).digest() == mark
        return row, same
