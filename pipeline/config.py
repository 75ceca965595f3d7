"""The typed configuration of an extraction, apart from how flags spell it."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping

from image_features.models.engines import PreparedModel
from image_features.pipeline.commit.guards import Guards
from image_features.pipeline.dataset.layout import RunLayout
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.pixels import DecodePolicy
from image_features.transforms.merge_rows import Merge
from image_features.transforms.read_manifest import ManifestSpec
from image_features.transforms.skip_known import Known

_RUN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")


@dataclasses.dataclass(frozen=True)
class Merging:
    """Committed runs that become one.

    Attributes:
      merge: Their files.
      run_ids: Their names, the latest first.
      replaces: The names and finish times of all that their rows are from: runs that were merged
        into one of them are not to come back when that one is removed.
      as_of: When the latest of them was finished.
      rows: In all of them.
      removed: Of them, those that the last input did not name already.
    """

    merge: Merge
    run_ids: tuple[str, ...]
    replaces: Mapping[str, str]
    as_of: str
    rows: int
    removed: int = 0


@dataclasses.dataclass(frozen=True)
class ExtractConfig:
    """Everything one run depends on.

    Attributes:
      manifest: What to read.
      layout: Where to write.
      run_id: Name of the run, last part of its directory.
      model: What to run.
      fetch: How to fetch.
      decode: How to decode and resize.
      shards: How many output shards.
      keep_secrets: Whether URIs keep their credentials and signatures in the output.
      cpu_threads: Threads that decode and compute within a worker; None for one a core.
      started: When the launcher began, ISO 8601, UTC.
      resumed: Whether an earlier attempt has left something to take over.
      guards: What must hold for a commit.
      known: What the dataset has already and need not be made again; None to make all.
      merging: The runs to make it of, instead of images.
    """

    manifest: ManifestSpec
    layout: RunLayout
    run_id: str
    model: PreparedModel
    fetch: FetchPolicy
    decode: DecodePolicy
    shards: ShardPolicy
    keep_secrets: bool
    cpu_threads: int | None
    started: str
    resumed: bool = False
    guards: Guards = Guards()
    known: Known | None = None
    merging: Merging | None = None

    @property
    def skips(self) -> bool:
        """Whether there is anything that images need not be made again for."""
        return self.known is not None and bool(self.known.files)


def utc_now() -> str:
    """The time, ISO 8601 with microseconds, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat()


def default_run_id() -> str:
    """A run id that sorts by time: 20250131T235959Z."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")


def is_run_id(text: str) -> bool:
    """Whether a text can name a run: a safe directory name."""
    return _RUN_ID.fullmatch(text) is not None
