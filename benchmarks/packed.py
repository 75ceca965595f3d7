"""The rate on images that lie packed, against loose files of the same images.

python -m benchmarks.packed --images=DIR [--formats tar parquet tfrecord zip]
    [--stores local http] [--delays 0 50] [--sizes 1000 10000] [--rounds 2] [--json=FILE]
    [-- OPTIONS]

The goals, against loose files in the same store with the same delay: at least 0.95 of their rate
from disk, at least 1.5 times with 50 ms; at most 0.001 requests an image; a peak of memory within
64 MiB of theirs. The ceiling is webdataset with the tight loop, in the same run.

Rates are steady ones, large runs less small ones; `whole` has the start-up too. `of_cpu` compares
processor time, which other work on the machine disturbs less. `read` is how often a server sent
what the archive holds. Images get as many names as are wanted, and each size has an archive of
each format, which needs the disk space of so many images; all of it is in the page cache.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence

from benchmarks import corpus, measure, stores
from benchmarks.contenders.roster import Arena, Contender
from benchmarks.extraction import (
    Steady,
    extract,
    make_parser,
    report,
    runs,
    steady,
    warm_up,
    write_manifest,
)
from benchmarks.loopback import Counters
from benchmarks.packing import WRITERS

LOOSE = "loose"
LOOP = "webdataset"
_LEAST = {("local", 0): 0.95, ("http", 50): 1.5}
_MOST_REQUESTS = 0.001
_MOST_MIB = 64
_LOOP = Contender("webdataset_loop", "webdataset", prints_work=True)


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
    rows = table(cases)
    raw = {case.name: case.raw() for case in cases}
    report(rows, options.json, machine=machine, options=options.extract, sizes=sizes, runs=raw)


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
            if "tar" in archives and _LOOP.installed():
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


@dataclasses.dataclass
class Case:
    """A form in a store with a delay, and its runs.

    Attributes:
      store: Where the images are.
      form: The format of the archive, `LOOSE`, or `LOOP` for webdataset's reading of a .tar.
      delay: The delay of each answer in milliseconds.
      sizes: The numbers of images.
      inputs: The input for each size.
      archives: The paths of the archives, of which there are none for loose images.
      arena: What a contender needs; None for our product.
    """

    store: stores.Store
    form: str
    delay: int
    sizes: tuple[int, int]
    inputs: Sequence[str]
    archives: Sequence[str] = ()
    arena: Arena | None = None
    usages: tuple[list[measure.Usage], list[measure.Usage]] = dataclasses.field(
        default_factory=lambda: ([], [])
    )
    served: list[Counters] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """The name in the results."""
        return f"{self.store.name} {self.delay} ms {self.form}"

    def run(self, options: Sequence[str]) -> None:
        """Runs both sizes once."""
        for size, location, usages in zip(self.sizes, self.inputs, self.usages, strict=True):
            before = self.store.delay(self.delay)
            if self.arena is not None:
                usages.append(_read_by_webdataset(location, size, self.arena))
            else:
                arguments = [*self.store.options, *options]
                usages.append(extract(location, size, options=arguments, env=self.store.env))
            after = self.store.delay(0)
        # These are the counters of the large run, the last one.
        self.served.append(after.since(before))

    def steady(self) -> Steady | None:
        """The cost of an image."""
        return steady(self.sizes, *self.usages)

    def whole(self) -> float:
        """The images a second of large runs, with their start-up."""
        return self.sizes[1] / statistics.median(usage.seconds for usage in self.usages[1])

    def peak_mib(self) -> float:
        """The peak of memory of large runs."""
        return statistics.median(usage.peak_mib for usage in self.usages[1])

    def requests(self) -> float | None:
        """The requests for an image; None if nothing was asked of a server."""
        if not self.store.servers:
            return None
        return statistics.median(counters.requests for counters in self.served) / self.sizes[1]

    def read(self) -> float | None:
        """How often a server sent what the archive holds."""
        if not self.store.servers or not self.archives:
            return None
        sent = statistics.median(counters.sent for counters in self.served)
        return sent / pathlib.Path(self.archives[1]).stat().st_size

    def raw(self) -> list[dict[str, float]]:
        """Every single run."""
        return runs(self.sizes[0], self.usages[0]) + runs(self.sizes[1], self.usages[1])


def _read_by_webdataset(location: str, count: int, arena: Arena) -> measure.Usage:
    manifest = write_manifest([location], arena.scratch / "archives.txt")
    command = _LOOP.command(arena, manifest, arena.scratch / "nothing")
    usage = measure.run(command, env=arena.environment)
    images = json.loads(usage.output)["images"]
    if images != count:
        raise RuntimeError(f"webdataset read {images} of {count} images.")
    return usage


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
        "of_loose_whole": round(case.whole() / loose.whole(), 3),
    }
    cost, base, ceiling = case.steady(), loose.steady(), loop.steady() if loop else None
    of_loose = cost.images_per_second / base.images_per_second if cost and base else None
    row |= {
        "steady": cost and round(cost.images_per_second, 1),
        "of_loose": of_loose and round(of_loose, 3),
        "of_webdataset": cost
        and ceiling
        and round(cost.images_per_second / ceiling.images_per_second, 3),
        "cpu_ms": cost and round(cost.cpu_ms, 2),
        "of_cpu": round(cost.cpu_ms / base.cpu_ms, 3) if cost and base else None,
        "peak_mib": round(case.peak_mib()),
        "over_loose": round(case.peak_mib() - loose.peak_mib()),
        "requests": _rounded(case.requests()),
        "read": _rounded(case.read()),
    }
    if case.form not in (LOOSE, LOOP):
        row["verdict"] = _verdict(case, loose, of_loose)
    return row


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


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


if __name__ == "__main__":
    main()
