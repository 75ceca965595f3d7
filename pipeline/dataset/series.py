"""The series of a dataset: the runs that readers see together, and those that these hide."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from image_features.errors import UsageError
from image_features.pipeline.dataset.lost_files import check_whole
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dataset.run import Run, current_runs
from image_features.pipeline.locations import explain
from image_features.system.paths import absolute
from image_features.transforms.manifests.columns import Column

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Series:
    """The current runs of a dataset, by whether readers see them.

    Attributes:
      runs: The runs that are read together, the latest first: their vectors can be compared, and
        their columns hold values of the same types.
      hidden: The other runs with rows, the latest first; each can be read by its own directory.
    """

    runs: tuple[Run, ...]
    hidden: tuple[Run, ...] = ()

    @classmethod
    def of(cls, current: Sequence[Run]) -> Series:
        """Divides the current runs of a dataset, the latest first, by what the latest one is."""
        runs = fitting(current, current[0].provenance)
        hidden = [run for run in current if run.rows and run not in runs]
        return cls(tuple(runs), tuple(hidden))

    @property
    def rows_hidden(self) -> int:
        """The number of rows of the hidden runs."""
        return sum(run.rows for run in self.hidden)

    def hidden_in_words(self) -> str:
        """Returns what is hidden and why; an empty text if nothing is."""
        if not self.hidden:
            return ""
        latest, other = self.runs[0], self.hidden[0]
        why = other.provenance.differences(latest.provenance) or [
            f"column {new.name} {old} -> {new}" for old, new in _clashes(other, latest.columns)
        ]
        return (
            f"{self.rows_hidden} rows are hidden, in {len(self.hidden)} other run(s) such as "
            f"{other.run_id}, which differs from {latest.run_id} "
            f"({', '.join(why) or 'columns of other types'})"
        )


def open_series(path: str, features: str | None = None) -> Series:
    """Finds what readers see at a path, and warns of what is hidden.

    Args:
      path: A run's directory, or a dataset's.
      features: The name of the model whose vectors are read; None is the only one.

    Raises:
      RunNotFoundError: there is no committed run.
    """
    current = current_runs(path)
    series = Series.of([run.reading(features) for run in current])
    if series.hidden:
        _LOG.warning("%s: %s.", path, series.hidden_in_words())
    return series


def open_whole(path: str, features: str | None, *, done: str) -> list[Run]:
    """Finds what readers see at a path, for work that reads all of it, so that no file may be lost.

    Args:
      path: A dataset's directory, or a run's, as the user gave it.
      features: The name of the model whose vectors are read; None is the only one.
      done: What is to be done with it, as "exported".

    Returns:
      The runs, the latest first.

    Raises:
      UsageError: it cannot be read, has several models and none is named, or has lost a file.
    """
    try:
        runs = list(open_series(absolute(path), features).runs)
        _ = runs[0].vector  # There must be one, and one only.
        check_whole(runs, ("features",))
    except UsageError:
        raise
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be {done}: {explain(error)}.") from error
    return runs


def fitting(current: Sequence[Run], provenance: Provenance) -> list[Run]:
    """Returns those of the current runs, the latest first, that a run would be read with.

    Where two of them hold a column with different types, the later one fits.
    """
    columns = {column.name: column for column in provenance.columns}
    found = []
    for run in current:
        clash = any(not columns.get(c.name, c).holds_as(c) for c in run.columns)
        if not clash and run.provenance.is_comparable(provenance):
            columns |= {column.name: column for column in run.columns}
            found.append(run)
    return found


def check_fit(current: Sequence[Run], provenance: Provenance) -> None:
    """Makes sure that a new run will hide nothing that readers see now.

    Args:
      current: The current runs of the dataset, the latest first.
      provenance: The sources of the new run's features.

    Raises:
      UsageError: the run is of another model or preprocessing, or holds a column with another
        type.
    """
    if not current:
        return
    kept = fitting(current, provenance)
    lost = [run for run in Series.of(current).runs if run.rows and run not in kept]
    if not lost:
        return
    other = lost[0]
    why = ", ".join(other.provenance.differences(provenance))
    for old, new in _clashes(other, provenance.columns) if not why else ():
        raise UsageError(
            f"the column {old.name!r} holds {old} in {other.directory} and {new} in the input; "
            f"say --column_types={old.name}:{old}, or pass --new_series to hide {_rows_of(lost)} "
            "from readers"
        )
    raise UsageError(
        f"it would hide {_rows_of(lost)} from readers, since it differs from {other.run_id} "
        f"({why or 'columns of other types'}). Run it as before, choose another --output, or pass "
        "--new_series to mean it"
    )


def merged_columns(runs: Sequence[Run]) -> list[Column]:
    """Returns the columns that rows of a series have; one that a run lacks may be absent."""
    merged: dict[str, Column] = {}
    for run in runs:
        for column in run.columns:
            merged.setdefault(column.name, column)
    for run in runs:
        certain = {column.name for column in run.columns if not column.nullable}
        for name, column in merged.items():
            if name not in certain:
                merged[name] = dataclasses.replace(column, nullable=True)
    return list(merged.values())


def _rows_of(runs: Sequence[Run]) -> str:
    count = f"{len(runs)} runs" if len(runs) > 1 else f"the run {runs[0].run_id}"
    return f"the {sum(run.rows for run in runs)} rows of {count}"


def _clashes(run: Run, columns: Sequence[Column]) -> list[tuple[Column, Column]]:
    """Returns the columns that a run holds with another type, each beside the other one."""
    new = {column.name: column for column in columns}
    return [(old, new[old.name]) for old in run.columns if not new.get(old.name, old).holds_as(old)]
