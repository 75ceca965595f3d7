"""What committed runs say of keys, in partitions, and which of it holds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.shards.index import INDEX_KIND, key_array, read_index, read_verified
from image_features.transforms.shards.tables import (
    find_keys,
    pack_table,
    partitions_of,
    sort_keys,
    split_by,
    unpack_table,
)

# A partition is held in memory, with some hundred bytes a row.
_ROWS_PER_PARTITION = 50_000
TOMBSTONE = -1


@dataclasses.dataclass(frozen=True)
class KnownFile:
    """A file in which a committed run says something of some keys.

    Attributes:
      path: The path of a shard's index, or of a shard of tombstones or errors.
      kind: The kind of the file: "index", "tombstones" or "errors".
      age: The number of the run, 0 for the latest; what the latest one says of a key holds.
      rows: The number of rows in the file.
      sha256: The digest of the file, hexadecimal; empty to believe it as it is.
      shard: The path of the shard of features that an index is of, where its rows are copied.
      compressed: Whether that shard is compressed by gzip.
    """

    path: str
    kind: str
    age: int
    rows: int
    sha256: str = ""
    shard: str = ""
    compressed: bool = False


def count_partitions(rows: int) -> int:
    """Returns the number of partitions for a number of rows."""
    return max(1, math.ceil(rows / _ROWS_PER_PARTITION))


def partition_of(key: str, partitions: int) -> int:
    """Returns the partition of a key, by its first 32 bits."""
    return int(key[:8], 16) % partitions


def read_known(batch: Iterable[tuple[int, KnownFile]], verify: bool) -> Iterator[Any]:
    """Yields a table of what a batch of files says.

    Its columns are key, validator, age (of the run), file (its number; -1 for tombstones) and row.

    Args:
      batch: The files with their numbers.
      verify: Whether the validator is the content's hash instead of its version.
    """
    import pyarrow as pa

    tables = []
    for number, file in batch:
        if file.kind == INDEX_KIND:
            columns = ["key", "sha256" if verify else "version"]
            read = read_index(file.path, columns, file.sha256)
            keys, validators = read.column(0), read.column(1).cast(pa.binary())
        else:
            keys = pa.array(read_tombstones(file.path, file.sha256), pa.binary(16))
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


def read_tombstones(path: str, sha256: str = "") -> list[bytes]:
    """Returns the keys of a shard of tombstones, 16 bytes each.

    Raises:
      ValueError: the file has another digest than the one given.
      OSError: the file cannot be read.
    """
    lines = read_verified(path, sha256).splitlines()
    return [bytes.fromhex(json.loads(line)["key"]) for line in lines]


def split_table(table: Any, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Yields the parts of a table by partition, for `latest_of`."""
    numbers = partitions_of(key_array(table["key"]), partitions)
    return ((number, pack_table(part)) for number, part in split_by(table, numbers))


@dataclasses.dataclass(frozen=True)
class Latest:
    """What holds of each key of a partition, by the latest run that says anything of it.

    Attributes:
      keys: bytes16 [keys], sorted.
      validators: pyarrow binary [keys], the versions or hashes.
      files: int32 [keys], the numbers of the indexes; -1 for a tombstone.
      rows: uint32 [keys], the positions of the rows in the indexes.
      ages: int32 [keys], the numbers of the runs.
      indexed: The number of rows in the indexes of all runs, replaced ones included.
    """

    keys: npt.NDArray[np.bytes_]
    validators: Any
    files: npt.NDArray[np.int32]
    rows: npt.NDArray[np.uint32]
    ages: npt.NDArray[np.int32]
    indexed: int

    def find(
        self, keys: Sequence[bytes] | npt.NDArray[np.bytes_]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Returns the positions of keys, and whether they are there at all."""
        # NumPy drops zero bytes at the end of its own strings, and not of others.
        return find_keys(self.keys, np.asarray(keys, "S16"))


def latest_entries(
    keys: npt.NDArray[np.bytes_], ages: npt.NDArray[np.int32] | None = None
) -> npt.NDArray[np.intp]:
    """Finds which entry holds for each key: that of the latest run.

    Args:
      keys: bytes16 [entries], the key that each entry is about.
      ages: int32 [entries], the number of each entry's run, 0 for the latest; None where the
        entries of later runs come first.

    Returns:
      The positions of the entries that hold, one for each key, sorted by key.
    """
    order, first = sort_keys(keys, ages)
    return order[first]


def latest_of(packs: Iterable[bytes], without: Iterable[int] | None = None) -> Latest:
    """Returns what holds of each key of a partition, from the parts of `split_table`.

    Args:
      packs: The parts.
      without: The ages of runs that are not heard.
    """
    import pyarrow as pa

    tables = [unpack_table(packed) for packed in packs]
    if not tables:
        none = np.empty(0, np.int32)
        validators = pa.array([], pa.binary())
        return Latest(np.empty(0, "S16"), validators, none, none.astype(np.uint32), none, 0)
    table = pa.concat_tables(tables)
    if without is not None:
        table = table.filter(~np.isin(table["age"].to_numpy(), list(without)))
        table = table.combine_chunks()
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
