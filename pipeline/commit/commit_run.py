"""PlanShards and CommitRun: how many shards, and the one file that makes them a run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import AsSingleton

from image_features.pipeline.commit.descriptions import (
    as_json,
    health_document,
    health_section,
    provenance,
    write_description,
    write_schemas,
)
from image_features.pipeline.commit.drift import HEALTH_FILE, find
from image_features.pipeline.commit.guards import check, record
from image_features.pipeline.commit.prometheus import METRICS_FILE, exposition
from image_features.pipeline.config import ExtractConfig, Merging, utc_now
from image_features.pipeline.dataset.layout import (
    FORMAT_VERSION,
    REMOVED_KINDS,
    RUN_FILE,
    RunLayout,
    dataset_of,
    read_run,
)
from image_features.pipeline.dataset.records import current_runs
from image_features.transforms.assign_shards import ShardPolicy, error_shards
from image_features.transforms.measure_features import FeatureStatistics
from image_features.transforms.runtime.progress import write_total
from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.shards.write_shards import ShardFile
from image_features.transforms.skip_known import Skipped
from image_features.transforms.stores.files import create_once, open_plain, remove_tree

_LOG = logging.getLogger(__name__)


class CommitError(RuntimeError):
    """The run does not add up, so it is not committed."""


class GuardError(CommitError):
    """The run adds up, but a guard stops its commit."""


class Plan(NamedTuple):
    """Two PCollections of one int each."""

    rows_read: Any
    num_shards: Any


class PlanShards(beam.PTransform):
    """Rows of the sources, ints to be summed, to the feature shards to write of them.

    Args:
      config: Of the run.
      skipped: What is not to be written, if rows were skipped.
    """

    def __init__(self, *, config: ExtractConfig, skipped: Skipped | None = None) -> None:
        super().__init__()
        self._policy = config.shards
        self._staging = config.layout.staging
        self._skipped = skipped

    def expand(self, counts: Any) -> Plan:
        rows_read = counts | "SumRows" >> beam.CombineGlobally(sum)
        left_out: Any = 0
        if self._skipped is not None:
            left_out = AsSingleton(
                (self._skipped.unchanged, self._skipped.duplicates)
                | "LeftOut" >> beam.Flatten()
                | "SumLeftOut" >> beam.CombineGlobally(sum)
            )
        return Plan(
            rows_read,
            rows_read | "CountShards" >> beam.Map(_plan, left_out, self._policy, self._staging),
        )


def _plan(rows_read: int, left_out: int, policy: ShardPolicy, staging: str) -> int:
    rows = rows_read - left_out
    write_total(staging, rows)
    return policy.feature_shards(rows)


class CommitRun(beam.PTransform):
    """Checks that no row was lost or invented, then writes the run's descriptions.

    run.json comes last: a reader believes a run only when it is there. Then nothing staged is of
    use any more; the launcher, which may be gone by then, has no part in it.
    """

    def __init__(
        self,
        *,
        config: ExtractConfig,
        rows_read: Any,
        duplicates: Any,
        health: Any,
        skipped: Skipped | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._rows_read = rows_read
        self._duplicates = [duplicates] if skipped is None else [duplicates, skipped.duplicates]
        self._unchanged = None if skipped is None else skipped.unchanged
        self._health = health

    def expand(self, shards: Any) -> Any:
        duplicates = (
            self._duplicates
            | "Duplicates" >> beam.Flatten()
            | "SumDuplicates" >> beam.CombineGlobally(sum)
        )
        unchanged: Any = 0
        if self._unchanged is not None:
            unchanged = AsSingleton(self._unchanged | "SumUnchanged" >> beam.CombineGlobally(sum))
        return (
            shards
            | "GatherShards" >> beam.combiners.ToList()
            | "WriteRunFile"
            >> beam.Map(
                commit,
                rows_read=AsSingleton(self._rows_read),
                duplicates=AsSingleton(duplicates),
                config=self._config,
                health=AsSingleton(self._health),
                unchanged=unchanged,
            )
            | "RemoveStaging" >> beam.Map(_tidy_up, self._config.layout)
        )


class CommitMerge(beam.PTransform):
    """As `CommitRun`, of rows that other runs have made; checks that each was chosen or replaced.

    Args:
      config: Of the run that they become.
      chosen: PCollection of one int, the rows taken.
      replaced: PCollection of one int, the rows left.
      health: PCollection of one FeatureStatistics.
    """

    def __init__(self, *, config: ExtractConfig, chosen: Any, replaced: Any, health: Any) -> None:
        super().__init__()
        self._config = config
        self._sides = {"chosen": chosen, "replaced": replaced, "health": health}

    def expand(self, shards: Any) -> Any:
        sides = {name: AsSingleton(side) for name, side in self._sides.items()}
        return (
            shards
            | "GatherShards" >> beam.combiners.ToList()
            | "WriteRunFile" >> beam.Map(_commit_merge, config=self._config, **sides)
            | "RemoveStaging" >> beam.Map(_tidy_up, self._config.layout)
        )


def _commit_merge(
    shards: Sequence[ShardFile],
    config: ExtractConfig,
    chosen: int,
    replaced: int,
    health: FeatureStatistics,
) -> dict[str, Any]:
    rows = config.merging.rows if config.merging else 0
    if chosen + replaced != rows:
        raise CommitError(
            f"Of {rows} rows {chosen} were taken and {replaced} were replaced, which does not add "
            "up; the run is not committed."
        )
    failed = sum(shard.rows for shard in shards if shard.kind == "errors")
    return commit(shards, chosen + failed, 0, config, health)


def _check_merged(merging: Merging, directory: str) -> None:
    """Makes sure that the merged runs are still what readers see."""
    finished = {run.run_id: run.record["finished"] for run in current_runs(dataset_of(directory))}
    for run_id in merging.run_ids:
        if finished.get(run_id) != merging.replaces[run_id]:
            raise CommitError(
                f"The run {run_id} was merged by another `compact` meanwhile, or removed; this one "
                "is not committed. Merge what is there now."
            )


def commit(
    shards: Iterable[ShardFile],
    rows_read: int,
    duplicates: int,
    config: ExtractConfig,
    health: FeatureStatistics | None = None,
    unchanged: int = 0,
) -> dict[str, Any]:
    """Checks the run, writes what describes it, and at last run.json.

    Args:
      shards: All there are.
      rows_read: Rows of the manifests.
      duplicates: Of them, those that name an image again.
      config: Of the run.
      health: Of its features; None where nothing was measured.
      unchanged: Rows that the dataset has already.

    Returns:
      The content of run.json: of an earlier attempt, if one got that far.

    Raises:
      CommitError: rows read differ from rows written plus failed, unchanged and duplicates, a
        shard is missing, another run is committed there, or a merged one is not current any more.
      GuardError: a guard stops the commit.
    """
    files = sorted(shards, key=lambda shard: (shard.kind != "features", shard.name))
    counts = _counts(files, rows_read, duplicates, unchanged, config)
    statistics = health or FeatureStatistics.empty(config.model.num_features)
    entries = [_entry(shard) for shard in files]
    layout = config.layout
    run: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "run_id": config.run_id,
        "fingerprint": layout.fingerprint,
        "started": config.started,
        "finished": "",
        "duration_seconds": 0.0,
        "images_per_second": 0.0,
        "counts": counts,
        "health": health_section(statistics),
        "drift": None,
        "guards": dataclasses.asdict(config.guards),
        **provenance(config),
        "files": entries,
    }
    if config.merging:
        counts["rows_removed"] = config.merging.removed
        run |= {"replaces": dict(config.merging.replaces), "as_of": config.merging.as_of}
    found = read_run(layout.directory)
    if found is not None:
        # What it lists must not be written again: only its shards are sure to be the same bytes.
        return _same(found, run, layout.path(RUN_FILE))
    if config.merging:
        _check_merged(config.merging, layout.directory)
    finished = _finish_time(config)
    seconds = max(0.0, (finished - datetime.fromisoformat(config.started)).total_seconds())
    done = counts["rows_in"] - unchanged
    run["finished"] = finished.isoformat()
    run["duration_seconds"] = round(seconds, 3)
    run["images_per_second"] = round(done / seconds, 3) if seconds else 0.0
    document = health_document(statistics)
    drift = None if config.merging else find(layout.directory, run, document)
    if drift is not None:
        threshold = config.guards.drift_threshold
        run["drift"] = dataclasses.asdict(drift) | {
            "threshold": threshold,
            "drifted": drift.exceeds(threshold),
        }
    broken = check(config.guards, counts, seconds=seconds, drift=drift)
    if broken:
        record(layout.staging, config.started, broken)
        raise GuardError(f"The run {config.run_id} is not committed: {' '.join(broken)}")
    found = read_run(layout.directory)  # Once more: what takes time is done.
    if found is not None:
        return _same(found, run, layout.path(RUN_FILE))
    features = [shard for shard in files if shard.kind == "features"]
    run["files"] = [
        *write_schemas(config, features),
        write_description(config, HEALTH_FILE, "health", as_json(document)),
        write_description(config, METRICS_FILE, "metrics", exposition(run)),
        *entries,
    ]
    part = FileSystems.join(layout.staging, f"{RUN_FILE}.{uuid.uuid4().hex}")
    if create_once(layout.path(RUN_FILE), (json.dumps(run, indent=2) + "\n").encode(), part):
        return run
    return _same(read_run(layout.directory) or {}, run, layout.path(RUN_FILE))


def _counts(
    files: Sequence[ShardFile],
    rows_read: int,
    duplicates: int,
    unchanged: int,
    config: ExtractConfig,
) -> dict[str, Any]:
    """The counts of run.json, if they add up."""
    features = [shard for shard in files if shard.kind == "features"]
    errors = [shard for shard in files if shard.kind == "errors"]
    # What SkipKnown has left out, and only that, was never planned for.
    planned = rows_read - duplicates - unchanged if config.skips else rows_read
    expected = config.shards.feature_shards(planned)
    if len(features) != expected or len(errors) != error_shards(expected):
        raise CommitError(
            f"The run has {len(features)} feature and {len(errors)} errors shards where "
            f"{expected} and {error_shards(expected)} were planned; it is not committed."
        )
    rows_out = sum(shard.rows for shard in features)
    rows_failed = sum(shard.rows for shard in errors)
    if rows_read != duplicates + unchanged + rows_out + rows_failed:
        raise CommitError(
            f"Of {rows_read} rows read, {rows_out} were written, {rows_failed} failed, "
            f"{unchanged} were unchanged and {duplicates} were duplicates, which does not add up; "
            "the run is not committed."
        )
    indexes = [shard for shard in files if shard.kind == INDEX_KIND]
    if sum(shard.rows for shard in indexes) != rows_out or len(indexes) != expected:
        raise CommitError(
            f"The indexes hold {sum(shard.rows for shard in indexes)} rows in {len(indexes)} files "
            f"where the features are {rows_out} in {expected}; the run is not committed."
        )
    reasons: Counter[str] = Counter()
    for shard in errors:
        reasons.update(shard.labels)
    return {
        "rows_read": rows_read,
        "duplicates": duplicates,
        "rows_in": rows_read - duplicates,
        "rows_out": rows_out,
        "rows_failed": rows_failed,
        "rows_unchanged": unchanged,
        "rows_removed": sum(shard.rows for shard in files if shard.kind in REMOVED_KINDS),
        "failed_by_reason": dict(sorted(reasons.items())),
    }


def _entry(shard: ShardFile) -> dict[str, Any]:
    entry = dataclasses.asdict(shard)
    entry.pop("labels")
    return entry


def _finish_time(config: ExtractConfig) -> datetime:
    """The time of this launch's first attempt to commit: all of its attempts write one content."""
    mark = hashlib.sha256(config.started.encode()).hexdigest()[:8]
    path = FileSystems.join(config.layout.staging, f"finished.{mark}")
    now = utc_now()
    if create_once(path, now.encode(), f"{path}.{uuid.uuid4().hex}"):
        return datetime.fromisoformat(now)
    with open_plain(path) as file:
        return datetime.fromisoformat(file.read().decode())


