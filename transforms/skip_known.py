"""SkipKnown: leaves out the images that a dataset has already, as they are now.

The references and the indexes of committed runs meet in partitions of their keys, wherever the
runner puts these. Each image that is known is then compared with what is there now: by a file's
time and size, an object's generation, a server's answer that nothing was modified, or the content.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, TaggedOutput

from image_features.transforms.compare_known import Comparison, is_told
from image_features.transforms.find_unread import FindUnread
from image_features.transforms.images.fetcher import FetchPolicy
from image_features.transforms.manifests.sources import Source
from image_features.transforms.runtime.concurrency import in_global_window
from image_features.transforms.runtime.metrics import NAMESPACE
from image_features.transforms.shards.known_files import KnownFiles, NameFiles
from image_features.transforms.shards.known_index import (
    TOMBSTONE,
    KnownFile,
    count_partitions,
    latest_of,
    partition_of,
    read_known,
    split_table,
)
from image_features.transforms.shards.ref_coder import giving_tables
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.references import places_of
from image_features.transforms.shards.spill import Spill
from image_features.transforms.stores.uris import image_key
from image_features.transforms.values import ImageError
from image_features.transforms.verify_packed import VerifyPacked

_LEAST_PARTITIONS = 256
_ROWS_PER_FILE = 250_000
# Rows of the input are in memory as they are divided, where tables of known ones are smaller.
_ROWS_AT_ONCE = 262_144
_BYTES_AT_ONCE = 32 * 2**20


@dataclasses.dataclass(frozen=True)
class Known:
    """The images that a dataset has already.

    Attributes:
      files: The indexes and tombstones of the runs that have the same model and preprocessing.
      verify_content: Whether to compare the content itself, by its hash, instead of its version.
      removals: Whether images that the input does not name count as removed.
      hides: Whether what counts as removed is hidden from readers, so that there must be no doubt.
    """

    files: KnownFiles = dataclasses.field(default_factory=lambda: KnownFiles.of(()))
    verify_content: bool = False
    removals: bool = True
    hides: bool = False

    @property
    def rows(self) -> int:
        """The rows of all files, older versions and tombstones included."""
        return self.files.rows

    def kept_in(self, staging: str) -> Known:
        """Returns it as graphs take it: many files are named in staging."""
        return dataclasses.replace(self, files=self.files.kept_in(staging))


class Skipped(NamedTuple):
    """The rows that are left to work on, and what became of the others.

    Attributes:
      refs: One or several PCollections of RefTables, the images that are new or changed.
      unchanged: PCollections of ints to be summed, the rows that the dataset has already.
      duplicates: PCollections of ints to be summed, the rows that name an image again.
      removed: PCollections of (path of an index, positions of rows in it as uint32's bytes), the
        rows that no reference names any more; none where nothing can be said of that.
    """

    refs: Any
    unchanged: tuple[Any, ...] = ()
    duplicates: tuple[Any, ...] = ()
    removed: tuple[Any, ...] = ()


class SkipKnown(beam.PTransform):
    """Leaves out of `refs` (PCollections of RefTables) what is known; gives `Skipped`.

    `errors` are ImageError of rows that could not be read. An image that such a row names is not
    removed. Where nobody knows which image it names, it may be any of them: see `FindUnread`.

    Args:
      known: The images that the dataset has already.
      fetch: How to ask for versions.
      sources: What names the images, in the order in which AssignShards takes them.
      spill: Where what is compared waits.
    """

    def __init__(
        self,
        *,
        known: Known,
        fetch: FetchPolicy,
        sources: Sequence[Source] = (),
        spill: Spill | None = None,
    ) -> None:
        super().__init__()
        self._spill = spill or Spill()
        self._known = known
        self._places = places_of(sources)
        self._fetch = fetch

    def expand(self, rows: Any) -> Skipped:
        known = self._known
        # There are many even for few known rows, since the rows of the input are not counted yet.
        partitions = max(_LEAST_PARTITIONS, count_partitions(known.rows))
        indexes = (
            rows["errors"].pipeline
            | "NameIndexes" >> NameFiles(known.files)
            | "HashIndexes"
            >> beam.FlatMap(_hashed_known, known.verify_content, partitions, self._spill)
        )
        keep_all = rows["errors"] | "FindUnread" >> FindUnread(
            removals=known.removals, hides=known.hides
        )
        # Each is divided as it is read: a runner may hold in memory what it joins.
        hashed = tuple(
            refs | f"HashRows{number}" >> beam.ParDo(_HashDoFn(partitions, self._spill))
            for number, refs in enumerate(rows["refs"])
        )
        compared = (
            {
                "rows": hashed | "JoinRows" >> beam.Flatten(),
                "unread": rows["errors"] | "HashBadRows" >> beam.FlatMap(_named, partitions),
                "known": indexes,
            }
            | "Meet" >> beam.CoGroupByKey()
            | "CheckVersions"
            >> giving_tables(
                beam.ParDo(
                    _CheckDoFn(known, self._fetch, self._places, self._spill), AsSingleton(keep_all)
                )
            ).with_outputs("unchanged", "duplicates", "removed", "packed", main="refs")
        )
        refs, unchanged = compared.refs, [compared.unchanged]
        if known.verify_content:
            verified = compared.packed | "VerifyPacked" >> VerifyPacked(fetch=self._fetch)
            refs = (refs, verified.refs) | "JoinVerified" >> beam.Flatten()
            unchanged.append(verified.unchanged)
        removed = (compared.removed,) if known.removals else ()
        return Skipped(refs, tuple(unchanged), (compared.duplicates,), removed)


def _named(error: ImageError, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Yields the partition and key of the image that a bad row names, if it names one."""
    if error.ref.uri:
        key = image_key(error.ref.uri)
        yield partition_of(key, partitions), bytes.fromhex(key)


class _HashDoFn(beam.DoFn):
    """Divides rows among partitions, those of many tables at once: each part has its price."""

    def __init__(self, partitions: int, spill: Spill) -> None:
        self._partitions = partitions
        self._spill = spill

    def start_bundle(self) -> None:
        self._tables: list[RefTable] = []
        self._rows = self._bytes = 0

    def process(self, table: RefTable) -> Iterator[tuple[int, bytes]]:
        size = table.table.nbytes
        if self._rows + len(table) > _ROWS_AT_ONCE or self._bytes + size > _BYTES_AT_ONCE:
            yield from self._divided()
        self._tables.append(table)
        self._rows += len(table)
        self._bytes += size

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(in_global_window, self._divided())

    def _divided(self) -> Iterator[tuple[int, bytes]]:
        if not self._tables:
            return
        table = RefTable.joined(self._tables)
        self.start_bundle()  # The rows are in memory twice from here on, and not three times.
        yield from _hashed(table, self._partitions, self._spill)


def _hashed(table: RefTable, partitions: int, spill: Spill) -> Iterator[tuple[int, bytes]]:
    """Divides rows among partitions."""
    parts = table.split(table.partitions(partitions))
    return spill.put((number, rows.packed()) for number, rows in parts)


def _hashed_known(
    batch: Sequence[tuple[int, KnownFile]], verify: bool, partitions: int, spill: Spill
) -> Iterator[tuple[int, bytes]]:
    """Reads what files say, and divides it among partitions."""
    some: list[tuple[int, KnownFile]] = []
    for numbered in batch:
        some.append(numbered)
        rows = sum(file.rows for _, file in some)
        # What waits in files need not be in memory all at once.
        if numbered is batch[-1] or (spill.directory and rows >= _ROWS_PER_FILE):
            for table in read_known(some, verify):
                yield from spill.put(split_table(table, partitions))
            some = []


class _CheckDoFn(beam.DoFn):
    """Tells which rows of a partition are new, and whether the known ones have changed."""

    def __init__(
        self, known: Known, policy: FetchPolicy, places: Mapping[str, int], spill: Spill
    ) -> None:
        self._places = places
        self._spill = spill
        self._files = known.files
        self._verify = known.verify_content
        self._removals = known.removals
        self._policy = policy
        self._duplicates = Metrics.counter(NAMESPACE, "skip_known/duplicates")
        self._unchanged = Metrics.counter(NAMESPACE, "skip_known/unchanged")
        self._removed = Metrics.counter(NAMESPACE, "skip_known/removed")

    def setup(self) -> None:
        self._comparison = Comparison(self._policy, verify_content=self._verify)

    def process(
        self, group: tuple[int, Mapping[str, Iterable[bytes]]], keep_all: bool
    ) -> Iterator[Any]:
        _, parts = group
        import pyarrow as pa

        rows = RefTable.unpacked(self._spill.get(parts["rows"]))
        table, order, duplicates = rows.once(self._places)
        known = latest_of(self._spill.get(parts["known"]))
        positions, there = np.empty(len(table), np.intp), np.empty(len(table), np.bool_)
        # Of the rows, only the keys are sorted: most rows are known, and go no further.
        positions[order], there[order] = known.find(table.keys[order])
        removed = (known.files != TOMBSTONE) & (self._removals and not keep_all)
        removed[positions[there]] = False
        unread, named = known.find(list(parts["unread"]))
        removed[unread[named]] = False
        there[there] = known.files[positions[there]] != TOMBSTONE

        validators = known.validators.take(pa.array(positions, mask=~there))
        # What an index tells no version of may be any version.
        there = is_told(validators)
        loose = np.ones(len(table), np.bool_)
        for span, chosen in self._packed(table, there):
            loose[chosen] = False
            hashes = validators.take(chosen).to_pylist()
            yield TaggedOutput("packed", (span, (table.take(chosen).packed(), hashes)))
        changed = loose & ~self._comparison.same(table, validators, loose & there)
        if changed.any():
            yield table.take(changed)
        unchanged = int(np.count_nonzero(loose) - np.count_nonzero(changed))
        yield from self._counted("unchanged", unchanged, self._unchanged)
        yield from self._counted("duplicates", duplicates, self._duplicates)
        self._removed.inc(int(removed.sum()))
        for file in np.unique(known.files[removed]).tolist():
            chosen = known.rows[removed & (known.files == file)]
            yield TaggedOutput("removed", (self._files[file].path, chosen.astype("<u4").tobytes()))

    def _packed(
        self, table: RefTable, there: npt.NDArray[np.bool_]
    ) -> Iterator[tuple[tuple[str, int], npt.NDArray[np.int64]]]:
        """Yields the spans of archives whose content is compared, with positions of known rows."""
        packed: dict[tuple[str, int], list[int]] = {}
        for position, span in enumerate(table.spans() if self._verify else ()):
            if span is not None and there[position]:
                packed.setdefault(span, []).append(position)
        return ((span, np.array(chosen)) for span, chosen in packed.items())

    def teardown(self) -> None:
        self._comparison.close()

    def _counted(self, tag: str, count: int, counter: Any) -> Iterator[Any]:
        if count:
            counter.inc(count)
            yield TaggedOutput(tag, count)
