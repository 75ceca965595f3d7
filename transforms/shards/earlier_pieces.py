"""The pieces that earlier attempts at a run have left, and the rows that can be taken from them.

Pieces are whole or not there, and say so by a checksum. A row's bytes depend on the row and on the
fingerprint after which the pieces' directory is named, so that the rows of any attempt are as good
as new ones, whether or not the bundle that made them succeeded.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.pieces import BrokenPieceError, read_keys
from image_features.transforms.shards.sheaf import ENTRY, location_of, read_directory
from image_features.transforms.shards.staging import StagedPiece
from image_features.transforms.stores.listing import list_files
from image_features.transforms.stores.retries import FetchError

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EarlierPieces:
    """The feature pieces of earlier attempts.

    Attributes:
      naming: The names of this run's feature shards and their pieces.
    """

    naming: ShardNaming

    def take(self, shard: int, keys: Sequence[str]) -> tuple[list[StagedPiece], set[str]]:
        """Finds rows of a shard.

        Args:
          shard: The shard.
          keys: The keys of the shard's rows.

        Returns:
          The pieces with the rows to take from them, and the keys of these rows.
        """
        left = set(keys)
        taken = []
        for path in self._paths(shard):
            try:
                found = read_keys(path)
            except (BrokenPieceError, OSError, FetchError) as error:
                _LOG.warning("A piece of an earlier attempt is not used: %s", error)
                continue
            rows = [row for row, key in enumerate(found) if key in left]
            if rows:
                left.difference_update(found[row] for row in rows)
                chosen = np.asarray(rows, "<u4").tobytes()
                taken.append(StagedPiece(shard, path, {"": len(rows)}, chosen))
        return taken, set(keys) - left

    def _paths(self, shard: int) -> Iterator[str]:
        """Yields where a shard's pieces are: in files of their own, then in sheaves."""
        yield from self._listed.get(_begin(self.naming.piece_prefix(shard)), [])
        shards, paths, entries = self._parts
        first, end = np.searchsorted(shards, [shard, shard + 1])
        for position in range(first, end):
            yield location_of(paths[position], entries[position])

    @functools.cached_property
    def _parts(
        self,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.object_], npt.NDArray[np.void]]:
        """The parts of all sheaves, sorted by shard: their shards, sheaves and entries in these.

        The directories are read once for all shards, of which each may have a part in any sheaf.
        """
        paths: list[str] = []
        directories = [np.empty(0, ENTRY)]
        for path in self._listed.get(_begin(self.naming.sheaf_prefix), []):
            try:
                directories.append(read_directory(path))
            except (OSError, FetchError) as error:
                _LOG.warning("Pieces of an earlier attempt are not used: %s", error)
                continue
            paths.append(path)
        sizes = [len(directory) for directory in directories[1:]]
        sheaves = np.repeat(np.array(paths, object), sizes)
        entries = np.concatenate(directories)
        shards = entries["shard"].astype(np.int64)
        order = np.argsort(shards, kind="stable")
        return shards[order], sheaves[order], entries[order]

    @functools.cached_property
    def _listed(self) -> Mapping[str, Sequence[str]]:
        """The paths of all files by what their names begin with.

        They are listed once: what is written from then on is this attempt's own, and listing them
        for each shard would take time by the square of their number.
        """
        directory, _, _ = self.naming.sheaf_prefix.rpartition("/")
        listed: dict[str, list[str]] = {}
        for path in sorted(file.path for file in list_files(directory)):
            listed.setdefault(_begin(path), []).append(path)
        return listed


def _begin(path: str) -> str:
    """Returns the name of a file, or of a prefix of names, up to its first dash."""
    return path.rpartition("/")[2].partition("-")[0]
