"""Which rows of several runs a reader sees: of each image the latest version, once.

Settled by the runs' indexes alone, in some 40 bytes of memory a row.
"""

from __future__ import annotations

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
from image_features.transforms.shards.known_index import read_tombstones
from image_features.transforms.shards.write_shards import ShardFile
from image_features.transforms.stores.uris import shard_of

Mask = npt.NDArray[np.bool_]


class LatestRows:
    """The rows of runs that have not been replaced by a later run, or removed by it.

    Args:
      runs: The latest first; their vectors can be compared.

    Raises:
      ValueError: an index is not as it was written.
      OSError: it cannot be read.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = tuple(runs)
        self._masks: dict[str, Mask] = {}
        if len(self.runs) > 1:
            self._settle()

    def mask(self, run: Run, entry: ShardFile) -> Mask | None:
        """Which rows of a shard are seen, bool [rows]; None for all of them."""
        return self._masks.get(run.path(entry))

    def blocks(self) -> Iterator[tuple[Block, Mask]]:
        """Yields all rows of the runs, and which of a block's are seen.

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
        """How many rows are seen."""
        hidden = sum(int(np.count_nonzero(~mask)) for mask in self._masks.values())
        return sum(run.rows for run in self.runs) - hidden

    def _settle(self) -> None:
        parts: list[npt.NDArray[np.bytes_]] = []
        paths: list[str] = []
        for run in self.runs:  # The latest first, so that a stable sort keeps it in front.
            tombstones = [_tombstones(run, entry) for entry in run.files(TOMBSTONES)]
            parts.append(np.concatenate(tombstones) if tombstones else np.empty(0, "S16"))
            paths.append("")
            for number, entry in enumerate(run.files()):
                parts.append(shard_keys(run, number))
                paths.append(run.path(entry))
        keys = np.concatenate(parts)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        seen = np.zeros(len(keys), np.bool_)
        seen[order[np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]]] = True
        start = 0
        for path, part in zip(paths, parts, strict=True):
            mask = seen[start : start + len(part)]
            start += len(part)
            if path and not mask.all():
                self._masks[path] = mask


def find_vector(runs: Sequence[Run], key: str) -> Floats | None:
    """The vector of a key in the latest run that says anything of it; reads one shard a run."""
    wanted = np.array(bytes.fromhex(key), "S16")
    for run in runs:
        files = run.files()
        entry = files[shard_of(key, len(files))]
        if entry.rows:
            with open_shard(run, entry) as file:
                for block in blocks(run, file):
                    rows = np.flatnonzero(block.keys == wanted)
                    if len(rows):
                        return cast(Floats, block.features[rows[0]])
        tombstones = run.files(TOMBSTONES)
        if any((_tombstones(run, entry) == wanted).any() for entry in tombstones):
            return None
    return None


def shard_keys(run: Run, number: int) -> npt.NDArray[np.bytes_]:
    """The keys of a run's shard, bytes16 [rows], in the order of its records."""
    indexes = run.files(INDEX_KIND)
    if indexes:
        return key_array(read_index(run.path(indexes[number]), ["key"])["key"])
    # A run of a version that wrote no indexes.
    entry = run.files()[number]
    if not entry.rows:
        return np.empty(0, "S16")
    with open_shard(run, entry) as file:
        found: Iterable[Block] = blocks(run, file)
        return np.concatenate([block.keys for block in found])


def _tombstones(run: Run, entry: ShardFile) -> npt.NDArray[np.bytes_]:
    return np.array(read_tombstones(run.path(entry)) if entry.rows else [], "S16")
