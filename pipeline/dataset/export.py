"""A committed export, as its .export.json tells it, and the exports that a target has got."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.errors import UnreadableRunError
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.layout import CHANGES, EXPORT_FILE
from image_features.pipeline.dataset.run import Run, read_record
from image_features.transforms.shards.shard_file import ShardFile

_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Export:
    """A committed export.

    Attributes:
      directory: The directory of its files; the database, where it has none.
      record: The content of its .export.json.
    """

    directory: str
    record: Mapping[str, Any]

    @classmethod
    def read(cls, directory: str) -> Export | None:
        """Reads a directory's .export.json; returns None where there is none.

        Raises:
          UnreadableRunError: .export.json is there but is not one of ours.
          OSError: the directory cannot be read.
        """
        record = read_record(directory, EXPORT_FILE)
        if record is None:
            return None
        try:
            return cls.of(directory, record)
        except ValueError as error:
            path = FileSystems.join(directory, EXPORT_FILE)
            raise UnreadableRunError(
                f"{path} is damaged: {error}. Copy it from a backup, or export to another "
                "directory."
            ) from error

    @classmethod
    def of(cls, directory: str, record: Mapping[str, Any]) -> Export:
        """Returns the export that a record tells of.

        Raises:
          ValueError: it is no record of an export.
        """
        export = cls(directory, record)
        try:
            _ = export.counts, export.all_files, export.runs, export.identity, export.number
            _ = export.rows, export.run_id
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"what it says is not of `image-features export` ({error!r})"
            ) from error
        return export

    @property
    def run_id(self) -> str:
        """The name of the export."""
        return str(self.record["run_id"])

    @property
    def fingerprint(self) -> str:
        """The hash of all that the exported rows depend on."""
        return str(self.record["fingerprint"])

    @property
    def number(self) -> int:
        """How many exports the target had before."""
        return int(self.record["number"])

    @property
    def runs(self) -> Mapping[str, str]:
        """The runs whose rows the target has: their finish times by their names.

        Those that were merged into one of them are among them.
        """
        return dict(self.record["runs"])

    @property
    def identity(self) -> Mapping[str, Any]:
        """What exports to one target must have in common, such as the model and the type."""
        return dict(self.record["identity"])

    @property
    def rows(self) -> int:
        """The number of rows that the target has with this export."""
        return int(self.record["rows"])

    @functools.cached_property
    def counts(self) -> RunCounts:
        """The numbers of rows, by what became of them."""
        return RunCounts.from_json(self.record["counts"])

    @functools.cached_property
    def all_files(self) -> tuple[ShardFile, ...]:
        """Every file that the commit lists."""
        return tuple(ShardFile.from_json(entry) for entry in self.record["files"])

    def path(self, file: ShardFile) -> str:
        """Returns the path of one of the files."""
        return FileSystems.join(self.directory, file.name)

    def has(self, run: Run) -> bool:
        """Whether the rows of a run, or of all that were merged into it, were exported."""
        return has_rows_of(run, self.runs)


def exports_in(target: str) -> list[Export]:
    """Returns the committed exports in a directory, the first one first.

    Raises:
      UnreadableRunError: a .export.json is not one of ours.
      OSError: the directory cannot be read.
    """
    exports: list[Export] = []
    while export := Export.read(export_directory(target, len(exports))):
        exports.append(export)
    return exports


def export_directory(target: str, number: int) -> str:
    """Returns the directory of a target's export: the first one is the target itself."""
    if not number:
        return target
    return FileSystems.join(target, CHANGES, f"{number:0{_DIGITS}d}")


def runs_in(runs: Sequence[Run]) -> dict[str, str]:
    """Returns the finish times, by name, of runs and of those that were merged into them."""
    found: dict[str, str] = {}
    for run in runs:
        found |= run.replaces
        found[run.run_id] = run.finished
    return found


def has_rows_of(run: Run, runs: Mapping[str, str]) -> bool:
    """Whether a run, or all that were merged into it, are among those that `runs_in` gave."""
    among = runs.items()
    return (run.run_id, run.finished) in among or (
        bool(run.replaces) and run.replaces.items() <= among
    )


def removed_run(runs: Sequence[Run], known: Mapping[str, str]) -> str:
    """Returns the name of a run that is not there any more; empty if all are.

    Args:
      runs: The runs of the dataset that are read now.
      known: The finish times, by name, that `runs_in` has returned before.
    """
    here = runs_in(runs)
    lost = (name for name, finished in known.items() if here.get(name) != finished)
    return next(lost, "")


def untold_changes(runs: Sequence[Run], known: Mapping[str, str]) -> str:
    """Says why it cannot be told which rows are new since some runs; empty where it can.

    Args:
      runs: The runs of the dataset that are read now.
      known: The finish times, by name, that `runs_in` has returned then.
    """
    if lost := removed_run(runs, known):
        return f"the run {lost}, whose rows it has, was removed or is not read any more"
    for run in runs:
        if not has_rows_of(run, known) and run.replaces.items() & known.items():
            return f"the run {run.run_id} merges runs that it has with others"
    return ""
