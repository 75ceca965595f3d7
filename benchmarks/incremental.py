"""The cost of a night in which nearly all images are known, in seconds for a million of them.

python -m benchmarks.incremental [--known 0 1000000 10000000] [--new 1000] [--json=FILE]
    [-- OPTIONS]

Known rows come from a committed run that is written here. Its indexes are real, with the versions
that the files have; its features are missing, since nothing reads them. The files are few, and have
many names by links to their directory, so that their times and sizes are in memory. `column` is a
manifest with a column that tells the versions, and `file` the same manifest without it. Nights
without any known row show the cost of everything else.

`tight_loop` is the time of one process without Beam for the same rows: it has a dictionary of all
keys and versions, and for each line of the manifest hashes it, looks it up and looks at the file.
Processor time, of both, is what a machine with other work tells something by.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks import committed, measure
from benchmarks.extraction import report
from image_features.transforms.shards.index import index_note, read_index
from image_features.transforms.stores import versions
from image_features.transforms.stores.uris import image_key, shard_of

_FILES = 1000
_ROWS_PER_SHARD = 10_000
_BASE = "base"
_COLUMNS = ("file", "column")


def main() -> None:
    """Prints a row for every number of known rows and way to tell their versions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--known", nargs="+", type=int, default=[0, 1_000_000])
    parser.add_argument("--new", type=int, default=1000, help="Images to extract (1000).")
    parser.add_argument("--ways", nargs="+", choices=_COLUMNS, default=list(_COLUMNS))
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="Writes it all there.")
    parser.add_argument("extract", nargs="*", metavar="OPTION", help="Options of extract.")
    options = parser.parse_args()
    machine = measure.machine()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        place = pathlib.Path(scratch)
        _draw(place / "images")
        for way in options.ways:
            nothing: measure.Usage | None = None
            for known in sorted(options.known):
                folder = place / f"{way}-{known}"
                usage = _night(folder, known, options.new, way, options.extract)
                row = {
                    "versions": way,
                    "known": known,
                    "new": options.new,
                    "seconds": round(usage.seconds, 1),
                    "cpu_seconds": round(usage.cpu_seconds, 1),
                    "peak_mib": round(usage.peak_mib),
                }
                if known and nothing is not None:
                    row["seconds_a_million_known"] = round(
                        (usage.seconds - nothing.seconds) / known * 1e6, 2
                    )
                    loop = _tight_loop(folder, way)
                    a_million = {
                        "cpu_seconds_a_million_known": usage.cpu_seconds - nothing.cpu_seconds,
                        "tight_loop": loop.seconds,
                        "tight_loop_cpu": loop.cpu_seconds,
                    }
                    row |= {
                        name: round(value / known * 1e6, 2) for name, value in a_million.items()
                    }
                    row["bytes_a_known_row"] = round(
                        (usage.peak_mib - nothing.peak_mib) * 2**20 / known
                    )
                nothing = usage if not known else nothing
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    report(rows, options.json, machine=machine, options=options.extract)


def _draw(directory: pathlib.Path) -> None:
    directory.mkdir()
    generator = np.random.default_rng(0)
    for number in range(_FILES):
        pixels = generator.integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(directory / f"{number:03}.jpg")


def _paths(place: pathlib.Path, first: int, count: int) -> Iterator[str]:
    """Makes distinct paths of images; each directory of a thousand is a link to the same one."""
    for number in range(first, first + count):
        directory = place / f"{number // _FILES:06}"
        if number % _FILES == 0 or number == first:
            directory.unlink(missing_ok=True)
            directory.symlink_to(place.parent / "images")
        yield f"{directory}/{number % _FILES:03}.jpg"


def _night(
    place: pathlib.Path, known: int, new: int, way: str, options: list[str]
) -> measure.Usage:
    """Commits a run of known rows, and measures the next one."""
    place.mkdir()
    dataset = place / "dataset"
    manifest = place / ("m.csv" if way == "column" else "m.txt")
    more = [*options, "--version_column=version"] if way == "column" else options

    def extract(first: int, count: int, run_id: str, *flags: str) -> measure.Usage:
        with open(manifest, "w") as file:
            if way == "column":
                file.write("uri,version\n")
            suffix = ",1\n" if way == "column" else "\n"
            file.writelines(path + suffix for path in _paths(place, first, count))
        command = [sys.executable, "-m", "image_features", "extract", f"--input={manifest}"]
        command += [f"--output={dataset}", f"--run_id={run_id}", *more, *flags]
        return measure.run(command)

    extract(0, 1, _BASE)
    if known:
        _pretend(dataset / _BASE, place, known, way)
    usage = extract(0, known + new, "night", "--incremental")
    counts = json.loads((dataset / "night" / "run.json").read_text())["counts"]
    expected = {"rows_unchanged": max(known, 1), "rows_out": known + new - max(known, 1)}
    if any(counts[name] != value for name, value in expected.items()):
        raise RuntimeError(f"The night should have had {expected}, and it had {counts}.")
    return usage


class _Loop(NamedTuple):
    seconds: float
    cpu_seconds: float


def _tight_loop(place: pathlib.Path, way: str) -> _Loop:
    """Measures the time that a loop without Beam takes to tell known rows from others."""
    start, cpu_start = time.perf_counter(), time.process_time()
    known: dict[bytes, str] = {}
    for path in sorted((place / "dataset" / _BASE).glob("index-*")):
        table = read_index(str(path), ["key", "version"])
        known.update(zip(table["key"].to_pylist(), table["version"].to_pylist(), strict=True))
    unchanged = 0
    with open(place / ("m.csv" if way == "column" else "m.txt")) as file:
        for line in file:
            uri, _, value = line.rstrip("\n").partition(",")
            version = known.get(bytes.fromhex(image_key(uri)))
            if version is not None:
                now = f"column:{value}" if way == "column" else versions.of_file(os.stat(uri))
                unchanged += now == version
    if unchanged != len(known):
        raise RuntimeError(f"The loop found {unchanged} of {len(known)} rows unchanged.")
    return _Loop(time.perf_counter() - start, time.process_time() - cpu_start)


def _pretend(run: pathlib.Path, place: pathlib.Path, known: int, way: str) -> None:
    """Makes a committed run look like one of so many rows, by its indexes."""
    count = max(1, known // _ROWS_PER_SHARD)
    images = [
        versions.of_file((place.parent / "images" / f"{n:03}.jpg").stat()) for n in range(_FILES)
    ]
    keys: list[list[bytes]] = [[] for _ in range(count)]
    notes: list[list[bytes]] = [[] for _ in range(count)]
    for number, path in enumerate(_paths(place, 0, known)):
        key = image_key(path)
        version = versions.of_column("1") if way == "column" else images[number % _FILES]
        shard = shard_of(key, count)
        keys[shard].append(key.encode())
        notes[shard].append(index_note("0" * 64, version, path))
    files = []
    for shard in range(count):
        order = np.argsort(np.array(keys[shard], "S32"))
        sorted_keys = np.array(keys[shard], "S32")[order]
        entry = committed.write_index(
            run, (shard, count), sorted_keys, [notes[shard][i] for i in order]
        )
        files += [entry, {**entry, "kind": committed.FEATURES_KIND}]
    committed.recommit(run, known, files)


if __name__ == "__main__":
    main()
