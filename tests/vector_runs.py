"""Committed runs of hand-made vectors, for tests that need no images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from image_features.pipeline.dataset.layout import TOMBSTONES
from image_features.pipeline.dataset.run import Run
from image_features.transforms.archives.framing import frame
from image_features.transforms.shards.example import serialize_example
from image_features.transforms.shards.index import INDEX_KIND, index_file, index_note
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.uris import image_key, shard_of
from tests import runs


@dataclasses.dataclass(frozen=True)
class Row:
    """A row to write.

    Attributes:
      name: What the URI is made of, and so the key.
      vector: The vector.
      size: The width and height of the image.
      file: What tells its file from others; the name, if it is empty.
    """

    name: str
    vector: Sequence[float]
    size: tuple[int, int] = (10, 10)
    file: str = ""

    @property
    def uri(self) -> str:
        """The URI of the image."""
        return f"/photos/{self.name}.jpg"

    @property
    def key(self) -> str:
        """The key of the image, 32 hexadecimal digits."""
        return image_key(self.uri)

    @property
    def sha256(self) -> str:
        """The digest of the file, hexadecimal."""
        return hashlib.sha256((self.file or self.name).encode()).hexdigest()


def write_run(
    directory: pathlib.Path,
    rows: Sequence[Row],
    *,
    run_id: str = "run",
    finished: str = "2026-01-01T00:00:00+00:00",
    shards: int = 2,
    indexed: bool = True,
    removed: Sequence[Row] = (),
    replaces: Mapping[str, str] | None = None,
    width: int = 4,
) -> Run:
    """Writes a run with features and indexes below a dataset's directory, and commits it."""
    path = directory / run_id
    path.mkdir(parents=True)
    files = []
    for number in range(shards):
        mine = sorted(
            (row for row in rows if shard_of(row.key, shards) == number), key=lambda row: row.key
        )
        data = b"".join(frame(_example(row)) for row in mine)
        place = f"-{number:05d}-of-{shards:05d}"
        files.append(_write(path, "features", f"{place}.tfrecord", data, mine))
        if indexed:
            notes = [index_note(row.sha256, "", row.uri) for row in mine]
            index = index_file(np.array([row.key.encode() for row in mine], "S32"), notes)
            files.append(_write(path, INDEX_KIND, f"{place}.parquet", index, mine))
    if removed:
        lines = "".join(json.dumps({"key": row.key}) + "\n" for row in removed)
        files.append(_write(path, TOMBSTONES, "-0.jsonl", lines.encode(), removed))
    provenance = runs.made_otherwise(
        runs.config(str(path)), num_features=len(rows[0].vector) if rows else width
    ).provenance
    counts = {
        "rows_in": len(rows), "rows_out": len(rows), "rows_failed": 0, "failed_by_reason": {}
    }  # fmt: skip
    record = {
        "format_version": 1, "run_id": run_id, "started": finished, "finished": finished,
        "replaces": dict(replaces or {}), "compression": "none", "counts": counts,
        "files": [file.to_json() for file in files], **provenance.to_json(),
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(record))
    run = Run.read(str(path))
    assert run is not None
    return run


def _write(
    path: pathlib.Path, kind: str, ending: str, data: bytes, rows: Sequence[Row]
) -> ShardFile:
    (path / f"{kind}{ending}").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return ShardFile(kind, f"{kind}{ending}", len(rows), len(data), digest)


def _example(row: Row) -> bytes:
    return serialize_example(
        {
            "image/uri": [row.uri.encode()],
            "image/key": [row.key.encode()],
            "image/sha256": [row.sha256.encode()],
            "image/width": [row.size[0]],
            "image/height": [row.size[1]],
            "image/features": np.asarray(row.vector, np.float32),
        }
    )
