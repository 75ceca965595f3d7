"""The last steps of every commit: the descriptions of the run, and run.json, which commits it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.errors import CommitError, GuardError
from image_features.pipeline.commit.descriptions import (
    as_json,
    health_document,
    health_section,
    versions,
    write_description,
    write_schemas,
)
from image_features.pipeline.commit.drift import Comparison, Drift
from image_features.pipeline.commit.guards import check, guards_section, record_broken
from image_features.pipeline.commit.prometheus import exposition
from image_features.pipeline.config import JobConfig, RunConfig, utc_now
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.failures import ErrorShards
from image_features.pipeline.dataset.file_list import (
    FORMAT_VERSION,
    Commit,
    FileList,
    with_files,
)
from image_features.pipeline.dataset.layout import HEALTH_FILE, METRICS_FILE, RunLayout
from image_features.pipeline.dataset.model_sections import by_model
from image_features.pipeline.dataset.run import read_record
from image_features.transforms.exports.target import REMOVED_KEYS, VECTORS
from image_features.transforms.measure_features import Health
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import create_once, open_plain, sync_names


def in_order(shards: Iterable[ShardFile]) -> list[ShardFile]:
    """Returns shards in the order in which run.json lists them: features first, then by name."""
    first = ("features", "images")
    return sorted(shards, key=lambda shard: (shard.kind not in first, shard.name))


def opening(run: JobConfig[Any], counts: RunCounts) -> dict[str, Any]:
    """Returns what the file that commits a job begins with, before the commit knows its time."""
    return {
        "format_version": FORMAT_VERSION,
        "run_id": run.run_id,
        "fingerprint": run.layout.fingerprint,
        "started": run.started,
        "finished": "",
        "duration_seconds": 0.0,
        "images_per_second": 0.0,
        "counts": counts.to_json(),
    }


def draft(run: RunConfig, counts: RunCounts, health: Health) -> dict[str, Any]:
    """Returns run.json as far as it is known before the commit, and without its files."""
    return {
        **opening(run, counts),
        "health": health_section(health),
        "drift": None,
        "guards": {},
        **run.provenance.to_json(),
        "compression": run.layout.compression,
        "versions": versions(),
        "files": None,
    }


def publish_features(
    run: RunConfig,
    record: dict[str, Any],
    files: Sequence[ShardFile],
    health: Health,
    *,
    before: Callable[[dict[str, Any]], Comparison],
) -> dict[str, Any]:
    """Commits a run of features with all that describes it; returns what `publish` does.

    Args:
      run: The run to commit.
      record: The record that `draft` returned, with the fields that the kind of run adds.
      files: Every shard and index of the run, in order.
      health: The statistics of the features.
      before: A function that is called with health.json's content just before the guards are
        asked; it returns how far the features have drifted, if it looks at that.

    Raises:
      CommitError: another run is committed there, or `before` raises it.
      GuardError: a guard stops the commit.
    """
    document = health_document(health)
    layout = run.layout

    def describe() -> list[dict[str, Any]]:
        return [
            *write_schemas(run, [file for file in files if file.kind == "features"]),
            write_description(layout, HEALTH_FILE, "health", as_json(document)),
            write_description(layout, METRICS_FILE, "metrics", exposition(record)),
        ]

    return publish(run, record, files, before=lambda: before(document), describe=describe)


def publish(
    run: JobConfig[Any],
    record: dict[str, Any],
    files: Sequence[ShardFile],
    *,
    before: Callable[[], Comparison] = Comparison,
    describe: Callable[[], list[dict[str, Any]]] = list,
) -> dict[str, Any]:
    """Completes the record of what was made, asks the guards, and writes it last and once.

    Args:
      run: The run to commit.
      record: The content of run.json as far as it is known; the place of its files is empty.
      files: Every shard and index of the run, in order.
      before: A function that is called just before the guards are asked; it returns how far the
        features have drifted, if it looks at that.
      describe: A function that writes the files that describe the run; it returns their entries.

    Returns:
      The content of run.json, which is an earlier attempt's if one got that far.

    Raises:
      CommitError: another run is committed there, or `before` raises it.
      GuardError: a guard stops the commit.
    """
    layout = run.layout
    path = layout.path(layout.commit_file)
    # The files that an earlier attempt lists must not be written again: only its shards are sure
    # to be the same bytes.
    listed = FileList.of(files)
    if (found := read_record(layout.directory, layout.commit_file)) is not None:
        return _check_same(found, record, listed, layout)
    drift, lacking = before()
    counts = RunCounts.from_json(record["counts"])
    seconds = complete(record, run, counts, drift)
    record["guards"] = guards_section(run.guards, lacking)
    errors = ErrorShards.among(layout, files)
    if broken := check(
        run.guards,
        counts,
        seconds=seconds,
        drift=drift,
        errors=errors,
    ):
        record_broken(layout.staging, run.started, broken)
        raise GuardError(f"The run {run.run_id} is not committed: {' '.join(broken)}")
    # Everything that takes time is done, and another job may have committed meanwhile.
    if (found := read_record(layout.directory, layout.commit_file)) is not None:
        return _check_same(found, record, listed, layout)
    record = with_files(layout, record, FileList.of([*describe(), *files]))
    # Shards and descriptions are on the disk; their names must be, before a file lists them.
    sync_names(layout.directory)
    part = FileSystems.join(layout.staging, f"{layout.commit_file}.{uuid.uuid4().hex}")
    if create_once(path, (json.dumps(record, indent=2) + "\n").encode(), part):
        return record
    found = read_record(layout.directory, layout.commit_file) or {}
    return _check_same(found, record, listed, layout)


def complete(
    record: dict[str, Any], run: JobConfig[Any], counts: RunCounts, drift: Mapping[str, Drift]
) -> float:
    """Fills in the times and the drift; returns how long the run has lasted, in seconds."""
    finished = _finish_time(run)
    seconds = max(0.0, (finished - datetime.fromisoformat(run.started)).total_seconds())
    record["finished"] = finished.isoformat()
    record["duration_seconds"] = round(seconds, 3)
    record["images_per_second"] = round(counts.rows_done / seconds, 3) if seconds else 0.0
    if drift:
        threshold = run.guards.drift_threshold
        record["drift"] = by_model({name: of.to_json(threshold) for name, of in drift.items()})
    return seconds


def _finish_time(run: JobConfig[Any]) -> datetime:
    """Returns when this launch first tried to commit: all its attempts write one content."""
    launch = hashlib.sha256(run.started.encode()).hexdigest()[:8]
    path = FileSystems.join(run.layout.staging, f"finished.{launch}")
    now = utc_now()
    if create_once(path, now.encode(), f"{path}.{uuid.uuid4().hex}"):
        return datetime.fromisoformat(now)
    with open_plain(path) as file:
        return datetime.fromisoformat(file.read().decode())


def _check_same(
    found: Mapping[str, Any], record: Mapping[str, Any], files: FileList, layout: RunLayout
) -> dict[str, Any]:
    """Returns what is committed, if an attempt of this launch can have committed it."""
    path = layout.path(layout.commit_file)

    def identity(of: Mapping[str, Any], listed: FileList) -> tuple[Any, ...]:
        shards = listed.of_kind("features", "images", VECTORS, REMOVED_KEYS, "errors")
        return of.get("run_id"), of.get("started"), of.get("counts"), shards

    committed = Commit.of(layout.directory, found, path).files if found else FileList.of(())
    if identity(found, committed) != identity(record, files):
        raise CommitError(f"{path} was written by another job, so this one is not committed.")
    return dict(found)
