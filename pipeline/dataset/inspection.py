"""`inspect`: what is in a run, and whether its files are what the commit says."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.dataset.layout import find_run
from image_features.pipeline.dataset.reading import read_examples
from image_features.transforms.stores.files import open_plain

_BLOCK = 2**20


def verify(path: str) -> list[str]:
    """Compares every listed file with its size and checksum; returns what is wrong."""
    directory, run = find_run(path)
    problems = []
    for entry in run["files"]:
        try:
            size, digest = _digest(FileSystems.join(directory, entry["name"]))
        except OSError:
            problems.append(f"{entry['name']} is missing or cannot be read.")
            continue
        if (size, digest) != (entry["bytes"], entry["sha256"]):
            problems.append(f"{entry['name']} is not the file that was committed.")
    counts = run["counts"]
    for kind, expected in (("features", counts["rows_out"]), ("errors", counts["rows_failed"])):
        rows = sum(entry["rows"] for entry in run["files"] if entry["kind"] == kind)
        if rows != expected:
            problems.append(f"The {kind} shards hold {rows} rows where run.json says {expected}.")
    return problems


def summarize(path: str) -> Iterator[str]:
    """Yields the lines that `inspect` prints about a run, without its verification."""
    directory, run = find_run(path)
    counts = run["counts"]
    shards = [entry for entry in run["files"] if entry["kind"] == "features"]
    yield f"run       {directory}"
    yield f"finished  {run['finished']}"
    yield (
        f"model     {run['model']['handle']}  ({run['model']['num_features']} features, "
        f"hash {run['model']['content_hash'][:12]})"
    )
    unchanged, removed = counts.get("rows_unchanged", 0), counts.get("rows_removed", 0)
    yield (
        f"rows      {counts['rows_in']} in = {counts['rows_out']} out + "
        f"{counts['rows_failed']} failed{f' + {unchanged} unchanged' if unchanged else ''};  "
        f"{counts['duplicates']} duplicates dropped{f', {removed} removed' if removed else ''}"
    )
    yield f"shards    {len(shards)}, {sum(s['bytes'] for s in shards) / 1e6:.1f} MB"
    for reason, count in counts["failed_by_reason"].items():
        yield f"failed    {count:>8}  {reason}"
    yield from _health(run)


def _health(run: dict[str, Any]) -> Iterator[str]:
    health, drift = run.get("health"), run.get("drift")
    if health and health["rows"]:  # Runs of earlier versions have none.
        norm = health["norm"]
        yield (
            f"health    norm {norm['mean']:.4g} +- {norm['std']:.2g};  {health['zero_rows']} zero "
            f"rows, {health['constant_dimensions']} constant dimensions"
        )
    if drift:
        yield (
            f"drift     {'YES' if drift['drifted'] else 'no'}, against {drift['run_id']}: "
            f"stability index {drift['psi']:.3g}, difference of means "
            f"{drift['mean_difference']:.3g}, threshold {drift['threshold']:g}"
        )


def sample_rows(path: str, count: int) -> Iterator[str]:
    """Yields a line for each of the first rows."""
    if count < 1:
        return
    with contextlib.closing(read_examples(find_run(path)[0])) as examples:  # type: ignore[type-var]
        for number, example in enumerate(examples, 1):
            feature = example.features.feature
            vector = feature["image/features"].float_list.value
            head = ", ".join(f"{value:.3f}" for value in vector[:4])
            yield (
                f"sample    {_text(feature, 'image/uri')}  {_text(feature, 'image/format')} "
                f"{feature['image/width'].int64_list.value[0]}x"
                f"{feature['image/height'].int64_list.value[0]}  [{head}, ...] ({len(vector)})"
            )
            if number == count:
                return


def _text(feature: Any, name: str) -> str:
    return str(feature[name].bytes_list.value[0].decode())


def _digest(path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with contextlib.closing(open_plain(path)) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
