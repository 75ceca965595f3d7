"""What committed runs say of keys, divided by keys, and the latest of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.shards.index import INDEX_KIND, key_array, read_index
from image_features.transforms.stores.files import read_lines

# A partition is held in memory: some hundred bytes a row.
_ROWS_PER_PARTITION = 50_000
_ROWS_READ_TOGETHER = 1_000_000
TOMBSTONE = -1


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


def count_partitions(rows: int) -> int:
    """How many partitions to have for so many rows."""
    return max(1, math.ceil(rows / _ROWS_PER_PARTITION))


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, by its first 32 bits."""
    return int(key[:8], 16) % partitions


def batches(files: Sequence[KnownFile]) -> list[list[tuple[int, KnownFile]]]:
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


def read_known(batch: Iterable[tuple[int, KnownFile]], verify: bool) -> Iterator[Any]:
    """A table of what a batch of files says: key, validator (version or hash), age, file, row."""
    import pyarrow as pa

    tables = []
    for number, file in batch:
        if file.kind == INDEX_KIND:
            read = read_index(file.path, ["key", "sha256" if verify else "version"])
            keys, validators = read.column(0), read.column(1).cast(pa.binary())
        else:
            keys = pa.array(read_tombstones(file.path), pa.binary(16))
            number, validators = TOMBSTONE, pa.nulls(len(keys), pa.binary())
        count = len(keys)
        tables.append(
            pa.table(
                {
                    "key": keys,
                    "validator": validators,
                    "age": pa.array(np.full(count, file.age, np.int32)),
                    "file": pa.array(np.full(count, number, np.int32)),
                    "row": pa.array(np.arange(count, dtype=np.uint32)),
                }
            )
        )
    yield pa.concat_tables(tables)


def read_tombstones(path: str) -> list[bytes]:
    """The keys of a tombstones shard, 16 bytes each."""
    return [bytes.fromhex(json.loads(line)["key"]) for line in read_lines(path)]


def split_table(table: Any, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Parts of a table by partition, for `latest_of`."""
    import pyarrow as pa

    heads = key_array(table["key"]).view(">u4")[::4]
    numbers = heads.astype(np.int64) % partitions
    order = np.argsort(numbers, kind="stable")
    table = table.take(order).combine_chunks()
    found, starts = np.unique(numbers[order], return_index=True)
    ends = np.append(starts[1:], len(order))[: len(starts)].tolist()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    for number, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table.slice(start, end - start))
        yield number, sink.getvalue().to_pybytes()


@dataclasses.dataclass(frozen=True)
class Latest:
    """The latest that is known of each key of a partition.

    Attributes:
      keys: bytes16 [keys], sorted.
      validators: pyarrow binary [keys].
      files: int32 [keys], the numbers of the indexes; -1 of a tombstone.
      rows: uint32 [keys], the positions in them.
      ages: int32 [keys], the numbers of the runs.
      indexed: Rows of all runs' indexes, not only the latest ones.
    """

    keys: npt.NDArray[np.bytes_]
    validators: Any
    files: npt.NDArray[np.int32]
    rows: npt.NDArray[np.uint32]
    ages: npt.NDArray[np.int32]
    indexed: int

    def find(self, keys: Sequence[bytes]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Where keys are, and whether they are there."""
        # As an array: NumPy drops the zero bytes at the end of its own strings only.
        wanted = np.array(keys, "S16")
        positions = np.searchsorted(self.keys, wanted)
        there = positions < len(self.keys)
        there[there] = self.keys[positions[there]] == wanted[there]
        return positions, there


def latest_entries(
    keys: npt.NDArray[np.bytes_], ages: npt.NDArray[np.int32] | None = None
) -> npt.NDArray[np.intp]:
    """Which of all that runs say of keys holds: for each key, what the latest run says.

    Args:
      keys: bytes16 [entries], the key that each entry is about.
      ages: int32 [entries], the number of each entry's run, 0 for the latest; None where the
        entries of later runs come first.

    Returns:
      The positions of the entries that hold, one for each key, sorted by key.
    """
    order = np.argsort(keys, kind="stable") if ages is None else np.lexsort((ages, keys))
    ordered = keys[order]
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return order[first]


def latest_of(packs: Iterable[bytes]) -> Latest:
    """What the latest run says of each key of a partition, from `split_table`'s parts."""
    import pyarrow as pa

    tables = [pa.ipc.open_stream(packed).read_all() for packed in packs]
    if not tables:
        none = np.empty(0, np.int32)
        return Latest(np.empty(0, "S16"), pa.array([]), none, none.astype(np.uint32), none, 0)
    table = pa.concat_tables(tables)
    keys = key_array(table["key"])
    ages, files = table["age"].to_numpy(), table["file"].to_numpy()
    chosen = latest_entries(keys, ages)
    return Latest(
        keys[chosen],
        table["validator"].take(chosen),
        files[chosen],
        table["row"].to_numpy()[chosen],
        ages[chosen],
        int(np.count_nonzero(files != TOMBSTONE)),
    )
