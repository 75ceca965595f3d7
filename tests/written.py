"""Committed runs of chosen rows, written without extracting anything."""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from image_features.models.identity import ModelIdentity
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.provenance import Provenance
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.manifests.columns import Column
from image_features.transforms.shards import record_format
from image_features.transforms.shards.index import index_file, index_note
from image_features.transforms.stores.uris import image_key

WIDTH = 4
_MODEL = ModelIdentity("m", "c" * 64, (96, 96), WIDTH)
_DECODE = DecodePolicy(image_size=(96, 96))


def uri_of(name: str) -> str:
    return f"/photos/{name}.jpg"


def key_of(name: str) -> str:
    return image_key(uri_of(name))


def provenance(
    model: ModelIdentity = _MODEL,
    decode: DecodePolicy = _DECODE,
    columns: Sequence[Column] = (),
    models: Sequence[str] = ("",),
    **changed: Any,
) -> Provenance:
    """Returns what runs are made from; keywords change the model."""
    made = dataclasses.replace(model, **changed)
    return Provenance(
        ("/photos",), tuple(columns), dict.fromkeys(models, made), decode, max_fetch_bytes=1000
    )


def write_run(
    dataset: pathlib.Path,
    run_id: str,
    rows: Mapping[str, float],
    *,
    gone: Iterable[str] = (),
    day: int = 1,
    made: Provenance | None = None,
    values: Mapping[str, Any] | None = None,
    compressed: bool = False,
    shards: int = 1,
) -> pathlib.Path:
    """Writes a committed run; the vector of a row is its number and those that follow.

    Args:
      dataset: The directory of the dataset.
      run_id: The name of the run.
      rows: What stands first in the vectors, by the names of the images.
      gone: The names of the images that are removed.
      day: The day of the commit.
      made: What the run is made from.
      values: The values of the manifest's columns, the same for all rows.
      compressed: Whether shards are compressed.
      shards: The number of shards.
    """
    made = made or provenance()
    run = dataset / run_id
    run.mkdir(parents=True)
    files = []
    suffix = ".tfrecord.gz" if compressed else ".tfrecord"
    ordered = sorted(rows, key=key_of)
    for shard in range(shards):
        names = ordered[shard::shards]
        data = b"".join(
            record_format.RECORDS.encode(_fields(name, rows[name], made, values or {}))
            for name in names
        )
        data = gzip.compress(data, mtime=0) if compressed else data
        place = f"{shard:05d}-of-{shards:05d}"
        files.append(_write(run, "features", f"features-{place}{suffix}", data, len(names)))
        notes = [index_note(_sha256(name).hex(), "v", uri_of(name)) for name in names]
        index = index_file(np.array([key_of(name).encode() for name in names], "S32"), notes)
        files.append(_write(run, "index", f"index-{place}.parquet", index, len(names)))
    tombstones = sorted(
        ({"key": key_of(n), "uri": uri_of(n)} for n in gone), key=lambda r: r["key"]
    )
    if tombstones:
        data = "".join(f"{json.dumps(row)}\n" for row in tombstones).encode()
        name = "tombstones-00000-of-00001.jsonl"
        files.append(_write(run, "tombstones", name, data, len(tombstones)))
    finished = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(day)
    counts = RunCounts(len(rows), 0, len(rows), len(rows), 0, rows_removed=len(tombstones))
    record = {
        "format_version": 1,
        "run_id": run_id,
        "fingerprint": hashlib.sha256(run_id.encode()).hexdigest()[:16],
        "started": finished.isoformat(),
        "finished": finished.isoformat(),
        "counts": counts.to_json(),
        "guards": {},
        **made.to_json(),
        "compression": "gzip" if compressed else "none",
        "files": files,
    }
    (run / "run.json").write_text(json.dumps(record))
    return run


def _fields(
    name: str, number: float, made: Provenance, values: Mapping[str, Any]
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        record_format.KEY: [key_of(name).encode()],
        record_format.URI: [uri_of(name).encode()],
        record_format.SHA256: [_sha256(name).hex().encode()],
        record_format.FORMAT: [b"JPEG"],
        record_format.WIDTH: [640],
        record_format.HEIGHT: [480],
    }
    for place, vector in enumerate(made.vectors):
        fields[vector.key] = np.arange(vector.width, dtype=np.float32) + np.float32(
            number + 100 * place
        )
    for column in made.columns:
        fields[column.name] = record_format.column_field(values.get(column.name), column)
    return fields


def _sha256(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _write(run: pathlib.Path, kind: str, name: str, data: bytes, rows: int) -> dict[str, Any]:
    (run / name).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return {"kind": kind, "name": name, "rows": rows, "bytes": len(data), "sha256": digest}
