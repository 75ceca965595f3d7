"""The typed configuration of a run, apart from how flags spell it."""

from __future__ import annotations

import dataclasses
import datetime
import re
import secrets
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from image_features.pipeline.dataset.export import Export
from image_features.pipeline.dataset.layout import RunLayout
from image_features.pipeline.dataset.pack import Pack
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dataset.run import Run
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.exports.store import VectorStore

Committed = TypeVar("Committed", covariant=True)
# What workers that write an export of these formats need is an extra of the same name.
_EXTRAS = frozenset({"lance", "pgvector", "qdrant"})
_RUN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
# A PSI above 0.25 is a major shift by the convention of credit scoring, where the index is from
# (Siddiqi, "Credit Risk Scorecards", Wiley 2006); a difference of means of 0.2 deviations is a
# small effect and one of 0.5 a medium one according to Cohen ("Statistical Power Analysis for the
# Behavioral Sciences", 1988), and here the difference is a mean over all dimensions.
DRIFT_THRESHOLD = 0.25


@dataclasses.dataclass(frozen=True)
class Guards:
    """The limits that a run must keep to be committed; None is no limit.

    Attributes:
      max_error_rate: The largest share of failed rows among all, unchanged ones included: rows
        that fail every night are then the same share on a night with nothing else to do. None
        refuses only what no run should be (see `pipeline.commit.guards`).
      max_removed_rate: The largest share of the rows, known or read, that the input may cease
        to name.
      min_rows: The number of rows that must have been read.
      max_duration: The longest time from the launch to the commit, in seconds.
      fail_on_drift: Whether drift stops the commit, or is only reported.
      drift_threshold: The measure above which drift counts (see `pipeline.commit.drift`).
      removed_before: The number of rows that the last run's input did not name already.
      failed_before: The number of rows, by reason, that failed in the run that this one goes on
        from, and are expected to fail again.
      unchecked: A sentence for each guard that has nothing to compare with.
      achieved: The end of the sentence that says that none of the rows has come to anything.
    """

    max_error_rate: float | None = None
    min_rows: int | None = None
    max_duration: float | None = None
    fail_on_drift: bool = False
    drift_threshold: float = DRIFT_THRESHOLD
    max_removed_rate: float | None = None
    removed_before: int = 0
    failed_before: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    achieved: str = "rows has features"

    def to_json(self) -> dict[str, Any]:
        """The object `guards` of run.json."""
        return {
            "max_error_rate": self.max_error_rate,
            "min_rows": self.min_rows,
            "max_duration": self.max_duration,
            "fail_on_drift": self.fail_on_drift,
            "drift_threshold": self.drift_threshold,
            "max_removed_rate": self.max_removed_rate,
            "removed_before": self.removed_before,
            "failed_before": dict(self.failed_before),
            "unchecked": list(self.unchecked),
        }


@dataclasses.dataclass(frozen=True)
class JobConfig(Generic[Committed]):
    """The configuration of everything that is launched and committed.

    Attributes:
      layout: The paths of the run.
      started: The time of the launch, ISO 8601, UTC; it tells this launch's attempts from others.
      shards: The rule that gives the number of shards.
      guards: The limits that the run must keep to be committed.
    """

    layout: RunLayout
    started: str
    shards: ShardPolicy
    guards: Guards = dataclasses.field(default=Guards(), kw_only=True)

    @property
    def run_id(self) -> str:
        """The name of the run."""
        return self.layout.run_id

    @property
    def extra(self) -> str:
        """The extra of our distribution that workers need; empty if they need none."""
        return ""

    def committed(self) -> Committed | None:
        """Reads what was committed; None as long as nothing is."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class RunConfig(JobConfig[Run]):
    """The configuration of every run, whether it extracts features or merges earlier runs.

    Attributes:
      provenance: The sources of the features.
    """

    provenance: Provenance

    def committed(self) -> Run | None:
        """Reads the committed run; None as long as there is none."""
        return Run.read(self.layout.directory)


@dataclasses.dataclass(frozen=True)
class PackConfig(JobConfig[Pack]):
    """The configuration of a packing.

    Attributes:
      recipe: The fields of pack.json that tell what was packed and how.
    """

    recipe: Mapping[str, Any]

    def committed(self) -> Pack | None:
        """Reads the committed archives; None as long as there are none."""
        return Pack.read(self.layout.directory)


@dataclasses.dataclass(frozen=True)
class ExportConfig(JobConfig[Export]):
    """The configuration of an export.

    Attributes:
      recipe: The fields of .export.json that tell what is exported and how.
      store: The database that keeps .export.json; None where it is a file of the target.
    """

    recipe: Mapping[str, Any]
    store: VectorStore | None = None

    @property
    def extra(self) -> str:
        """The extra of our distribution that workers need, which is named as the format."""
        name = str(self.recipe["identity"]["format"])
        return name if name in _EXTRAS else ""

    def committed(self) -> Export | None:
        """Reads what was exported; None as long as nothing is."""
        if self.store is None:
            return Export.read(self.layout.directory)
        record = self.store.last_export()
        mine = record is not None and record.get("run_id") == self.run_id
        return Export.of(self.store.shown, record) if record and mine else None


def utc_now() -> str:
    """Returns the time, ISO 8601 with microseconds, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat()


def default_run_id() -> str:
    """Returns a run id that sorts by time and is nobody else's: 20250131T235959Z-5f3a9c."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def is_run_id(text: str) -> bool:
    """Tells whether a text is a safe directory name, and so can name a run."""
    return _RUN_ID.fullmatch(text) is not None
