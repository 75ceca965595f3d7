"""The rows of all committed runs of a dataset, without TensorFlow and in bounded memory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.dataset import layout
from image_features.transforms.images.pixels import DecodePolicy
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards import record_format
from image_features.transforms.shards.record_format import FEATURES, KEY, RECORDS, Record

Floats = npt.NDArray[np.float32]
OFFSET_BITS = 40
_BLOCK_ROWS = 2048


@dataclasses.dataclass(frozen=True)
class Run:
    """A committed run: its directory and its run.json."""

    directory: str
    record: Mapping[str, Any]

    @property
    def run_id(self) -> str:
        """Its name."""
        return str(self.record["run_id"])

    @property
    def replaces(self) -> Mapping[str, str]:
        """The runs that were merged into it, by name, and when they were finished."""
        return dict(self.record.get("replaces", {}))

    @property
    def rows(self) -> int:
        """Images in it."""
        return int(self.record["counts"]["rows_out"])

    @property
    def done(self) -> int:
        """Rows that it worked on: those read, without duplicates and unchanged ones."""
        counts = self.record["counts"]
        return int(counts["rows_in"]) - int(counts.get("rows_unchanged", 0))

    @property
    def made_by(self) -> tuple[Any, ...]:
        """What vectors must have in common to be compared."""
        model, options = self.record["model"], self.record["preprocessing"]
        names = ("image_size", "resize", "decode", "background")
        made = (model["content_hash"], model["precision"], *(options.get(name) for name in names))
        return tuple(json.dumps(part) for part in made)

    @property
    def columns(self) -> list[Column]:
        """The passed-through columns of its rows."""
        return [
            Column(**{**entry, "kind": Kind(entry["kind"])}) for entry in self.record["columns"]
        ]

    @property
    def decode_policy(self) -> DecodePolicy:
        """How its images became pixels."""
        known = {field.name for field in dataclasses.fields(DecodePolicy)}
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.record["preprocessing"].items()
            if name in known
        }
        return DecodePolicy(**options)

    def files(self, kind: str = "features") -> list[Mapping[str, Any]]:
        """The shards of a kind, in order, empty ones too."""
        return [entry for entry in self.record["files"] if entry["kind"] == kind]


@dataclasses.dataclass(frozen=True)
class Block:
    """Some rows.

    Attributes:
      run: Where they are from.
      keys: bytes16 [rows].
      features: float32 [rows, num_features].
      records: The rows' other fields, [rows].
      places: uint64 [rows]: the number of the file among all of the dataset's, shifted by
        OFFSET_BITS, and the offset in it; all that a search index keeps of a row.
    """

    run: Run
    keys: npt.NDArray[np.bytes_]
    features: Floats
    records: Sequence[Record]
    places: npt.NDArray[np.uint64]

    def only(self, mask: npt.NDArray[np.bool_]) -> Block:
        """Some of its rows."""
        if mask.all():
            return self
        rows = np.flatnonzero(mask)
        records = [self.records[int(row)] for row in rows]
        return Block(self.run, self.keys[rows], self.features[rows], records, self.places[rows])


def committed_runs(path: str) -> list[Run]:
    """The committed run at a path, or all those one level below, the latest first.

    Raises:
      RunNotFoundError: there is none.
    """
    return [Run(directory, record) for directory, record in layout.committed_runs(path)]


def current_runs(path: str) -> list[Run]:
    """As `committed_runs`, without those that another of them replaces.

    Raises:
      RunNotFoundError: there is none.
    """
    return unreplaced(committed_runs(path))


def unreplaced(runs: Sequence[Run]) -> list[Run]:
    """Those of all runs of a dataset that no other one of them replaces."""
    replaced = {item for run in runs for item in run.replaces.items()}
    return [run for run in runs if (run.run_id, run.record["finished"]) not in replaced]


def comparable(runs: Sequence[Run]) -> list[Run]:
    """Of runs, the latest first, those whose vectors can be compared with the latest's."""
    return [run for run in runs if run.made_by == runs[0].made_by]


def lost(
    run: Run, entries: Sequence[Mapping[str, Any]], found: Sequence[Any]
) -> Mapping[str, Any] | None:
    """The first of a run's files that is not among those found, by path and size."""
    sizes = {file.path: file.size_in_bytes for file in found}
    for entry in entries:
        if sizes.get(FileSystems.join(run.directory, entry["name"])) != entry["bytes"]:
            return entry
    return None


def check_whole(runs: Sequence[Run], kinds: Sequence[str]) -> None:
    """Makes sure that files which runs list are there, by their sizes; none of them is read.

    Raises:
      ValueError: one is not.
    """
    patterns = [FileSystems.join(run.directory, f"{kind}-*") for run in runs for kind in kinds]
    matches = iter(FileSystems.match(patterns) if patterns else ())
    for run in runs:
        for kind in kinds:
            entry = lost(run, run.files(kind), next(matches).metadata_list)
            if entry:
                raise ValueError(
                    f"{run.directory} has lost {entry['name']}; copy it from a backup, or delete "
                    "that run, its run.json first."
                )


def merged_columns(runs: Sequence[Run]) -> list[Column]:
    """The columns that rows of several runs have; one that a run lacks may be absent.

    Raises:
      ValueError: two runs hold a column with different types.
    """
    merged: dict[str, Column] = {}
    for run in runs:
        for column in run.columns:
            known = merged.setdefault(column.name, column)
            if not known.holds_as(column):
                raise ValueError(
                    f"The column {column.name!r} of {run.directory} holds {column.kind} where a "
                    f"later run has {known.kind}: read the runs one by one."
                )
    for run in runs:
        certain = {column.name for column in run.columns if not column.nullable}
        for name, column in merged.items():
            if name not in certain:
                merged[name] = dataclasses.replace(column, nullable=True)
    return list(merged.values())


def open_shard(run: Run, entry: Mapping[str, Any]) -> AbstractContextManager[IO[bytes]]:
    """Opens a shard for reading, decompressed."""
    path = FileSystems.join(run.directory, entry["name"])
    return record_format.open_shard(path, compressed=run.record["compression"] == "gzip")


def blocks(run: Run, file: Any, place: int = 0, rows: int = _BLOCK_ROWS) -> Iterator[Block]:
    """Yields the rows from where a shard's file is.

    Args:
      run: Whose shard it is.
      file: Of `open_shard`.
      place: Of the first of them.
      rows: In a block.

    Raises:
      ValueError: the shard is not as it was written.
    """
    width = run.record["model"]["num_features"]
    records: list[Record] = []
    places: list[int] = []
    for payload in RECORDS.payloads(file):
        records.append(RECORDS.parse(payload))
        places.append(place)
        place += len(payload)
        if len(records) == rows:
            yield _block(run, records, places, width)
            records, places = [], []
    if records:
        yield _block(run, records, places, width)


def _block(run: Run, records: list[Record], places: list[int], width: int) -> Block:
    vectors = [record.floats(FEATURES) for record in records]
    if any(len(vector) != width for vector in vectors):
        raise ValueError(f"A shard of {run.directory} holds vectors of another length.")
    keys = np.array([bytes.fromhex(record.text(KEY)) for record in records], "S16")
    return Block(run, keys, np.stack(vectors), records, np.array(places, np.uint64))
