"""What a run looks like on disk, and what of it a reader may see."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.shards.write_shards import ShardNaming
from image_features.transforms.stores.files import open_plain

RUN_FILE = "run.json"
LAUNCH_FILE = "launch.json"
CLAIM_FILE = "claim.json"
FORMAT_VERSION = 1
STAGING_NAME = ".staging"
# Of shards that list rows which the input does not name any more: told only, or gone to readers.
REMOVED_KINDS = ("removed", "tombstones")


class RunNotFoundError(ValueError):
    """There is no committed run where one was asked for."""


class UnreadableRunError(ValueError):
    """There is a commit file that this version cannot read."""


@dataclasses.dataclass(frozen=True)
class RunLayout:
    """The paths of one run.

    Attributes:
      directory: OUT/<run_id>.
      compression: "none" or "gzip".
      fingerprint: Of what the run's bytes depend on.
      tombstones: Whether rows that the input names no more are hidden, or only told.
    """

    directory: str
    compression: str = "none"
    fingerprint: str = ""
    tombstones: bool = False

    @property
    def staging(self) -> str:
        """Where unfinished work lives; gone after the commit."""
        return FileSystems.join(self.directory, STAGING_NAME)

    @property
    def features(self) -> ShardNaming:
        """Names of the feature shards."""
        suffix = RECORDS.suffix + (".gz" if self.compression == "gzip" else "")
        return self._naming("features", suffix, fingerprint=self.fingerprint, indexed=True)

    @property
    def errors(self) -> ShardNaming:
        """Names of the errors shards."""
        return self._naming("errors", ".jsonl")

    @property
    def removed(self) -> ShardNaming:
        """Names of the shards of removed rows, which readers heed if they are tombstones."""
        return self._naming(REMOVED_KINDS[self.tombstones], ".jsonl")

    def _naming(
        self, kind: str, suffix: str, *, fingerprint: str = "", indexed: bool = False
    ) -> ShardNaming:
        return ShardNaming(
            kind, self.directory, self.staging, suffix, fingerprint, indexed, self.path(RUN_FILE)
        )

    def path(self, name: str) -> str:
        """Path of a file in the run."""
        return FileSystems.join(self.directory, name)


def read_run(directory: str) -> dict[str, Any] | None:
    """Returns run.json of a directory, or None if it is not a committed run.

    Raises:
      UnreadableRunError: run.json is there but is not one of ours.
      OSError: it cannot be read.
    """
    path = FileSystems.join(directory, RUN_FILE)
    with _one_kind_of_error():
        if not FileSystems.exists(path):
            return None
        with open_plain(path) as file:
            data = file.read()
    try:
        run = json.loads(data)
        version = run["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableRunError(f"{path} is not a run's commit file: {error}.") from error
    if version > FORMAT_VERSION:
        raise UnreadableRunError(
            f"{path} has format {version}, this version reads up to {FORMAT_VERSION}: upgrade."
        )
    return dict(run)


def committed_runs(path: str) -> list[tuple[str, dict[str, Any]]]:
    """Directory and run.json of the committed run at a path, or of all one level below.

    The latest comes first.

    Raises:
      RunNotFoundError: there is none.
      UnreadableRunError: one of them is not as this version or an earlier one writes it.
      ValueError: the path would be taken for a pattern.
    """
    run = read_run(path)
    if run is not None:
        return [(path, run)]
    runs = []
    for directory in run_directories(path):
        found = read_run(directory)
        if found is not None:
            runs.append((directory, found))
    if not runs:
        raise RunNotFoundError(
            f"There is no committed run at {path}: no {RUN_FILE} there or one level below."
        )
    return sorted(runs, key=_age, reverse=True)


def run_directories(dataset: str) -> dict[str, float]:
    """The directories in a dataset that have a run.json, and when it was written, in Unix time.

    Raises:
      ValueError: the path would be taken for a pattern.
    """
    check_path(dataset)
    if "://" not in dataset:
        found = {}
        if os.path.isdir(dataset):
            for name in sorted(os.listdir(dataset)):
                path = os.path.join(dataset, name, RUN_FILE)
                if os.path.isfile(path):
                    found[os.path.join(dataset, name)] = os.stat(path).st_mtime
        return found
    with _one_kind_of_error():
        matches = FileSystems.match([FileSystems.join(dataset, "*", RUN_FILE)])[0].metadata_list
    return {
        match.path.rpartition("/")[0]: match.last_updated_in_seconds or 0.0 for match in matches
    }


@contextlib.contextmanager
def _one_kind_of_error() -> Iterator[None]:
    """Makes an OSError of what file systems raise: Google's client has errors of its own."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise OSError(str(error)) from error


def dataset_of(directory: str) -> str:
    """The dataset that a run's directory is in."""
    return directory.rstrip("/").rpartition("/")[0]


def check_path(path: str) -> None:
    """Makes sure that no file system takes a path for a pattern of other ones.

    Raises:
      ValueError: it does.
    """
    found = sorted(set(path) & set("*?[]"))
    if found:
        raise ValueError(
            f"{path} holds {' '.join(found)}, which would stand for other directories; name it "
            "without."
        )


def _age(item: tuple[str, dict[str, Any]]) -> tuple[str, str, str]:
    directory, run = item
    return as_of(run), str(run["finished"]), directory


def as_of(run: Mapping[str, Any]) -> str:
    """The time that a run's rows are of: its commit's, or of the latest run that was merged."""
    return str(run.get("as_of") or run["finished"])


def find_run(path: str) -> tuple[str, dict[str, Any]]:
    """Finds the committed run at a path: itself, or the latest one below it.

    Raises:
      RunNotFoundError: there is none.
    """
    return committed_runs(path)[0]
