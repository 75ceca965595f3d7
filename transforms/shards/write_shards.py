"""Deterministic shard files from rows that arrive in any number of bundles.

Features are never shuffled. Each bundle writes the rows that it gets to pieces of its own, files
with random names; only the names of the pieces are grouped, and one merge a shard turns its pieces
into the final file. A bundle that is retried leaves pieces that nobody names; a merge that is
retried writes the same bytes again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from image_features.system.disks import make_directories
from image_features.transforms.runtime.concurrency import BoundedPool, in_global_window, io_pool
from image_features.transforms.runtime.metrics import NAMESPACE, log_event
from image_features.transforms.runtime.progress import Progress
from image_features.transforms.shards import sheaf
from image_features.transforms.shards.index import INDEX_KIND, index_file
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.pieces import MergedRows, merge_pieces
from image_features.transforms.shards.shard_content import (
    HashingSink,
    PlainContent,
    Rows,
    ShardContent,
)
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.shards.staging import Content, ShardRow, StagedPiece, stage
from image_features.transforms.shards.waiting import PIECE_BYTES, Waiting
from image_features.transforms.stores.files import create_whole

_LOG = logging.getLogger(__name__)
# Large pieces are written two at a time. Rows of archives make small ones for all shards at once,
# which must not wait for a store one after the other.
_WRITERS = 16


class WriteShards(beam.PTransform):
    """Writes ShardRow to one file a shard; returns PCollection[ShardFile] of these and the indexes.

    Args:
      naming: Where the files go.
      num_shards: The number of shards, a side input; each gets a file, if need be an empty one.
      earlier: A PCollection[StagedPiece] of rows to add, which an earlier attempt has written.
      content: What lies in a file around its rows; None for nothing, or gzip by the suffix.
      piece_bytes: The size of a piece, of which some are held in memory.
      beside: The names of further files that each shard gets of the same rows, and what lies in
        them.
    """

    def __init__(
        self,
        *,
        naming: ShardNaming,
        num_shards: Any,
        earlier: Any = None,
        content: ShardContent | None = None,
        piece_bytes: int = PIECE_BYTES,
        beside: Sequence[tuple[ShardNaming, ShardContent]] = (),
    ) -> None:
        super().__init__()
        self._naming = naming
        self._content = content or PlainContent(naming.suffix.endswith(".gz"))
        self._piece_bytes = piece_bytes
        self._num_shards = num_shards
        self._earlier = earlier
        self._beside = tuple(beside)

    def expand(self, rows: Any) -> Any:
        pieces = (
            rows
            | "WritePieces" >> beam.ParDo(_WritePiecesDoFn(self._naming, self._piece_bytes))
            | "KeyByShard" >> beam.Map(_by_shard)
        )
        earlier = (
            []
            if self._earlier is None
            else [self._earlier | "KeyEarlierByShard" >> beam.Map(_by_shard)]
        )
        every = (
            rows.pipeline
            | "Start" >> beam.Create([None])
            | "NameEveryShard" >> beam.FlatMap(_every_shard, self._num_shards)
        )
        return (
            (pieces, every, *earlier)
            | "JoinPieces" >> beam.Flatten()
            | "GroupPieces" >> beam.GroupByKey()
            | "MergePieces"
            >> beam.ParDo(
                _MergeDoFn([(self._naming, self._content), *self._beside]), self._num_shards
            )
        )


# A part of a shard: path, labels and chosen rows of a piece.
_Part = tuple[str, dict[str, int], bytes]


def _by_shard(piece: StagedPiece) -> tuple[int, _Part]:
    return piece.shard, (piece.path, piece.labels, piece.chosen)


def _every_shard(_: None, num_shards: int) -> Iterator[tuple[int, _Part]]:
    return ((shard, ("", {}, b"")) for shard in range(num_shards))


# Pieces that were written together, their size in bytes, and the seconds that it took.
_Written = tuple[list[StagedPiece], int, float]


class _WritePiecesDoFn(beam.DoFn):
    """Gathers rows by their shards, and writes pieces of them while others are gathered."""

    def __init__(self, naming: ShardNaming, piece_bytes: int = PIECE_BYTES) -> None:
        self._naming = naming
        self._piece_bytes = piece_bytes
        self._rows = Metrics.counter(NAMESPACE, f"write/{naming.kind}")
        self._bytes = Metrics.counter(NAMESPACE, f"write/{naming.kind}_bytes")
        self._microseconds = Metrics.distribution(NAMESPACE, "write/microseconds")
        self._progress = Progress(naming.staging, naming.kind)

    def start_bundle(self) -> None:
        self._waiting = Waiting(
            self._piece_bytes, sheaves=sheaf.are_read_alone(self._naming.pieces)
        )
        self._pool: BoundedPool[list[Content], _Written] = BoundedPool(
            functools.partial(_timed, self._naming),
            executor=io_pool(_WRITERS),
            max_items=_WRITERS,
            max_bytes=2 * self._piece_bytes,
        )

    def process(self, row: ShardRow) -> Iterator[StagedPiece]:
        for contents in self._waiting.add(row):
            yield from self._hand_over(contents)

    def finish_bundle(self) -> Iterator[Any]:
        for contents in self._waiting.rest():
            for piece in self._hand_over(contents):
                yield in_global_window(piece)
        for result in self._pool.drain():
            for piece in self._count(result):
                yield in_global_window(piece)
        self._progress.flush()

    def _hand_over(self, contents: list[Content]) -> Iterator[StagedPiece]:
        for result in self._pool.submit(contents, sum(content.size for content in contents)):
            yield from self._count(result)

    def _count(self, written: _Written) -> list[StagedPiece]:
        pieces, size, seconds = written
        rows = sum(sum(piece.labels.values()) for piece in pieces)
        self._microseconds.update(int(1e6 * seconds))
        self._rows.inc(rows)
        self._bytes.inc(size)
        self._progress.add(rows)
        return pieces


def _timed(naming: ShardNaming, contents: list[Content]) -> _Written:
    start = time.perf_counter()
    size = sum(content.size for content in contents)
    return stage(naming, contents), size, time.perf_counter() - start


def _write_to(outs: Sequence[Rows], block: bytes) -> None:
    for out in outs:
        out.write(block)


class _MergeDoFn(beam.DoFn):
    """Merges the pieces of a shard into its file, and into further files of the same rows."""

    def __init__(self, files: Sequence[tuple[ShardNaming, ShardContent]]) -> None:
        self._files = files
        self._naming = files[0][0]
        self._microseconds = Metrics.distribution(NAMESPACE, "merge/microseconds")

    def process(self, group: tuple[int, Iterable[_Part]], num_shards: int) -> Iterator[ShardFile]:
        start = time.perf_counter()
        shard, pieces = group
        labels: Counter[str] = Counter()
        paths: list[str] = []
        chosen: list[Any] = []
        for path, piece_labels, rows_of_it in pieces:
            labels.update(piece_labels)
            if path:
                paths.append(path)
                chosen.append(np.frombuffer(rows_of_it, "<u4") if rows_of_it else None)
        if not paths and not self._naming.has_empty:
            return
        names = [naming.name(shard, num_shards) for naming, _ in self._files]
        with contextlib.ExitStack() as stack:
            sinks, outs = [], []
            for name in names:
                sinks.append(HashingSink(stack.enter_context(self._create(name))))
            with contextlib.ExitStack() as contents:
                for (_, content), sink in zip(self._files, sinks, strict=True):
                    outs.append(contents.enter_context(content.open(sink, labels.total())))
                rows = merge_pieces(paths, functools.partial(_write_to, outs), chosen)
            if len(rows.keys) != labels.total():
                raise RuntimeError(
                    f"{names[0]} has {len(rows.keys)} rows but its pieces were written with "
                    f"{labels.total()}: the staging directory was changed during the run."
                )
        self._microseconds.update(int(1e6 * (time.perf_counter() - start)))
        labels.pop("", None)
        by_label = dict(sorted(labels.items()))
        for (naming, _), name, sink in zip(self._files, names, sinks, strict=True):
            digest, count = sink.digest.hexdigest(), len(rows.keys)
            log_event(_LOG, "shard", name=name, rows=count, bytes=sink.size, sha256=digest)
            yield ShardFile(naming.kind, name, count, sink.size, digest, by_label)
        if self._naming.indexed:
            yield self._write_index(self._naming.index_name(shard, num_shards), rows)

    def _write_index(self, name: str, rows: MergedRows) -> ShardFile:
        data = index_file(rows.keys, rows.notes)
        with self._create(name) as file:
            file.write(data)
        digest = hashlib.sha256(data).hexdigest()
        return ShardFile(INDEX_KIND, name, len(rows.keys), len(data), digest)

    @contextlib.contextmanager
    def _create(self, name: str) -> Iterator[IO[bytes]]:
        folder, _, own_name = name.rpartition("/")
        part = FileSystems.join(self._naming.staging, f"{own_name}.{uuid.uuid4().hex}")
        path = FileSystems.join(self._naming.directory, name)
        self._check_open(name)
        if folder and "://" not in path:
            make_directories(os.path.dirname(path))
        with create_whole(path, part) as file:
            yield file
            self._check_open(name)

    def _check_open(self, name: str) -> None:
        """Refuses to write after the commit: a job that was presumed dead may still be running.

        Its shards need not be the same as those that are committed, since an image may have changed
        meanwhile.
        """
        if self._naming.seal and FileSystems.exists(self._naming.seal):
            raise RuntimeError(
                f"{self._naming.seal} was written by another job: {name} is left as it is there."
            )