def _same(found: dict[str, Any], run: dict[str, Any], path: str) -> dict[str, Any]:
    """What is committed, if this run's attempts may have committed it."""

    def identity(of: dict[str, Any]) -> tuple[Any, ...]:
        shards = [file for file in of.get("files", ()) if file["kind"] in ("features", "errors")]
        return of.get("run_id"), of.get("started"), of.get("counts"), shards

    if identity(found) != identity(run):
        raise CommitError(f"{path} was written by another job, so this one is not committed.")
    return found


def _tidy_up(run: dict[str, Any], layout: RunLayout) -> dict[str, Any]:
    """Removes what earlier attempts have left: pieces, and shards of another number of them."""
    try:
        listed = {entry["name"] for entry in run["files"]}
        kinds = ("features", "errors", INDEX_KIND, *REMOVED_KINDS)
        matches = FileSystems.match([layout.path(f"{kind}-*-of-*") for kind in kinds])
        found = [file.path for match in matches for file in match.metadata_list]
        stale = [path for path in found if path.rpartition("/")[2] not in listed]
        if stale:
            FileSystems.delete(stale)
        remove_tree(layout.staging)
    except Exception as error:  # The run is committed: tidiness must not undo that.
        _LOG.warning("Could not tidy up %s: %s", layout.directory, error)
    return run
