"""The guards, which a run must satisfy before it is committed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.commit.drift import Drift
from image_features.pipeline.config import Guards
from image_features.pipeline.dataset.counts import RunCounts
from image_features.transforms.stores.files import create_whole, open_plain

_RECORD = "guard.json"


def check(guards: Guards, counts: RunCounts, *, seconds: float, drift: Drift | None) -> list[str]:
    """Returns a sentence for every limit that a run breaks.

    Args:
      guards: The limits.
      counts: The numbers of rows, by what became of them.
      seconds: The time that the run has lasted.
      drift: The comparison with an earlier run, if there is one.
    """
    broken = []
    failed, rows = counts.rows_failed, counts.rows_in
    if guards.max_error_rate is not None and failed > guards.max_error_rate * rows:
        broken.append(
            f"{failed} of {rows} rows failed ({failed / rows:.2%}), more than "
            f"--max_error_rate={guards.max_error_rate:g} allows."
        )
    if guards.min_rows is not None and counts.rows_read < guards.min_rows:
        broken.append(
            f"Only {counts.rows_read} rows were read, fewer than --min_rows={guards.min_rows}; "
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
    removed, kept = max(0, counts.rows_removed - guards.removed_before), counts.rows_in
    if guards.max_removed_rate is not None and removed > guards.max_removed_rate * (removed + kept):
        broken.append(
            f"{removed} rows of the dataset are not in the input any more "
            f"({removed / (removed + kept):.2%}), more than "
            f"--max_removed_rate={guards.max_removed_rate:g} allows; is the manifest whole?"
        )
    return broken


def record_broken(staging: str, started: str, sentences: Sequence[str]) -> None:
    """Leaves the broken guards in staging for the launcher, which sees exceptions as text at best.

    Args:
      staging: The run's staging directory.
      started: The time of the launch, which tells its attempt from others.
      sentences: The sentences that `check` returned.
    """
    part = FileSystems.join(staging, f"{_RECORD}.{uuid.uuid4().hex}")
    with create_whole(FileSystems.join(staging, _RECORD), part) as file:
        file.write(json.dumps({"started": started, "guards": list(sentences)}).encode())


def recorded_broken(staging: str, started: str) -> list[str]:
    """Returns the sentences that stopped this attempt's commit; none if no guard has."""
    path = FileSystems.join(staging, _RECORD)
    try:
        if not FileSystems.exists(path):
            return []
        with open_plain(path) as file:
            found = json.loads(file.read())
    except Exception:  # Each file system has exceptions of its own.
        return []
    return list(found["guards"]) if found.get("started") == started else []
