"""Committed runs with other rows than were extracted, for what reads datasets and no images."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.shards.index import INDEX_KIND, index_file
from image_features.transforms.shards.record_format import RECORDS

FEATURES_KIND = "features"


def write_index(
    run: pathlib.Path,
    shard: tuple[int, int],
    keys: npt.NDArray[np.bytes_],
    notes: Sequence[bytes],
) -> dict[str, Any]:
    """Writes the index of a shard; returns its entry in run.json.

    Args:
      run: The directory of the run.
      shard: The number of the shard, and how many there are.
      keys: bytes32 [rows], sorted.
      notes: What `index_note` gives for each row, [rows].
    """
    name = f"{INDEX_KIND}-{shard[0]:05d}-of-{shard[1]:05d}.parquet"
    return _write(run, INDEX_KIND, name, len(keys), [index_file(keys, notes)])


def write_features(
    run: pathlib.Path, shard: tuple[int, int], payloads: Sequence[bytes]
) -> dict[str, Any]:
    """Writes a shard of rows, sorted by their keys; returns its entry in run.json."""
    name = f"{FEATURES_KIND}-{shard[0]:05d}-of-{shard[1]:05d}{RECORDS.suffix}"
    return _write(run, FEATURES_KIND, name, len(payloads), payloads)


def _write(
    run: pathlib.Path, kind: str, name: str, rows: int, parts: Sequence[bytes]
) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with open(run / name, "wb") as file:
        for part in parts:
            digest.update(part)
            size += file.write(part)
    return {"kind": kind, "name": name, "rows": rows, "bytes": size, "sha256": digest.hexdigest()}


def recommit(run: pathlib.Path, rows: int, files: Sequence[dict[str, Any]]) -> None:
    """Gives a committed run these shards and indexes in the place of its own."""
    record = json.loads((run / "run.json").read_text())
    kept = []
    for entry in record["files"]:
        if entry["kind"] not in (FEATURES_KIND, INDEX_KIND):
            kept.append(entry)
        elif entry["name"] not in [file["name"] for file in files]:
            (run / entry["name"]).unlink()
    record["files"] = [*kept, *files]
    record["counts"] |= {"rows_read": rows, "rows_in": rows, "rows_out": rows}
    (run / "run.json").write_text(json.dumps(record))
