"""SkipKnown: leaves out the images that a dataset has already, as they are now.

The references and the indexes of committed runs meet in partitions of their keys, wherever the
runner puts these. What is known is then looked at in place: a file's time and size, an object's
generation, a server's answer that nothing was modified, or the content.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, TaggedOutput

from transforms.concurrency import BoundedPool, io_pool
from transforms.fetch import Fetcher, FetchPolicy
from transforms.index import INDEX_KIND, key_array, read_index
from transforms.metrics import NAMESPACE
from transforms.packing import PackRows, Row, pack, unpack
from transforms.refs import KEY, URI, VERSION, ref_of, row_of, sorted_once
from transforms.storage import open_plain
from transforms.types import EncodedImage

# A partition is held in memory: some hundred bytes a row.
_ROWS_PER_PARTITION = 50_000
_ROWS_READ_TOGETHER = 1_000_000
_ROWS_PER_SLICE = 1024
_VERIFIED_AT_ONCE = 32
_TOMBSTONE = -1


@dataclasses.dataclass(frozen=True)
class KnownFile:
    """What a committed run says of some keys.

    Attributes:
      path: Of a shard's index, or of a tombstones shard.
      kind: "index" or "tombstones".
      age: Number of the run, the latest 0: of what several say of a key the latest holds.
      rows: In it.
    """

    path: str
    kind: str
    age: int
    rows: int


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
            | "NameIndexes" >> beam.Create(_batches(self._known.files), reshuffle=True)
            | "ReadIndexes" >> beam.FlatMap(_read_known, self._known.verify_content)
            | "HashIndexes" >> beam.FlatMap(_split_table, partitions)
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
    return max(1, math.ceil(max(rows_read, known_rows) / _ROWS_PER_PARTITION))


def _split_rows(packed: bytes, partitions: int) -> Iterator[tuple[int, bytes]]:
    parts: dict[int, list[Row]] = {}
    for row in unpack(packed):
        parts.setdefault(int(row[KEY][:8], 16) % partitions, []).append(row)
    return ((number, pack(rows)) for number, rows in parts.items())


def _batches(files: Sequence[KnownFile]) -> list[list[tuple[int, KnownFile]]]:
    """Files and their numbers, so many together that their partitions are worth sending."""
    batches: list[list[tuple[int, KnownFile]]] = []
    rows = _ROWS_READ_TOGETHER
    for number, file in enumerate(files):
        if rows >= _ROWS_READ_TOGETHER:
            batches.append([])
            rows = 0
        batches[-1].append((number, file))
        rows += file.rows
    return batches


def _read_known(batch: Iterable[tuple[int, KnownFile]], verify: bool) -> Iterator[Any]:
    """A table of what a batch of files says: key, mark (version or hash), age, file, row."""
    import pyarrow as pa

    tables = []
    for number, file in batch:
        if file.kind == INDEX_KIND:
            read = read_index(file.path, ["key", "sha256" if verify else "version"])
            keys, marks = read.column(0), read.column(1).cast(pa.binary())
        else:
            keys = pa.array(_tombstones(file.path), pa.binary(16))
            number, marks = _TOMBSTONE, pa.nulls(len(keys), pa.binary())
        count = len(keys)
        tables.append(
            pa.table(
                {
                    "key": keys,
                    "mark": marks,
                    "age": pa.array(np.full(count, file.age, np.int32)),
                    "file": pa.array(np.full(count, number, np.int32)),
                    "row": pa.array(np.arange(count, dtype=np.uint32)),
                }
            )
        )
    yield pa.concat_tables(tables)


def _tombstones(path: str) -> list[bytes]:
    with open_plain(path) as file:
        return [bytes.fromhex(json.loads(line)["key"]) for line in file.read().splitlines()]


def _split_table(table: Any, partitions: int) -> Iterator[tuple[int, bytes]]:
    import pyarrow as pa

    heads = key_array(table["key"]).view(">u4")[::4]
    numbers = heads.astype(np.int64) % partitions
    order = np.argsort(numbers, kind="stable")
    table = table.take(order).combine_chunks()
    found, starts = np.unique(numbers[order], return_index=True)
    ends = [*starts[1:].tolist(), len(order)]
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    for number, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table.slice(start, end - start))
        yield number, sink.getvalue().to_pybytes()


@dataclasses.dataclass(frozen=True)
class _Latest:
    """The latest that is known of each key of a partition.

    Attributes:
      keys: bytes16 [keys], sorted.
      marks: pyarrow binary [keys].
      files: int32 [keys], the numbers of the indexes; -1 of a tombstone.
      rows: uint32 [keys], the places in them.
    """

    keys: npt.NDArray[np.bytes_]
    marks: Any
    files: npt.NDArray[np.int32]
    rows: npt.NDArray[np.uint32]


def _latest(packs: Iterable[bytes]) -> _Latest:
    import pyarrow as pa

    tables = [pa.ipc.open_stream(packed).read_all() for packed in packs]
    if not tables:
        nothing = np.empty(0, np.int32)
        return _Latest(np.empty(0, "S16"), pa.array([]), nothing, nothing.astype(np.uint32))
    table = pa.concat_tables(tables)
    keys = key_array(table["key"])
    order = np.lexsort((table["age"].to_numpy(), keys))
    ordered = keys[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    chosen = order[first]
    return _Latest(
        ordered[first],
        table["mark"].take(chosen),
        table["file"].to_numpy()[chosen],
        table["row"].to_numpy()[chosen],
    )


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
        known = _latest(parts["known"])
        keys = np.array([bytes.fromhex(row[KEY]) for row in rows], "S16")
        places = np.searchsorted(known.keys, keys)
        there = places < len(known.keys)
        there[there] = known.keys[places[there]] == keys[there]
        removed = known.files != _TOMBSTONE
        removed[places[there]] = False
        there[there] = known.files[places[there]] != _TOMBSTONE
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
