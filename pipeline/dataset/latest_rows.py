"""The rows of several runs that a reader sees: of each image the latest version, once.

The runs' indexes alone decide it, in some 40 bytes of memory a row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dataset.layout import TOMBSTONES
from image_features.pipeline.dataset.records import (
    OFFSET_BITS,
    Block,
    Floats,
    blocks,
    open_shard,
)
from image_features.pipeline.dataset.run import Run
from image_features.transforms.shards.index import INDEX_KIND, key_array, read_index
from image_features.transforms.shards.known_index import latest_entries, read_tombstones
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.uris import shard_of

Keys = npt.NDArray[np.bytes_]
Mask = npt.NDArray[np.bool_]


class LatestRows:
    """The rows of runs that have not been replaced by a later run, or removed by it.

    Args:
      runs: The runs, the latest first, whose vectors can be compared.

    Raises:
      ValueError: an index is not as it was written.
      OSError: an index cannot be read.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self._masks: dict[str, Mask] = {}
        if len(self.runs) > 1:
            said = [part for run in self.runs for part in _said(run, range(len(run.files())))]
            for part, mask in _that_hold(said):
                if part.shard is not None and not mask.all():
                    self._masks[part.run.path(part.shard)] = mask

    def mask(self, run: Run, entry: ShardFile) -> Mask | None:
        """Returns which rows of a shard are seen, bool [rows]; None for all of them."""
        return self._masks.get(run.path(entry))

    def blocks(self) -> Iterator[tuple[Block, Mask]]:
        """Yields all rows of the runs in blocks, each with the rows of it that are seen.

        Raises:
          ValueError: a shard is not as it was written.
        """
        first_file = 0
        for run in self.runs:
            for number, entry in enumerate(run.files(), first_file):
                if entry.rows:
                    mask, row = self.mask(run, entry), 0
                    with open_shard(run, entry) as file:
                        for block in blocks(run, file, number << OFFSET_BITS):
                            size = len(block.keys)
                            seen = np.ones(size, np.bool_) if mask is None else mask[row:][:size]
                            yield block, seen
                            row += size
            first_file += len(run.files())

    def seen(self) -> Iterator[Block]:
        """Yields the rows that are seen."""
        for block, mask in self.blocks():
            if mask.any():
                yield block.only(mask)

    def rows(self) -> int:
        """Returns the number of rows that are seen."""
        hidden = sum(int(np.count_nonzero(~mask)) for mask in self._masks.values())
        return sum(run.rows for run in self.runs) - hidden


@dataclasses.dataclass(frozen=True)
class _Said:
    """The statement of a run about some keys: a shard has their rows, or they are removed.

    Attributes:
      run: The run.
      shard: The shard of features; None for all tombstones of the run.
      keys: The keys in the order of the shard's rows, bytes16 [entries].
    """

    run: Run
    shard: ShardFile | None
    keys: Keys


def _said(run: Run, numbers: Iterable[int]) -> Iterator[_Said]:
    """Yields the tombstones of a run and the keys of some of its shards."""
    tombstones = [_tombstones(run, entry) for entry in run.files(TOMBSTONES)]
    yield _Said(run, None, np.concatenate([np.empty(0, "S16"), *tombstones]))
    shards = run.files()
    for number in numbers:
        yield _Said(run, shards[number], shard_keys(run, number))


def _that_hold(said: Sequence[_Said]) -> Iterator[tuple[_Said, Mask]]:
    """Yields what the runs say, the latest first, and which of its entries no later run revokes."""
    keys = np.concatenate([part.keys for part in said])
    hold = np.zeros(len(keys), np.bool_)
    hold[latest_entries(keys)] = True
    start = 0
    for part in said:
        yield part, hold[start : start + len(part.keys)]
        start += len(part.keys)


def find_vector(runs: Sequence[Run], key: str) -> Floats | None:
    """Finds the vector of a key's latest row; None if there is no such row, or it was removed.

    In each run the keys of one shard are read, and in one run the shard itself.

    Args:
      runs: The runs, the latest first.
      key: The key, 32 hexadecimal digits.
    """
    wanted = np.array(bytes.fromhex(key), "S16")
    said = [part for run in runs for part in _said(run, [shard_of(key, len(run.files()))])]
    for part, hold in _that_hold(said):
        if part.shard is not None and (hold & (part.keys == wanted)).any():
            with open_shard(part.run, part.shard) as file:
                for block in blocks(part.run, file):
                    rows = np.flatnonzero(block.keys == wanted)
                    if len(rows):
                        return cast(Floats, block.features[rows[0]])
    return None


def shard_keys(run: Run, number: int) -> Keys:
    """Returns the keys of a run's shard, bytes16 [rows], in the order of its records."""
    indexes = run.files(INDEX_KIND)
    if indexes:
        index = indexes[number]
        return key_array(read_index(run.path(index), ["key"], index.sha256)["key"])
    # The version that wrote this run wrote no indexes.
    entry = run.files()[number]
    if not entry.rows:
        return np.empty(0, "S16")
    with open_shard(run, entry) as file:
        found: Iterable[Block] = blocks(run, file)
        return np.concatenate([block.keys for block in found])


def _tombstones(run: Run, entry: ShardFile) -> Keys:
    keys = read_tombstones(run.path(entry), entry.sha256) if entry.rows else []
    return np.array(keys, "S16")
