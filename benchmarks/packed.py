"""The rate on images that lie packed, against loose files of the same images.

python -m benchmarks.packed --images=DIR [--formats tar parquet tfrecord zip]
    [--stores local http] [--delays 0 50] [--sizes 1000 10000] [--rounds 2] [--json=FILE]
    [-- OPTIONS]

The goals, against loose files in the same store with the same delay: at least 0.95 of their rate
from disk, at least 1.5 times with 50 ms; at most 0.001 requests an image; a peak of memory within
64 MiB of theirs. The ceiling is webdataset with the tight loop, in the same run.

Rates are steady ones, large runs less small ones; `whole` has the start-up too. What is compared
is compared round by round, and the median told. `of_cpu` compares processor time, which other work
on the machine disturbs less. `read` is how often a server sent
what the archive holds. Images get as many names as are wanted, and each size has an archive of
each format, which needs the disk space of so many images; all of it is in the page cache.

The projection takes the processor time of the last store with the least delay, machines of 4 vCPUs
and the requests that `benchmarks.projection` counts.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence

from benchmarks import corpus, measure, stores
from benchmarks.contenders.roster import Arena
from benchmarks.extraction import make_parser, report, warm_up, write_manifest
from benchmarks.packed_case import LOOP, LOOSE, WEBDATASET, Case
from benchmarks.packing import WRITERS
from benchmarks.projection import Collection, ImageCost, Machine, Prices, bill

_LEAST = {("local", 0): 0.95, ("http", 50): 1.5}
_MOST_REQUESTS = 0.001
_MOST_MIB = 64
_PROJECTED = (1_000_000, 10_000_000, 100_000_000)
# An n1-standard-4, and the bytes that an image has in two groupings, or in three with its place.
_MACHINE = Machine(4, 1, 15)
_SHUFFLED = (600, 1000)


def main() -> None:
    """Prints a row for every store, delay and format."""
    options = _parse()
    machine = measure.machine()
    sizes = (min(options.sizes), max(options.sizes))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        scratch = pathlib.Path(name)
        cases = _prepare(options, sizes, scratch, stack)
        for number in range(options.rounds):
            # Each round goes the other way, so that a noisy time strikes all alike.
            for case in cases[:: -1 if number % 2 else 1]:
                print(f"round {number + 1}: {case.name}", file=sys.stderr)
                case.run(options.extract)
        rows = table(cases)  # It looks at the archives' sizes.
    raw = {case.name: case.raw() for case in cases}
    bills = _bills(cases)
    report(
        rows,
        options.json,
        machine=machine,
        options=options.extract,
        sizes=sizes,
        runs=raw,
        projection=bills,
    )
    print("\nProjected, at the list prices of `benchmarks.projection`:")
    measure.print_table(bills)


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    formats = list(WRITERS)
    parser.add_argument("--formats", nargs="+", choices=formats, default=formats)
    parser.add_argument("--stores", nargs="+", choices=["local", "http"], default=["local", "http"])
    parser.add_argument("--delays", nargs="+", type=int, default=[0, 50], metavar="MS")
    parser.add_argument("--sizes", nargs=2, type=int, default=[1000, 10_000], metavar="N")
    parser.add_argument("--rounds", type=int, default=2)
    options: argparse.Namespace = parser.parse_args()
    return options


def _prepare(
    options: argparse.Namespace,
    sizes: tuple[int, int],
    scratch: pathlib.Path,
    stack: contextlib.ExitStack,
) -> list[Case]:
    """Packs the images, and starts the servers; returns what is to be measured."""
    manifest = corpus.repeat(options.images, sizes[1], scratch / "links")
    links = manifest.read_text().splitlines()
    warm_up(manifest, options=options.extract)
    arena = Arena.prepare("builtin", scratch)
    archives = {form: _pack(links, sizes, form, scratch) for form in options.formats}
    every = [path for paths in archives.values() for path in paths]
    cases = []
    for store in options.stores:
        if store == "local":
            loose, packed, delays = stores.local(links), stores.local(every), [0]
        else:
            loose = stack.enter_context(stores.http(links, scratch))
            packed = stack.enter_context(stores.http(every, scratch))
            delays = options.delays
        manifests = [
            write_manifest(loose.uris[:size], scratch / f"{store}-{size}.txt") for size in sizes
        ]
        places = dict(zip(every, packed.uris, strict=True))
        for delay in delays:
            cases.append(Case(loose, LOOSE, delay, sizes, [str(path) for path in manifests]))
            cases += [
                Case(packed, form, delay, sizes, [places[path] for path in paths], paths)
                for form, paths in archives.items()
            ]
            if "tar" in archives and WEBDATASET.installed():
                inputs = [places[path] for path in archives["tar"]]
                cases.append(Case(packed, LOOP, delay, sizes, inputs, archives["tar"], arena))
    return cases


def _pack(
    links: Sequence[str], sizes: Sequence[int], form: str, scratch: pathlib.Path
) -> list[str]:
    """Packs the first links; returns the path of an archive for each size."""
    paths = []
    for size in sizes:
        manifest = write_manifest(links[:size], scratch / "packed.txt")
        path = scratch / f"{size}.{form}"
        command = [sys.executable, "-m", "benchmarks.packing"]
        measure.run([*command, f"--manifest={manifest}", f"--archive={path}"])
        paths.append(str(path))
    return paths


def table(cases: Sequence[Case]) -> list[dict[str, object]]:
    """Compares each case with the loose images in its place, and with webdataset."""
    found = {(case.store.name, case.delay, case.form): case for case in cases}
    return [
        _row(
            case,
            found[case.store.name, case.delay, LOOSE],
            found.get((case.store.name, case.delay, LOOP)),
        )
        for case in cases
    ]


def _row(case: Case, loose: Case, loop: Case | None) -> dict[str, object]:
    row: dict[str, object] = {
        "store": case.store.name,
        "delay_ms": case.delay if case.store.servers else None,
        "form": case.form,
        "whole": round(case.whole(), 1),
        "of_loose_whole": _rounded(case.whole_to(loose), 3),
    }
    cost, of_loose = case.steady(), case.steady_to(loose, "images_per_second")
    row |= {
        "steady": cost and round(cost.images_per_second, 1),
        "of_loose": _rounded(of_loose, 3),
        "of_webdataset": _rounded(loop and case.steady_to(loop, "images_per_second"), 3),
        "cpu_ms": cost and round(cost.cpu_ms, 2),
        "of_cpu": _rounded(case.steady_to(loose, "cpu_ms"), 3),
        "peak_mib": round(case.peak_mib()),
        "over_loose": round(case.peak_mib() - loose.peak_mib()),
        "requests": _rounded(case.requests()),
        "read": _rounded(case.read()),
    }
    if case.form not in (LOOSE, LOOP):
        row["verdict"] = _verdict(case, loose, of_loose)
    return row


def _rounded(value: float | None, digits: int = 5) -> float | None:
    return None if value is None else round(value, digits)


def _verdict(case: Case, loose: Case, of_loose: float | None) -> str:
    """Names the goals that are missed, or says that all are met."""
    least = _LEAST.get((case.store.name, case.delay))
    requests = case.requests()
    met: Mapping[str, bool] = {
        "rate": least is None or (of_loose is not None and of_loose >= least),
        "requests": requests is None or requests <= _MOST_REQUESTS,
        "memory": case.peak_mib() - loose.peak_mib() <= _MOST_MIB,
    }
    missed = [name for name, is_met in met.items() if not is_met]
    return f"missed: {', '.join(missed)}" if missed else "met"


def _bills(cases: Sequence[Case]) -> list[dict[str, object]]:
    """Projects dollars a million images from the processor time that an image takes here."""
    last = [case for case in cases if case.store.name == cases[-1].store.name]
    place = [case for case in last if case.delay == min(case.delay for case in last)]
    costs = {case.form: cost for case in place if (cost := case.steady())}
    packed = [cost for form, cost in costs.items() if form not in (LOOSE, LOOP)]
    if LOOSE not in costs or not packed:
        return []
    prices = Prices()
    machines = [
        _MACHINE.dollars(ImageCost(cost.cpu_ms / 1000, None, shuffled, 0), prices)
        for cost, shuffled in zip((costs[LOOSE], packed[0]), _SHUFFLED, strict=True)
    ]
    collections = [
        Collection(images, images_per_shard=rows)
        for images in _PROJECTED
        for rows in (10_000, 1_000_000)
        if rows <= images
    ]
    return bill(collections, (machines[0], machines[1]), prices)


if __name__ == "__main__":
    main()
