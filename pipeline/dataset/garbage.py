"""The parts of a dataset that are of no more use: merged runs, and attempts that died."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence

from apache_beam.io.filesystems import FileSystems

from image_features.errors import RunHeldError, RunNotFoundError, UnsoundRunError
from image_features.pipeline.dataset.claim import Claim, is_held
from image_features.pipeline.dataset.file_list import is_list_of_entries, list_of_entries
from image_features.pipeline.dataset.layout import (
    DEDUP_FILE,
    EXPORT_FILE,
    EXPORTS,
    LAUNCH_FILE,
    PACK_FILE,
    RUN_FILE,
    STAGING_NAME,
    dataset_of,
)
from image_features.pipeline.dataset.lost_files import lost_file
from image_features.pipeline.dataset.run import Run, committed_runs, unreplaced
from image_features.transforms.stores.files import remove_file, remove_files, remove_tree
from image_features.transforms.stores.listing import Listed, list_tree

# What other commands have committed in a directory of the dataset is not for `gc`.
_COMMITS = frozenset({PACK_FILE, EXPORT_FILE, DEDUP_FILE})


@dataclasses.dataclass(frozen=True)
class Garbage:
    """A directory to remove.

    Attributes:
      directory: The directory to remove, with everything in it, or one file.
      why: The reason, as `gc` prints it.
      bytes: The size of its files.
      finished: The finish time, checked again before deletion; empty if the run is not committed.
      staging: The staging directory of an attempt, which somebody may take up; empty if there is
        no attempt.
      is_file: Whether it is one file, which no commit names.
    """

    directory: str
    why: str
    bytes: int
    finished: str = ""
    staging: str = ""
    is_file: bool = False


@dataclasses.dataclass(frozen=True)
class Contents:
    """What lies in a dataset.

    Attributes:
      runs: The committed runs, the latest first.
      files: The files by directory of the dataset and path within that.
    """

    runs: Sequence[Run]
    files: Mapping[str, Mapping[str, Listed]]


def look_at(dataset: str) -> Contents:
    """Lists a dataset, once for all that is asked of it.

    Raises:
      RunNotFoundError: there is no committed run and no attempt at one.
      UnreadableRunError: a run.json cannot be read, and it may name runs that are to be kept.
    """
    try:
        runs = committed_runs(dataset)
    except RunNotFoundError:
        runs = []
    files = _files_by_run(dataset)
    if not runs and not any(_is_attempt(names) for names in files.values()):
        raise RunNotFoundError(f"There is no run in {dataset}, and no attempt at one.")
    return Contents(runs, files)


def find_garbage(contents: Contents, *, merged_before: float, died_before: float) -> list[Garbage]:
    """Finds what can be removed.

    Args:
      contents: What lies in the dataset.
      merged_before: The Unix time after which a merging is too young for its runs to be removed,
        since somebody may still be reading them.
      died_before: The Unix time after which an attempt that has written something is kept.

    Raises:
      UnsoundRunError: a merged run lacks files that run.json lists.
    """
    runs, files = contents.runs, contents.files
    found = list(_replaced(runs, files, merged_before))
    gone = {garbage.directory for garbage in found}
    found += _unnamed_lists(contents, gone, died_before)
    committed = {run.directory for run in runs}
    for directory, names in sorted(files.items()):
        staged = {name: file for name, file in names.items() if name.startswith(f"{STAGING_NAME}/")}
        if directory in gone or not staged:
            continue
        newest = max(file.written for file in staged.values())
        staging = FileSystems.join(directory, STAGING_NAME)
        if newest > died_before or is_held(staging):
            continue
        if directory in committed:
            why = "left in a committed run"
            found.append(Garbage(staging, why, _size(staged), staging=staging))
        elif RUN_FILE not in names and _is_attempt(names):
            why = "an attempt that was not committed"
            found.append(Garbage(directory, why, _size(names), staging=staging))
    return found


def remove(garbage: Garbage) -> None:
    """Removes garbage; what is left by a failure is found again the next time.

    Raises:
      RunHeldError: the run has been taken up again.
      OSError, transforms.stores.retries.FetchError: something could not be removed.
    """
    directory = garbage.directory
    if garbage.is_file:
        remove_file(directory)
        return
    if garbage.staging:
        Claim(garbage.staging).take()
    elif not garbage.finished and FileSystems.exists(
        FileSystems.join(directory, STAGING_NAME, LAUNCH_FILE)
    ):
        raise RunHeldError("it was begun anew meanwhile")
    if directory != garbage.staging:
        found = Run.read(directory)
        if (found.finished if found else "") != garbage.finished:
            raise RunHeldError("it was committed meanwhile")
        if garbage.finished:
            # Its name must go first, also for the disk.
            remove_file(FileSystems.join(directory, RUN_FILE))
    # By the staging directory an attempt is known for one, so it goes last.
    remove_files(directory)
    remove_tree(directory)


def _unnamed_lists(contents: Contents, gone: set[str], died_before: float) -> Iterator[Garbage]:
    """Yields what attempts have left that died, or lost, just before the file that commits."""
    for run in contents.runs:
        named = list_of_entries(run.commit.record)
        strays = [
            file
            for name, file in contents.files.get(run.directory, {}).items()
            if is_list_of_entries(name) and name != named and file.written <= died_before
        ]
        staging = FileSystems.join(run.directory, STAGING_NAME)
        if strays and run.directory not in gone and not is_held(staging):
            for file in strays:
                yield Garbage(file.path, "lists files for no commit", file.size, is_file=True)


def _replaced(
    runs: Sequence[Run], files: Mapping[str, Mapping[str, Listed]], merged_before: float
) -> Iterator[Garbage]:
    """Yields the runs that current ones were merged from, which readers do not look at any more."""
    for merged in unreplaced(runs):
        replaced = [
            run
            for run in sorted(runs, key=lambda run: run.as_of)
            if merged.replaces.get(run.run_id) == run.finished
        ]
        leftovers = [
            directory
            for name in merged.replaces
            if (directory := FileSystems.join(dataset_of(merged.directory), name)) in files
            and RUN_FILE not in files[directory]
            and not _is_attempt(files[directory])
        ]
        if not (replaced or leftovers) or _time(merged.finished) > merged_before:
            continue
        lost = lost_file(merged, merged.all_files, [*list_tree(merged.directory)])
        if lost:
            raise UnsoundRunError(
                f"{merged.directory} has lost {lost.name}: what is left of the runs that it "
                "replaces is kept. Copy the file from a backup."
            )
        why = f"merged into {merged.run_id}"
        for run in replaced:
            size = _size(files.get(run.directory, {}))
            yield Garbage(run.directory, why, size, run.finished)
        for directory in leftovers:
            yield Garbage(directory, f"left of a run {why}", _size(files[directory]))


def _files_by_run(dataset: str) -> dict[str, dict[str, Listed]]:
    """Returns the metadata of every file, by directory of the dataset and path within that.

    Exports to databases have a directory each in one of their own. The pieces of an attempt are
    millions, of which only the size of all and the last time matter: a directory of them counts as
    one file.
    """
    found: dict[str, dict[str, Listed]] = {}
    root = dataset.rstrip("/")
    for file in list_tree(root):
        name, _, rest = file.path[len(root) + 1 :].partition("/")
        if name == EXPORTS:
            inner, _, rest = rest.partition("/")
            name = f"{name}/{inner}"
        if not rest:
            continue
        names = found.setdefault(FileSystems.join(root, name), {})
        if rest.startswith(f"{STAGING_NAME}/") and rest.count("/") > 1:
            rest, _, _ = rest.rpartition("/")
            before = names.get(rest, Listed(file.path.rpartition("/")[0], 0, 0.0))
            size, written = before.size + file.size, max(before.written, file.written)
            file = before._replace(size=size, written=written)
        names[rest] = file
    return found


def _is_attempt(names: Mapping[str, Listed]) -> bool:
    """Tells whether a directory holds an attempt of ours, since nothing else may be removed."""
    return f"{STAGING_NAME}/{LAUNCH_FILE}" in names and _COMMITS.isdisjoint(names)


def _size(files: Mapping[str, Listed]) -> int:
    return sum(file.size for file in files.values())


def _time(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()
