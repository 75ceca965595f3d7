"""A committed run as its run.json tells it, and which runs of a dataset count."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.errors import RunNotFoundError, UnreadableRunError, UsageError
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.layout import (
    RUN_FILE,
    check_path,
    only_os_errors,
    run_directories,
)
from image_features.pipeline.dataset.model_sections import Section, sections_in
from image_features.pipeline.dataset.provenance import Provenance
from image_features.system.paths import absolute
from image_features.transforms.manifests.columns import Column
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.shards.vectors import VectorField
from image_features.transforms.stores import libraries
from image_features.transforms.stores.files import open_plain
from image_features.transforms.stores.listing import Listed, list_files

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Run:
    """A committed run.

    Attributes:
      directory: The directory of the run.
      record: The content of its run.json.
      features: The name of the model whose vectors are read; None is the only one.
    """

    directory: str
    record: Mapping[str, Any]
    features: str | None = None

    @classmethod
    def read(cls, directory: str) -> Run | None:
        """Reads a directory's run.json; returns None if the directory is not a committed run.

        Raises:
          UnreadableRunError: run.json is there but is not one of ours.
          OSError: the directory cannot be read.
        """
        record = read_record(directory)
        if record is None:
            return None
        run = cls(directory, record)
        try:
            # What every reader needs is looked at once, here.
            _ = run.run_id, run.seconds, run.counts, run.provenance, run.all_files
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(FileSystems.join(directory, RUN_FILE), error) from error
        return run

    @property
    def run_id(self) -> str:
        """The name of the run."""
        return str(self.record["run_id"])

    @property
    def fingerprint(self) -> str | None:
        """The hash of everything that the run's bytes depend on; runs of old versions have none."""
        return self.record.get("fingerprint")

    @property
    def started(self) -> str:
        """The time of the launch, ISO 8601, UTC."""
        return str(self.record["started"])

    @property
    def finished(self) -> str:
        """The time of the commit, ISO 8601, UTC."""
        return str(self.record["finished"])

    @property
    def seconds(self) -> float:
        """The time from launch to commit, in seconds."""
        times = [datetime.datetime.fromisoformat(text) for text in (self.started, self.finished)]
        return (times[1] - times[0]).total_seconds()

    @property
    def as_of(self) -> str:
        """The time that the rows are from, which merging leaves as it was."""
        return str(self.record.get("as_of") or self.finished)

    @property
    def replaces(self) -> Mapping[str, str]:
        """The runs that were merged into this one: their finish times by their names."""
        return dict(self.record.get("replaces", {}))

    @property
    def rows(self) -> int:
        """The number of images with features."""
        return self.counts.rows_out

    @functools.cached_property
    def counts(self) -> RunCounts:
        """The numbers of rows, by what became of them."""
        return RunCounts.from_json(self.record["counts"])

    @functools.cached_property
    def provenance(self) -> Provenance:
        """The sources of the features."""
        return Provenance.from_json(self.record)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The passed-through columns of the rows."""
        return self.provenance.columns

    @property
    def vectors(self) -> tuple[VectorField, ...]:
        """The fields of a row that hold its feature vectors, one for each model."""
        return self.provenance.vectors

    def reading(self, features: str | None) -> Run:
        """Returns the run with the vectors of a model; no name is that of the only one."""
        return dataclasses.replace(self, features=features or None)

    @functools.cached_property
    def vector(self) -> VectorField:
        """The field of the vectors that are read.

        Raises:
          UsageError: the run has no such model, or has several and none is named.
        """
        if self.features is None and len(self.vectors) == 1:
            return self.vectors[0]
        named = {field.model: field for field in self.vectors if field.model}
        if self.features in named:
            return named[self.features]
        have = ", ".join(named) if named else "one model, which has no name"
        asked = f"not of {self.features!r}" if self.features else "one of them must be named"
        raise UsageError(f"{self.directory} has features of {have}, and {asked}; see --features.")

    @property
    def num_features(self) -> int:
        """The length of a vector that is read."""
        return self.vector.width

    @property
    def compressed(self) -> bool:
        """Whether the feature shards are gzip files."""
        return bool(self.record["compression"] == "gzip")

    @property
    def health(self) -> Mapping[str, Section]:
        """The summaries of what each model's features are like; runs of old versions have none."""
        return sections_in(self.record.get("health"))

    @property
    def drift(self) -> Mapping[str, Section]:
        """The comparisons of each model's features with an earlier run's, if there was one."""
        return sections_in(self.record.get("drift"))

    @property
    def removed_before(self) -> int:
        """The rows that the input of the run before did not name already, as the guards counted."""
        return int(self.record["guards"].get("removed_before", 0))

    @property
    def unchecked(self) -> Sequence[str]:
        """A sentence for each guard that had nothing to compare with."""
        return list(self.record["guards"].get("unchecked", ()))

    @functools.cached_property
    def all_files(self) -> tuple[ShardFile, ...]:
        """Every file that the commit lists: shards, indexes and descriptions."""
        return tuple(ShardFile.from_json(entry) for entry in self.record["files"])

    def files(self, kind: str = "features") -> list[ShardFile]:
        """Returns the shards of a kind in order, empty ones too."""
        return [file for file in self.all_files if file.kind == kind]

    def path(self, file: ShardFile) -> str:
        """Returns the path of one of the run's files."""
        return FileSystems.join(self.directory, file.name)


