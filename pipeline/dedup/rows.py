"""The rows of a dataset and the files that they are of, as the runs' indexes tell them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.records import blocks, open_shard
from image_features.pipeline.dataset.run import Run
from image_features.transforms.shards.index import INDEX_KIND, key_array, read_index
from image_features.transforms.shards.record_format import KEY

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows that are seen, in the order of their keys, so that no order of runs tells.

    They take some 80 bytes of memory each, while they are read some 200.

    Attributes:
      latest: The rows that are seen, by shard.
      keys: Their keys, bytes16 [rows], ascending.
      files: Numbers that two rows share if they are of the same file, by its SHA-256, int64 [rows].
      shards: The numbers of their shards among those of all runs, int32 [rows].
      places: Their places in their shards, int32 [rows].
    """

    latest: LatestRows
    keys: npt.NDArray[np.bytes_]
    files: Ints
    shards: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]

    @classmethod
    def read(cls, latest: LatestRows) -> Rows:
        """Reads the indexes; of runs that have none, the shards.

        Raises:
          ValueError: a file is not as it was written.
          OSError: a file cannot be read.
        """
        keys, digests = [np.empty(0, "S16")], [np.empty(0, "S32")]
        shards, places = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for shard, (run, number) in enumerate(_numbered(latest)):
            entry = run.files()[number]
            if not entry.rows:
                continue
            table, mask = _entries(run, number, ["key", "sha256"]), latest.mask(run, entry)
            seen = np.arange(len(table)) if mask is None else np.flatnonzero(mask)
            keys.append(key_array(table["key"])[seen])
            digests.append(key_array(table["sha256"])[seen])
            shards.append(np.full(len(seen), shard, np.int32))
            places.append(seen.astype(np.int32))
        order = np.argsort(np.concatenate(keys), kind="stable")
        sorted_keys = np.concatenate(keys)[order]
        # A row that tells no hash is taken for a file of its own: no digest begins with a key.
        hashes = np.concatenate(digests)[order]
        hashes = np.where(hashes == b"", sorted_keys.astype("S32"), hashes)
        return cls(
            latest,
            sorted_keys,
            np.unique(hashes, return_inverse=True)[1].astype(np.int64),
            np.concatenate(shards)[order],
            np.concatenate(places)[order],
        )

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, keys: npt.NDArray[np.bytes_]) -> Ints:
        """Returns the numbers of the rows with some keys, int64 [keys]; -1 where there is none."""
        found = np.searchsorted(self.keys, keys)
        there = found < len(self.keys)
        there[there] = self.keys[found[there]] == keys[there]
        return np.where(there, found, -1)

    def of_runs(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Returns which rows are in chosen runs, bool [rows].

        Args:
          chosen: Which runs are chosen, bool [runs].
        """
        shards = [len(run.files()) for run in self.latest.runs]
        return np.repeat(chosen, shards)[self.shards]

    def first_of_files(self, standing: npt.NDArray[np.int8]) -> Ints:
        """Returns a row of each file, int64 [files]: of the lowest standing the lowest key."""
        order = np.lexsort((standing, self.files))
        return order[np.searchsorted(self.files[order], np.arange(self.count_files()))]

    def count_files(self) -> int:
        """Returns the number of files."""
        return int(self.files.max()) + 1 if len(self) else 0

    def uris(self, rows: Ints) -> Any:
        """Returns the URIs of some rows as a pyarrow array of strings, in their order."""
        import pyarrow as pa

        order = np.lexsort((self.places[rows], self.shards[rows]))
        wanted = rows[order]
        parts = [pa.array([], pa.string())]
        numbered = list(_numbered(self.latest))
        starts = np.flatnonzero(np.diff(self.shards[wanted], prepend=-1))
        for start, stop in itertools.pairwise([*starts, len(wanted)]):
            run, number = numbered[self.shards[wanted[start]]]
            uris = _entries(run, number, ["uri"])["uri"].combine_chunks()
            parts.append(uris.take(pa.array(self.places[wanted[start:stop]])))
        return pa.concat_arrays(parts).take(pa.array(np.argsort(order)))


def _numbered(latest: LatestRows) -> list[tuple[Run, int]]:
    """Returns all shards, each as a run and the shard's number in it."""
    return [(run, number) for run in latest.runs for number in range(len(run.files()))]


def _entries(run: Run, number: int, columns: list[str]) -> Any:
    """Returns columns of a shard's index as a pyarrow.Table; made of the shard if it has none."""
    indexes = run.files(INDEX_KIND)
    if indexes:
        return read_index(run.path(indexes[number]), columns, indexes[number].sha256)
    import pyarrow as pa

    found: dict[str, list[Any]] = {column: [] for column in columns}
    with open_shard(run, run.files()[number]) as file:
        for block in blocks(run, file):
            for record in block.records:
                row = {
                    "key": bytes.fromhex(record.text(KEY)),
                    "sha256": bytes.fromhex(record.text("image/sha256")) or bytes(32),
                    "uri": record.text("image/uri"),
                }
                for column in columns:
                    found[column].append(row[column])
    types = {"key": pa.binary(16), "sha256": pa.binary(32), "uri": pa.string()}
    return pa.table({column: pa.array(found[column], types[column]) for column in columns})
