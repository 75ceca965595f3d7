"""PlanShards and CommitRun: how many shards, and the one file that makes them a run."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import AsSingleton

from pipeline.config import ExtractConfig, utc_now
from pipeline.layout import FORMAT_VERSION, RUN_FILE, read_run
from pipeline.schema import dataset_info_json, features_json, schema_pbtxt
from transforms.shard_files import ShardFile
from transforms.shards import ShardPolicy, error_shards
from transforms.storage import create_once, create_whole
from transforms.uris import redact_uri

_LOG = logging.getLogger(__name__)
_PACKAGES = (
    "apache-beam",
    "ai-edge-litert",
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-hub",
    "pillow",
    "numpy",
)


class CommitError(RuntimeError):
    """The run does not add up, so it is not committed."""


class Plan(NamedTuple):
    """Two PCollections of one int each."""

    rows_read: Any
    num_shards: Any


class PlanShards(beam.PTransform):
    """Counts the rows read, and from it the feature shards to write."""

    def __init__(self, *, config: ExtractConfig) -> None:
        super().__init__()
        self._policy = config.shards
        self._staging = config.layout.staging

    def expand(self, rows: Any) -> Plan:
        # Counted apart: to flatten the rows themselves, a runner would keep them all.
        counts = [
            part | f"Count{name}" >> beam.combiners.Count.Globally()
            for name, part in zip(("Refs", "Errors"), rows, strict=True)
        ]
        rows_read = counts | "Both" >> beam.Flatten() | "CountRows" >> beam.CombineGlobally(sum)
        return Plan(
            rows_read,
            rows_read | "CountShards" >> beam.Map(_plan, self._policy, self._staging),
        )


def _plan(rows: int, policy: ShardPolicy, staging: str) -> int:
    if "://" not in staging:
        # For the progress bar's estimate of the time left; nothing else reads it.
        with contextlib.suppress(OSError):
            os.makedirs(os.path.join(staging, "progress"), exist_ok=True)
            with open(os.path.join(staging, "progress", f"total.{uuid.uuid4().hex}"), "w") as file:
                file.write(str(rows))
    return policy.feature_shards(rows)


class CommitRun(beam.PTransform):
    """Checks that no row was lost or invented, then writes the run's descriptions.

    run.json comes last: a reader believes a run only when it is there. Then nothing staged is of
    use any more; the launcher, which may be gone by then, has no part in it.
    """

    def __init__(self, *, config: ExtractConfig, rows_read: Any, duplicates: Any) -> None:
        super().__init__()
        self._config = config
        self._rows_read = rows_read
        self._duplicates = duplicates

    def expand(self, shards: Any) -> Any:
        duplicates = self._duplicates | "SumDuplicates" >> beam.CombineGlobally(sum)
        return (
            shards
            | "GatherShards" >> beam.combiners.ToList()
            | "WriteRunFile"
            >> beam.Map(
                commit,
                rows_read=AsSingleton(self._rows_read),
                duplicates=AsSingleton(duplicates),
                config=self._config,
            )
            | "RemoveStaging" >> beam.Map(_remove_staging, self._config.layout.staging)
        )


def commit(
    shards: Iterable[ShardFile], rows_read: int, duplicates: int, config: ExtractConfig
) -> dict[str, Any]:
    """Writes features.json, dataset_info.json, schema.pbtxt, and at last run.json.

    Returns:
      The content of run.json: of an earlier attempt, if one got that far.

    Raises:
      CommitError: rows read differ from rows written plus failed plus duplicates, a shard is
        missing, or another run is committed there.
    """
    files = sorted(shards, key=lambda shard: (shard.kind != "features", shard.name))
    features = [shard for shard in files if shard.kind == "features"]
    errors = [shard for shard in files if shard.kind == "errors"]
    expected = config.shards.feature_shards(rows_read)
    if len(features) != expected or len(errors) != error_shards(expected):
        raise CommitError(
            f"The run has {len(features)} feature and {len(errors)} errors shards where "
            f"{expected} and {error_shards(expected)} were planned; it is not committed."
        )
    rows_out = sum(shard.rows for shard in features)
    rows_failed = sum(shard.rows for shard in errors)
    if rows_read != duplicates + rows_out + rows_failed:
        raise CommitError(
            f"Of {rows_read} rows read, {rows_out} were written, {rows_failed} failed and "
            f"{duplicates} were duplicates, which does not add up; the run is not committed."
        )
    reasons: Counter[str] = Counter()
    for shard in errors:
        reasons.update(shard.labels)

    columns, layout = config.manifest.columns, config.layout
    descriptions = {
        "schema.pbtxt": schema_pbtxt(columns, config.model.num_features),
    }
    if layout.compression == "none":
        # TFDS reads plain TFRecord only: files it could not open would be a false promise.
        descriptions["features.json"] = features_json(columns, config.model.num_features)
        descriptions["dataset_info.json"] = dataset_info_json(
            "image_features", "1.0.0", [s.rows for s in features], sum(s.bytes for s in features)
        )
    entries = []
    for name, text in sorted(descriptions.items()):
        data = text.encode()
        _write_atomically(config, name, data)
        digest = hashlib.sha256(data).hexdigest()
        entries.append({"name": name, "kind": "schema", "bytes": len(data), "sha256": digest})
    for shard in files:
        entry = dataclasses.asdict(shard)
        entry.pop("labels")
        entries.append(entry)
    run = {
        "format_version": FORMAT_VERSION,
        "run_id": config.run_id,
        "started": config.started,
        "finished": utc_now(),
        "counts": {
            "rows_read": rows_read,
            "duplicates": duplicates,
            "rows_in": rows_read - duplicates,
            "rows_out": rows_out,
            "rows_failed": rows_failed,
            "failed_by_reason": dict(sorted(reasons.items())),
        },
        "input": [redact_uri(source.location) for source in config.manifest.sources],
        "columns": [dataclasses.asdict(column) for column in columns],
        "model": {
            "handle": redact_uri(config.model.handle),
            "content_hash": config.model.content_hash,
            "image_size": list(config.model.image_size),
            "num_features": config.model.num_features,
            "engine": str(config.model.engine),
            "precision": str(config.model.precision),
            "max_cosine_difference": config.model.max_cosine_difference,
        },
        "preprocessing": _preprocessing(config),
        "compression": layout.compression,
        "versions": _versions(),
        "files": entries,
    }
    if create_once(
        layout.path(RUN_FILE),
        (json.dumps(run, indent=2) + "\n").encode(),
        FileSystems.join(layout.staging, f"{RUN_FILE}.{uuid.uuid4().hex}"),
    ):
        return run
    found = read_run(layout.directory) or {}
    if any(found.get(part) != run[part] for part in ("run_id", "started", "counts", "files")):
        raise CommitError(
            f"{layout.path(RUN_FILE)} was written by another job, so this one is not committed."
        )
    return found


def _remove_staging(run: dict[str, Any], staging: str) -> dict[str, Any]:
    try:
        if "://" not in staging:
            shutil.rmtree(staging)
        else:
            files = FileSystems.match([staging + "/**"])[0].metadata_list
            FileSystems.delete([file.path for file in files])
    except Exception as error:  # The run is committed: tidiness must not undo that.
        _LOG.warning("Could not remove the staging directory %s: %s", staging, error)
    return run


def _preprocessing(config: ExtractConfig) -> dict[str, Any]:
    options = dataclasses.asdict(config.decode)
    options["max_fetch_bytes"] = config.fetch.max_bytes
    return options


def _write_atomically(config: ExtractConfig, name: str, data: bytes) -> None:
    part = FileSystems.join(config.layout.staging, f"{name}.{uuid.uuid4().hex}")
    with create_whole(config.layout.path(name), part) as file:
        file.write(data)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