def read_record(directory: str, name: str = RUN_FILE) -> dict[str, Any] | None:
    """Returns run.json (or a pack.json, by its name) as it is, or None where nothing is committed.

    Raises:
      UnreadableRunError: run.json is there but is not one of ours.
      OSError: the directory cannot be read.
      ValueError: a library that the directory needs is missing.
    """
    libraries.check([directory])
    path = FileSystems.join(directory, name)
    with only_os_errors():
        if not FileSystems.exists(path):
            return None
        with open_plain(path) as file:
            data = file.read()
    try:
        record = dict(json.loads(data))
        version = int(record["format_version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, error if data.strip(b"\0") else "it is empty") from error
    if version > FORMAT_VERSION:
        raise UnreadableRunError(
            f"{path} has format {version}, this version reads up to {FORMAT_VERSION}: upgrade."
        )
    return record


def _damaged(path: str, why: object) -> UnreadableRunError:
    if isinstance(why, KeyError):
        why = f"it lacks {why}"
    return UnreadableRunError(
        f"{path} is not a run's commit file ({why}). Copy it from a backup, or without one "
        "delete the run's directory and extract it again. Nothing of the dataset is read until "
        "then, since the run may hold rows that count."
    )


def committed_runs(path: str) -> list[Run]:
    """Returns the committed run at a path, or all those one level below, the latest first.

    Raises:
      RunNotFoundError: there is no committed run.
      UnreadableRunError: one of them is not as this version or an earlier one writes it.
      ValueError: the path would be taken for a pattern, or a library that it needs is missing.
    """
    path = absolute(path)
    check_path(path)
    run = Run.read(path)
    if run is not None:
        return [run]
    runs = [found for directory in run_directories(path) if (found := Run.read(directory))]
    if not runs:
        raise RunNotFoundError(
            f"There is no committed run at {path}: no {RUN_FILE} there or one level below."
        )
    return sorted(runs, key=lambda run: (run.as_of, run.finished, run.directory), reverse=True)


def latest_run(path: str) -> Run:
    """Returns the committed run at a path: itself, or the latest one below it.

    Raises:
      RunNotFoundError: there is no committed run.
    """
    return committed_runs(path)[0]


def current_runs(path: str) -> list[Run]:
    """Returns what `committed_runs` does, without the runs that another of them replaces.

    Raises:
      RunNotFoundError: there is no committed run.
    """
    return unreplaced(committed_runs(path))


def unreplaced(runs: Sequence[Run]) -> list[Run]:
    """Returns those of all runs of a dataset that no other one of them replaces."""
    replaced = {item for run in runs for item in run.replaces.items()}
    return [run for run in runs if (run.run_id, run.finished) not in replaced]


def lost_file(run: Run, files: Sequence[ShardFile], found: Sequence[Listed]) -> ShardFile | None:
    """Returns the first of a run's files that is not among those found, by path and size."""
    sizes = {listed.path: listed.size for listed in found}
    for file in files:
        if sizes.get(run.path(file)) != file.bytes:
            return file
    return None


def check_whole(runs: Sequence[Run], kinds: Sequence[str]) -> None:
    """Makes sure that the files which runs list are there, by their sizes; none of them is read.

    Raises:
      ValueError: a run has lost a file.
    """
    for run in runs:
        for kind in kinds:
            file = lost_file(run, run.files(kind), list_files(run.directory, f"{kind}-"))
            if file:
                raise ValueError(
                    f"{run.directory} has lost {file.name}; copy it from a backup, or delete "
                    "that run, its run.json first."
                )
