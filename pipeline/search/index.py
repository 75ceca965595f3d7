"""An approximate index of a dataset's vectors, in a file that is made once and then mapped."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Sequence

from image_features.models.cache import cache_root
from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.layout import TOMBSTONES
from image_features.pipeline.dataset.records import OFFSET_BITS, Floats, blocks, open_shard
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.search.nearest import Neighbour, merge_nearest
from image_features.system.disks import sync_file

_LOG = logging.getLogger(__name__)
# The number of candidates for each neighbour asked for, which are then compared exactly.
_CANDIDATES = 8
_LEAST_CANDIDATES = 128
_REPORT_SECONDS = 10.0
_DIGITS = 16


class Index:
    """An approximate index of the vectors of runs.

    It keeps vectors in 8 bits; rows that it finds are read again from the shards and compared
    exactly.
    """

    def __init__(self, runs: Sequence[Run], path: str) -> None:
        from usearch.index import Index as Usearch

        self._runs = runs
        index = Usearch.restore(path, view=True)
        if index is None:
            raise ValueError(f"The index {path} cannot be read; remove it.")
        self._index = index
        self._shards = [(run, shard) for run in runs for shard in run.files()]

    @classmethod
    def build(cls, runs: Sequence[Run], path: str, report: Callable[[int], None]) -> None:
        """Makes the file of an index.

        Args:
          runs: The runs to index, the latest first.
          path: The file to make, on a local disk; it appears when it is whole.
          report: A function that is called now and then with the number of rows that are in.
        """
        from usearch.index import Index as Usearch

        index = Usearch(ndim=runs[0].num_features, metric="cos", dtype="i8")
        for block in LatestRows(runs).seen():
            index.add(block.addresses, block.features)
            report(len(index))
        part = f"{path}.{uuid.uuid4().hex}"
        try:
            index.save(part)
            with open(part, "rb") as file:
                sync_file(file)
            os.replace(part, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)

    def nearest(self, query: Floats, count: int, without: str = "") -> list[Neighbour]:
        """Finds the rows that `nearest.nearest` does, and may miss some."""
        wanted = max(_LEAST_CANDIDATES, _CANDIDATES * count)
        matches = self._index.search(query, wanted)
        best: list[Neighbour] = []
        addresses = sorted(int(address) for address in matches.keys)
        for number in dict.fromkeys(address >> OFFSET_BITS for address in addresses):
            run, shard = self._shards[number]
            with open_shard(run, shard) as file:
                for address in addresses:
                    if address >> OFFSET_BITS == number:
                        file.seek(address & ((1 << OFFSET_BITS) - 1))
                        block = next(blocks(run, file, rows=1))
                        best = merge_nearest(best, block, query, count, without)
        return best


def index_name(runs: Sequence[Run]) -> str:
    """Names the index of runs by the checksums of all files that decide which rows are seen.

    Of several models, that of each has its name in it.
    """
    digest = hashlib.sha256()
    for run in runs:
        shards = [*run.files(), *run.files(TOMBSTONES)]
        digest.update(json.dumps([shard.sha256 for shard in shards]).encode())
    return _file_name(runs, digest.hexdigest()[:_DIGITS])


def _file_name(runs: Sequence[Run], digest: str) -> str:
    model = runs[0].vector.model
    return f".search-{model}-{digest}.usearch" if model else f".search-{digest}.usearch"


def index_file(path: str, runs: Sequence[Run]) -> str:
    """Returns the path of the index of runs; makes it if there is none, and removes outdated ones.

    Args:
      path: The dataset's directory, or a run's.
      runs: The runs to search, the latest first.
    """
    directory = path
    if "://" in path or not os.access(path, os.W_OK):
        directory = os.path.join(cache_root(), "search")
        os.makedirs(directory, exist_ok=True)
    file = os.path.join(directory, index_name(runs))
    if os.path.exists(file):
        return file
    _LOG.info("Makes the index %s, once for these runs.", file)
    total, told = sum(run.rows for run in runs), time.monotonic()

    def report(rows: int) -> None:
        nonlocal told
        if time.monotonic() - told > _REPORT_SECONDS:
            told = time.monotonic()
            _LOG.info("%d of at most %d rows are in the index.", rows, total)

    Index.build(runs, file, report)
    if directory == path:
        pattern = _file_name(runs, "[0-9a-f]" * _DIGITS)
        for old in glob.glob(os.path.join(glob.escape(directory), pattern)):
            if old != file:
                with contextlib.suppress(OSError):
                    os.unlink(old)
    return file


def open_index(path: str, runs: Sequence[Run]) -> Index:
    """Opens the index of runs, which `index_file` finds or makes; a damaged one is made anew."""
    file = index_file(path, runs)
    try:
        return Index(runs, file)
    except (ValueError, RuntimeError, OSError) as error:
        _LOG.warning("%s is damaged (%s): it is made anew.", file, error)
        os.unlink(file)
        return Index(runs, index_file(path, runs))
