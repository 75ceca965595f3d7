"""The files and directories of a run and of a dataset of runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator

from apache_beam.io.filesystems import FileSystems

from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.record_format import RECORDS

RUN_FILE = "run.json"
PACK_FILE = "pack.json"
# Readers of a directory of Parquet pass names with an underscore over.
EXPORT_FILE = ".export.json"
DEDUP_FILE = "dedup.json"
LAUNCH_FILE = "launch.json"
CLAIM_FILE = "claim.json"
HEALTH_FILE = "health.json"
METRICS_FILE = "metrics.prom"
STAGING_NAME = ".staging"
# The kinds of shards that list rows missing from the input: reported, or also hidden from readers.
REMOVED = "removed"
TOMBSTONES = "tombstones"
# The directory of the changes that a directory of exported files has got after the first export.
CHANGES = ".changes"
# The directory of a dataset with the unfinished work of exports to databases.
EXPORTS = ".exports"
# The name of a run may have 128 characters, and that of a piece within it 90.
_LONGEST_NAME = 256


@dataclasses.dataclass(frozen=True)
class RunLayout:
    """The paths of one run.

    Attributes:
      directory: The directory of the run, OUT/<run_id>.
      compression: "none" or "gzip".
      fingerprint: A hash of everything that the run's bytes depend on.
      tombstones: Whether rows that the input does not name any more are hidden from readers.
    """

    directory: str
    compression: str = "none"
    fingerprint: str = ""
    tombstones: bool = False

    @property
    def commit_file(self) -> str:
        """The name of the file that commits the run."""
        return RUN_FILE

    @property
    def run_id(self) -> str:
        """The name of the run, which is the last part of its directory."""
        return self.directory.rstrip("/").rpartition("/")[2]

    @property
    def dataset(self) -> str:
        """The directory of the dataset that the run belongs to."""
        return dataset_of(self.directory)

    @property
    def staging(self) -> str:
        """The directory of unfinished work, which the commit removes."""
        return FileSystems.join(self.directory, STAGING_NAME)

    @property
    def features(self) -> ShardNaming:
        """The names of the feature shards."""
        suffix = RECORDS.suffix + (".gz" if self.compression == "gzip" else "")
        return self._naming("features", suffix, fingerprint=self.fingerprint, indexed=True)

    @property
    def errors(self) -> ShardNaming:
        """The names of the errors shards."""
        return self._naming("errors", ".jsonl")

    @property
    def removed(self) -> ShardNaming:
        """The names of the shards of removed rows, which readers heed if they are tombstones."""
        return self._naming(TOMBSTONES if self.tombstones else REMOVED, ".jsonl")

    def _naming(
        self, kind: str, suffix: str, *, fingerprint: str = "", indexed: bool = False
    ) -> ShardNaming:
        return ShardNaming(
            kind,
            self.directory,
            self.staging,
            suffix,
            fingerprint,
            indexed,
            self.path(self.commit_file),
        )

    def path(self, name: str) -> str:
        """Returns the path of a file in the run."""
        return FileSystems.join(self.directory, name)


@dataclasses.dataclass(frozen=True)
class PackLayout(RunLayout):
    """The paths of a directory of archives, which is a run of its own.

    Attributes:
      suffix: The suffix of the archives, with its dot.
    """

    suffix: str = ".tar"

    @property
    def commit_file(self) -> str:
        """The name of the file that commits the archives; no reader of features looks for it."""
        return PACK_FILE

    @property
    def images(self) -> ShardNaming:
        """The names of the archives."""
        return self._naming("images", self.suffix, fingerprint=self.fingerprint)


@dataclasses.dataclass(frozen=True)
class ExportLayout(RunLayout):
    """The paths of one export: TARGET itself, or TARGET/.changes/NNNNNN for what changed since.

    An export to a database has a directory of the dataset for its unfinished work, the same one for
    all exports to that database.

    Attributes:
      name: The name of the export; empty for that of its directory.
    """

    name: str = ""

    @property
    def commit_file(self) -> str:
        """The name of the file that commits the export."""
        return EXPORT_FILE

    @property
    def run_id(self) -> str:
        """The name of the export."""
        return self.name or super().run_id

    def naming(self, kind: str, suffix: str) -> ShardNaming:
        """Returns the names of the exported files of a kind."""
        return self._naming(kind, suffix)


@dataclasses.dataclass(frozen=True)
class DedupLayout(RunLayout):
    """The paths of the duplicates of a dataset, which are in a directory of their own."""

    @property
    def commit_file(self) -> str:
        """The name of the file that commits what was found."""
        return DEDUP_FILE


def dataset_of(directory: str) -> str:
    """Returns the directory of the dataset that a run's directory is in."""
    return directory.rstrip("/").rpartition("/")[0]


def run_directories(dataset: str) -> dict[str, float]:
    """Lists the directories of a dataset that have a run.json.

    Returns:
      The time at which each run.json was written, in Unix time, by directory.

    Raises:
      ValueError: the path would be taken for a pattern.
      OSError: the dataset cannot be listed.
    """
    if "://" not in dataset:
        found = {}
        if os.path.isdir(dataset):
            for name in sorted(os.listdir(dataset)):
                path = os.path.join(dataset, name, RUN_FILE)
                if os.path.isfile(path):
                    found[os.path.join(dataset, name)] = os.stat(path).st_mtime
        return found
    check_path(dataset)
    with only_os_errors():
        matches = FileSystems.match([FileSystems.join(dataset, "*", RUN_FILE)])[0].metadata_list
    return {
        match.path.rpartition("/")[0]: match.last_updated_in_seconds or 0.0 for match in matches
    }


def check_path(path: str) -> None:
    """Makes sure that a dataset can be at a path, and that no store takes it for a pattern.

    Raises:
      ValueError: it cannot, as the message says.
    """
    if path == "/":
        raise ValueError("it is the root of all paths; name a directory below it")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        # Engines hand the paths of files on as text.
        raise ValueError("its name is not UTF-8; name a directory whose path is") from None
    if "://" not in path and size + _LONGEST_NAME > os.pathconf("/", "PC_PATH_MAX"):
        raise ValueError(f"its path is too long, {size} bytes; name a directory with a shorter one")
    found = sorted(set(path) & set("*?[]"))
    if found and "://" in path:
        raise ValueError(
            f"{path} holds {' '.join(found)}, which would stand for other directories; name it "
            "without."
        )


@contextlib.contextmanager
def only_os_errors() -> Iterator[None]:
    """Turns what file systems raise into OSError, since Google's client has errors of its own."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise OSError(str(error)) from error
