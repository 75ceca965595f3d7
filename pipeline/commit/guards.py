"""The guards, which a run must satisfy before it is committed."""

from __future__ import annotations

import dataclasses
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.commit.drift import Drift
from image_features.pipeline.config import Guards
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.failures import ErrorShards, in_words
from image_features.transforms.stores.files import create_whole, open_plain
from image_features.transforms.values import Cause, cause_of

_LOG = logging.getLogger(__name__)
_RECORD = "guard.json"
# A run is refused if more than this part of its new rows failed by one cause other than the rows,
# unless they are few, or --max_error_rate allows a larger part.
_MOST = 0.5
_FEW_ROWS = 100
_REASONS = 3
_AT_FAULT = {
    Cause.NETWORK: "the network or the servers",
    Cause.RIGHTS: "rights that are missing",
    Cause.MACHINE: "the machine or the store",
    Cause.MODEL: "the model",
}
_COMMIT_ANYWAY = "Mend the cause, or pass --max_error_rate=1 to commit all the same."


def check(
    guards: Guards,
    counts: RunCounts,
    *,
    seconds: float,
    drift: Mapping[str, Drift],
    errors: ErrorShards | None = None,
) -> list[str]:
    """Returns a sentence for every limit that a run breaks.

    Args:
      guards: The limits.
      counts: The numbers of rows, by what became of them.
      seconds: The time that the run has lasted.
      drift: The comparison of each model's features with an earlier run's, if there is one.
      errors: The errors shards of the run.
    """
    broken = []
    failed, rows = counts.rows_failed, counts.rows_in
    if guards.max_error_rate is not None and failed > guards.max_error_rate * rows:
        broken.append(
            f"{failed} of {rows} rows failed ({failed / rows:.2%}), more than "
            f"--max_error_rate={guards.max_error_rate:g} allows: {_reasons(counts, errors)}"
        )
    elif problem := _worthless(guards, counts):
        broken.append(f"{problem}: {_reasons(counts, errors)} {_COMMIT_ANYWAY}")
    if guards.min_rows is not None and counts.rows_read < guards.min_rows:
        broken.append(
            f"Only {counts.rows_read} rows were read, fewer than --min_rows={guards.min_rows}; "
            "is the manifest whole?"
        )
    if guards.max_duration is not None and seconds > guards.max_duration:
        broken.append(
            f"The run lasted {seconds:.0f} s, longer than --max_duration={guards.max_duration:g}."
        )
    for name, apart in drift.items() if guards.fail_on_drift else ():
        if apart.exceeds(guards.drift_threshold):
            broken.append(
                f"The features{f' of {name}' if name else ''} have drifted: {apart}, beyond "
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


def guards_section(guards: Guards, lacking: str) -> dict[str, Any]:
    """Returns what run.json says of the guards, and warns of those that compared nothing.

    Args:
      guards: The limits.
      lacking: Why the features could not be compared with an earlier run's, if they could not.
    """
    if guards.fail_on_drift and lacking:
        sentence = f"--fail_on_drift had nothing to compare with: {lacking}."
        guards = dataclasses.replace(guards, unchecked=(*guards.unchecked, sentence))
    for sentence in guards.unchecked:
        _LOG.warning("%s", sentence)
    return guards.to_json()


def _worthless(guards: Guards, counts: RunCounts) -> str:
    """Returns what makes a run worthless whatever its limits are, or an empty text."""
    failed_by_reason, limit = counts.failed_by_reason, guards.max_error_rate
    missing = _failed_by(Cause.INSTALLATION, failed_by_reason)
    if missing and limit is None:
        return f"{missing} rows need a library that is not installed"
    for cause, at_fault in _AT_FAULT.items():
        failed = _failed_by(cause, failed_by_reason)
        # What failed the night before fails every night, and says nothing of this one.
        known = min(failed, _failed_by(cause, guards.failed_before))
        failed, rows = failed - known, counts.rows_done - known
        if rows > _FEW_ROWS and failed > max(_MOST, limit or 0.0) * rows:
            return f"{failed} of {rows} new rows failed by {at_fault}"
    if limit is None and counts.rows_in and not counts.rows_out + counts.rows_unchanged:
        return f"None of the {counts.rows_in} {guards.achieved}"
    return ""


def _failed_by(cause: Cause, failed_by_reason: Mapping[str, int]) -> int:
    return sum(count for reason, count in failed_by_reason.items() if cause_of(reason) is cause)


def _reasons(counts: RunCounts, errors: ErrorShards | None) -> str:
    """Returns the commonest reasons, each with an example and the way out, and where they lie."""
    messages = errors.messages(counts.failed_by_reason) if errors else {}
    ordered = sorted(counts.failed_by_reason.items(), key=lambda item: (-item[1], item[0]))
    told = [in_words(reason, count, messages.get(reason)) for reason, count in ordered[:_REASONS]]
    more = len(ordered) - len(told)
    listed = " | ".join([*told, f"{more} more reasons"] if more > 0 else told).rstrip(".")
    return f"{listed}. The rows: {errors}." if errors else f"{listed}."


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
