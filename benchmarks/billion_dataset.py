"""A dataset of as many shards as a billion images have, in the space of a few.

One shard and one index of it are true, and the first of each run. All others are further names of
these files with digests that are made up, so that a list of them is as long as a true one, and a
billion rows take some hundred megabytes.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np

from image_features.models.identity import ModelIdentity
from image_features.pipeline.dataset.counts import RunCounts
from image_features.pipeline.dataset.file_list import FileList, with_files
from image_features.pipeline.dataset.layout import RUN_FILE, RunLayout
from image_features.pipeline.dataset.provenance import Provenance
from image_features.transforms.assign_shards import error_shards
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.shards import record_format
from image_features.transforms.shards.index import INDEX_KIND, index_file, index_note
from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.uris import image_key

WIDTH = 1280
_MOST_NAMES = 30_000  # A file may have 65,000 names on the most usual disks.
_FIRST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Stock:
    """The true files, of which runs get names.

    Args:
      directory: An empty directory on the disk of the dataset.
      rows: The number of rows in a shard.
    """

    def __init__(self, directory: pathlib.Path, rows: int) -> None:
        directory.mkdir(parents=True)
        self.rows = rows
        self._names = 0
        self._paths: dict[str, pathlib.Path] = {}
        self._entries: dict[str, tuple[int, int, str]] = {}
        uris = [f"gs://photos/{number:09}.jpg" for number in range(rows)]
        keys = sorted((image_key(uri), uri) for uri in uris)
        digests = {uri: hashlib.sha256(uri.encode()).hexdigest() for uri in uris}
        vectors = np.random.default_rng(0).random((rows, WIDTH), np.float32)
        shard = b"".join(
            RECORDS.encode(
                {
                    record_format.URI: [uri.encode()],
                    record_format.KEY: [key.encode()],
                    record_format.SHA256: [digests[uri].encode()],
                    record_format.FORMAT: [b"jpeg"],
                    record_format.WIDTH: [640],
                    record_format.HEIGHT: [480],
                    record_format.FEATURES: vector,
                }
            )
            for (key, uri), vector in zip(keys, vectors, strict=True)
        )
        notes = [index_note(digests[uri], "g1700000000000000", uri) for _, uri in keys]
        index = index_file(np.array([key.encode() for key, _ in keys], "S32"), notes)
        for kind, data in (("features", shard), (INDEX_KIND, index), ("errors", b"")):
            self._paths[kind] = directory / kind
            self._paths[kind].write_bytes(data)
            count = 0 if kind == "errors" else rows
            self._entries[kind] = count, len(data), hashlib.sha256(data).hexdigest()

    def entries(self, shards: int, run: str) -> list[ShardFile]:
        """Returns what a run of so many shards lists."""
        errors = error_shards(shards)
        kinds = (("features", RECORDS.suffix, shards), ("errors", ".jsonl", errors))
        files = []
        for kind, suffix, count in (*kinds, (INDEX_KIND, ".parquet", shards)):
            rows, size, digest = self._entries[kind]
            for number in range(count):
                name = f"{kind}-{number:05d}-of-{count:05d}{suffix}"
                made_up = hashlib.sha256(f"{run}/{name}".encode()).hexdigest()
                files.append(ShardFile(kind, name, rows, size, made_up if number else digest))
        return files

    def place(self, run: pathlib.Path, files: list[ShardFile]) -> None:
        """Gives the files of a run their names."""
        run.mkdir(parents=True)
        for file in files:
            if self._names == _MOST_NAMES:
                self._renew()
            self._names += 1
            os.link(self._paths[file.kind], run / file.name)

    def _renew(self) -> None:
        for kind, path in self._paths.items():
            self._paths[kind] = path.with_name(f"{path.name}+")
            shutil.copyfile(path, self._paths[kind])
        self._names = 0


def provenance() -> Provenance:
    """Returns what all runs are made from."""
    model = ModelIdentity("untrained", "c" * 64, (96, 96), WIDTH)
    decode = DecodePolicy(image_size=(96, 96))
    return Provenance(("gs://photos/list.parquet",), (), {"": model}, decode, 10**8)


def write_run(dataset: pathlib.Path, number: int, shards: int, stock: Stock) -> pathlib.Path:
    """Writes a committed run; later numbers are later runs."""
    run = dataset / f"night-{number:03d}"
    files = stock.entries(shards, run.name)
    stock.place(run, files)
    rows = shards * stock.rows
    finished = (_FIRST + datetime.timedelta(number)).isoformat()
    record: dict[str, Any] = {
        "format_version": 1,
        "run_id": run.name,
        "fingerprint": f"{number:016x}",
        "started": finished,
        "finished": finished,
        "counts": RunCounts(rows, 0, rows, rows, 0).to_json(),
        "guards": {},
        **provenance().to_json(),
        "compression": "none",
        "files": None,
    }
    layout = RunLayout(str(run))
    pathlib.Path(layout.staging).mkdir()
    record = with_files(layout, record, FileList.of(files))
    pathlib.Path(layout.staging).rmdir()
    (run / RUN_FILE).write_text(json.dumps(record, indent=2))
    return run


def write(dataset: pathlib.Path, *, shards: int, runs: int, rows: int) -> None:
    """Writes a dataset with its shards divided evenly among runs.

    Args:
      dataset: The directory to make; a directory beside it has the true files.
      shards: The number of shards of all runs.
      runs: The number of runs.
      rows: The number of rows in a shard.
    """
    stock = Stock(dataset.with_name(f"{dataset.name}.stock"), rows)
    for number in range(runs):
        write_run(dataset, number, shards // runs, stock)
