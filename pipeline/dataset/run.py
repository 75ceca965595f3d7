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
from image_features.pipeline.dataset.file_list import FORMAT_VERSION_APART, Commit, FileList
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
from image_features.transforms.stores.listing import side_by_side


@dataclasses.dataclass(frozen=True)
class Run:
    """A committed run.

    Attributes:
      directory: The directory of the run.
      commit: The content of its run.json, with the files that it lists.
      features: The name of the model whose vectors are read; None is the only one.
    """

    directory: str
    commit: Commit
    features: str | None = None

    @classmethod
    def of(cls, directory: str, record: Mapping[str, Any]) -> Run:
        """Returns the run of a run.json.

        Raises:
          UnreadableRunError: it is not one of ours.
        """
        path = FileSystems.join(directory, RUN_FILE)
        try:
            run = cls(directory, Commit.of(directory, record, path))
            # What every reader needs is looked at once, here.
            _ = run.run_id, run.seconds, run.counts, run.provenance
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, error) from error
        return run

    @classmethod
    def read(cls, directory: str) -> Run | None:
        """Reads a directory's run.json; returns None if the directory is not a committed run.

        Raises:
          UnreadableRunError: run.json is there but is not one of ours.
          OSError: the directory cannot be read.
        """
        record = read_record(directory)
        return None if record is None else cls.of(directory, record)

    @property
    def record(self) -> dict[str, Any]:
        """The content of its run.json, as it is."""
        return self.commit.to_json()

    @property
    def run_id(self) -> str:
        """The name of the run."""
        return str(self.commit.record["run_id"])

    @property
    def fingerprint(self) -> str | None:
        """The hash of everything that the run's bytes depend on; runs of old versions have none."""
        return self.commit.record.get("fingerprint")

    @property
    def started(self) -> str:
        """The time of the launch, ISO 8601, UTC."""
        return str(self.commit.record["started"])

    @property
    def finished(self) -> str:
        """The time of the commit, ISO 8601, UTC."""
        return str(self.commit.record["finished"])

    @property
    def seconds(self) -> float:
        """The time from launch to commit, in seconds."""
        times = [datetime.datetime.fromisoformat(text) for text in (self.started, self.finished)]
        return (times[1] - times[0]).total_seconds()

    @property
    def as_of(self) -> str:
        """The time that the rows are from, which merging leaves as it was."""
        return str(self.commit.record.get("as_of") or self.finished)

    @property
    def replaces(self) -> Mapping[str, str]:
        """The runs that were merged into this one: their finish times by their names."""
        return dict(self.commit.record.get("replaces", {}))

    @property
    def rows(self) -> int:
        """The number of images with features."""
        return self.counts.rows_out

    @functools.cached_property
    def counts(self) -> RunCounts:
        """The numbers of rows, by what became of them."""
        return RunCounts.from_json(self.commit.record["counts"])

    @functools.cached_property
    def provenance(self) -> Provenance:
        """The sources of the features."""
        return Provenance.from_json(self.commit.record)

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
        return bool(self.commit.record["compression"] == "gzip")

    @property
    def health(self) -> Mapping[str, Section]:
        """The summaries of what each model's features are like; runs of old versions have none."""
        return sections_in(self.commit.record.get("health"))

    @property
    def drift(self) -> Mapping[str, Section]:
        """The comparisons of each model's features with an earlier run's, if there was one."""
        return sections_in(self.commit.record.get("drift"))

    @property
    def removed_before(self) -> int:
        """The rows that the input of the run before did not name already, as the guards counted."""
        return int(self.commit.record["guards"].get("removed_before", 0))

    @property
    def unchecked(self) -> Sequence[str]:
        """A sentence for each guard that had nothing to compare with."""
        return list(self.commit.record["guards"].get("unchecked", ()))

    @property
    def all_files(self) -> FileList:
        """Every file that the commit lists: shards, indexes and descriptions.

        Raises:
          UnreadableRunError: they are listed in a file beside run.json, which is not there.
          OSError: that file cannot be read.
        """
        return self.commit.files

    def files(self, kind: str = "features") -> FileList:
        """Returns the shards of a kind in order, empty ones too; raises what `all_files` does."""
        return self.all_files.of_kind(kind)

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
    if version > FORMAT_VERSION_APART:
        raise UnreadableRunError(
            f"{path} has format {version}, this version reads up to {FORMAT_VERSION_APART}: "
            "upgrade."
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
    runs = [found for found in side_by_side(path, Run.read, run_directories(path)) if found]
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
