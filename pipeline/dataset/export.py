"""A committed export, as its .export.json tells it, and the exports that a target has got."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.dataset.committed import CommittedFiles
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.layout import CHANGES, EXPORT_FILE
from image_features.pipeline.dataset.run import Run

_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Export(CommittedFiles):
    """A committed export; one to a database has its name in the place of a directory."""

    commit_file = EXPORT_FILE
    command = ("export", "export to another directory")

    def check(self) -> None:
        """Looks at all that readers need."""
        _ = self.counts, self.runs, self.identity, self.number
        _ = self.rows, self.run_id

    @property
    def run_id(self) -> str:
        """The name of the export."""
        return str(self.commit.record["run_id"])

    @property
    def fingerprint(self) -> str:
        """The hash of all that the exported rows depend on."""
        return str(self.commit.record["fingerprint"])

    @property
    def number(self) -> int:
        """How many exports the target had before."""
        return int(self.commit.record["number"])

    @property
    def runs(self) -> Mapping[str, str]:
        """The runs whose rows the target has: their finish times by their names.

        Those that were merged into one of them are among them.
        """
        return dict(self.commit.record["runs"])

    @property
    def identity(self) -> Mapping[str, Any]:
        """What exports to one target must have in common, such as the model and the type."""
        return dict(self.commit.record["identity"])

    @property
    def rows(self) -> int:
        """The number of rows that the target has with this export."""
        return int(self.commit.record["rows"])

    @functools.cached_property
    def counts(self) -> RunCounts:
        """The numbers of rows, by what became of them."""
        return RunCounts.from_json(self.commit.record["counts"])

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
