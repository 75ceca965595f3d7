"""Guards: what must hold of a run before it is committed."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.commit.drift import DRIFT_THRESHOLD, Drift
from image_features.transforms.stores.files import create_whole, open_plain

_RECORD = "guard.json"


@dataclasses.dataclass(frozen=True)
class Guards:
    """The limits in force; None is no limit.

    Attributes:
      max_error_rate: Part of the rows that may fail, unchanged ones among them: what fails every
        night is the same part of them on a night with nothing else to do.
      max_removed_rate: Part of the rows, known or read, that the input may name no more where it
        did before.
      min_rows: Rows that must have been read.
      max_duration: Seconds from the launch to the commit.
      fail_on_drift: Whether drift stops the commit, or is only told.
      drift_threshold: What is called drift (`pipeline.commit.drift`).
      removed_before: Rows that the last run's input did not name already.
    """

    max_error_rate: float | None = None
    min_rows: int | None = None
    max_duration: float | None = None
    fail_on_drift: bool = False
    drift_threshold: float = DRIFT_THRESHOLD
    max_removed_rate: float | None = None
    removed_before: int = 0


def check(
    guards: Guards, counts: Mapping[str, Any], *, seconds: float, drift: Drift | None
) -> list[str]:
    """Returns a sentence for every limit that a run breaks.

    Args:
      guards: The limits.
      counts: Of run.json.
      seconds: That the run has lasted.
      drift: The comparison with an earlier run, if there is one.
    """
    broken = []
    failed, rows = counts["rows_failed"], counts["rows_in"]
    if guards.max_error_rate is not None and failed > guards.max_error_rate * rows:
        broken.append(
            f"{failed} of {rows} rows failed ({failed / rows:.2%}), more than "
            f"--max_error_rate={guards.max_error_rate:g} allows."
        )
    if guards.min_rows is not None and counts["rows_read"] < guards.min_rows:
        broken.append(
            f"Only {counts['rows_read']} rows were read, fewer than --min_rows={guards.min_rows}; "
            "is the manifest whole?"
        )
    if guards.max_duration is not None and seconds > guards.max_duration:
        broken.append(
            f"The run lasted {seconds:.0f} s, longer than --max_duration={guards.max_duration:g}."
        )
    if guards.fail_on_drift and drift is not None and drift.exceeds(guards.drift_threshold):
        broken.append(
            f"The features have drifted: {drift}, beyond "
            f"--drift_threshold={guards.drift_threshold:g}."
        )
    removed, kept = max(0, counts["rows_removed"] - guards.removed_before), counts["rows_in"]
    if guards.max_removed_rate is not None and removed > guards.max_removed_rate * (removed + kept):
        broken.append(
            f"{removed} rows of the dataset are not in the input any more "
            f"({removed / (removed + kept):.2%}), more than "
            f"--max_removed_rate={guards.max_removed_rate:g} allows; is the manifest whole?"
        )
    return broken


def record(staging: str, started: str, sentences: Sequence[str]) -> None:
    """Leaves the sentences for the launcher, to which an exception comes as text if at all.

    Args:
      staging: The run's staging directory.
      started: When the launcher began, which tells its attempt from others.
      sentences: What `check` returned.
    """
    part = FileSystems.join(staging, f"{_RECORD}.{uuid.uuid4().hex}")
    with create_whole(FileSystems.join(staging, _RECORD), part) as file:
        file.write(json.dumps({"started": started, "guards": list(sentences)}).encode())


def recorded(staging: str, started: str) -> list[str]:
    """The sentences that stopped this attempt's commit; none if no guard has."""
    path = FileSystems.join(staging, _RECORD)
    try:
        if not FileSystems.exists(path):
            return []
        with open_plain(path) as file:
            found = json.loads(file.read())
    except Exception:  # Each file system has its own; the failure is told without this.
        return []
    return list(found["guards"]) if found.get("started") == started else []
