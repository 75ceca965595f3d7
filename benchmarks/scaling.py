"""The growth of the rate with cores and workers, and its projection to wider machines.

python -m benchmarks.scaling --images=DIR [--cores 1 2] [--sizes 500 3000] [--rounds 3]
    [--vcpus 1 4 16 64] [--vcpu_price 0.056] ... [--json=FILE] [-- OPTIONS]

First Beam's local modes are measured, bound to some of the cores by taskset. Then the projection,
by the critical path: in a worker process threads compute side by side except under the
interpreter's lock, so that a process keeps at most 1 / (share of processor time under the lock)
cores busy. py-spy tells that share: it looks 50 times a second which threads are active, and in
another run which of them holds the lock. Both stretch alike where cores are taken by others.

A projection is not a measurement. It takes a vCPU to be as fast as a core here, storage to be fast
enough, and the machines to start at once. The dollars are for vCPUs, memory and shuffle, not for
disks, traffic between regions, or Cloud Storage's own bill, which is told beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks import corpus, measure
from benchmarks.extraction import Steady, extract, make_parser, report, runs, steady, warm_up
from benchmarks.projection import ImageCost, Machine, Prices, arithmetic, table

_LOOKS = 50  # The looks a second, for each of which py-spy stops the process for 1 to 2 ms.
_MODES = ("in_memory", "multi_threading", "multi_processing")


@dataclasses.dataclass
class _Case:
    """A way to run, and its runs."""

    cores: int
    mode: str
    workers: int
    usages: tuple[list[measure.Usage], list[measure.Usage]] = dataclasses.field(
        default_factory=lambda: ([], [])
    )

    @property
    def name(self) -> str:
        return f"{self.cores} cores, {self.mode}, {self.workers} workers"

    @property
    def options(self) -> list[str]:
        """The options for Beam."""
        if self.mode == "in_memory":
            return []
        return [f"--direct_num_workers={self.workers}", f"--direct_running_mode={self.mode}"]

    @property
    def prefix(self) -> list[str]:
        """The command that binds another one to cores."""
        allowed = sorted(os.sched_getaffinity(0))[: self.cores]
        return [_program("taskset"), "--cpu-list", ",".join(map(str, allowed))]


def main() -> None:
    """Prints the measured modes, then the projection and its arithmetic."""
    options = _parse()
    machine = measure.machine()
    small, large = sizes = (min(options.sizes), max(options.sizes))
    cases = _cases(options.cores, options.modes)
    looks = None if options.locked_share else _Looks()
    _measure(cases, looks, sizes, options)
    results = [steady(sizes, *case.usages) for case in cases]
    rows = [_row(case, result, results[0]) for case, result in zip(cases, results, strict=True)]
    # The last case is the most like a cluster: as many processes as cores, and gRPC between them.
    like, steadily = cases[-1], results[-1]
    more: dict[str, Any] = {
        "options": options.extract,
        "sizes": sizes,
        "runs": {c.name: runs(small, c.usages[0]) + runs(large, c.usages[1]) for c in cases},
        "looks": looks and dataclasses.asdict(looks),
    }
    if steadily is None:
        report(rows, options.json, machine=machine, **more)
        raise RuntimeError(f"{large} images took no longer than {small}; take more images.")
    cost = ImageCost(
        cpu=steadily.cpu_ms / 1000,
        locked_share=looks.share() if looks else options.locked_share,
        shuffled=options.shuffle_bytes,
        gets=options.gets,
    )
    prices = Prices(
        options.vcpu_price, options.memory_price, options.shuffle_price, options.get_price
    )
    machines = [
        Machine(vcpus, processes, options.gb_per_vcpu * vcpus)
        for vcpus in options.vcpus
        for processes in sorted({1, vcpus}, reverse=True)
    ]
    more |= {
        "cost": dataclasses.asdict(cost),
        "prices": dataclasses.asdict(prices),
        "projection": table(machines, cost, prices),
    }
    report(rows, options.json, machine=machine, **more)
    print(f"\nAn image, by the runs above ({like.name}):")
    print(f"  processor time            = {steadily.arithmetic} = {steadily.cpu_ms:.3f} ms")
    if looks:
        print(f"  share under the lock      = {looks.arithmetic()}")
    print("\nProjected, at list prices as of when this was written (see --help):")
    measure.print_table(more["projection"])
    for each in machines[-2:]:  # The others are computed alike.
        print("\n" + "\n".join(arithmetic(each, cost, prices)))


def _measure(
    cases: Sequence[_Case], looks: _Looks | None, sizes: tuple[int, int], options: Any
) -> None:
    """Fills the cases and the looks."""
    with tempfile.TemporaryDirectory() as scratch:
        manifests = [
            corpus.repeat(options.images, size, pathlib.Path(scratch, str(size))) for size in sizes
        ]
        warm_up(manifests[0], options=options.extract)
        for _ in range(
            options.rounds
        ):  # Rounds are interleaved, so that a noisy minute strikes all.
            for case in cases:
                for manifest, size, usages in zip(manifests, sizes, case.usages, strict=True):
                    arguments = [*case.options, *options.extract]
                    usages.append(extract(manifest, size, options=arguments, prefix=case.prefix))
            if looks:
                looks.take(manifests, sizes, options.extract)


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    here, prices = len(os.sched_getaffinity(0)), Prices()
    add = parser.add_argument
    add("--cores", nargs="+", type=int, default=sorted({1, here}), metavar="N")
    add("--modes", nargs="+", choices=_MODES, default=list(_MODES))
    add("--sizes", nargs=2, type=int, default=[500, 3000], metavar="N")
    add("--rounds", type=int, default=3)
    add("--locked_share", type=float, help="Of processor time, instead of asking py-spy.")
    add("--vcpus", nargs="+", type=int, default=[1, 4, 16, 64], metavar="N", help="To project.")
    add("--gb_per_vcpu", type=float, default=3.75, help="n1-standard's (3.75).")
    add("--vcpu_price", type=float, default=prices.vcpu, help=f"USD an hour ({prices.vcpu}).")
    add("--memory_price", type=float, default=prices.memory, help=f"A GB-hour ({prices.memory}).")
    add("--shuffle_price", type=float, default=prices.shuffle, help=f"A GB ({prices.shuffle}).")
    add("--get_price", type=float, default=prices.gets, help=f"1000 reads ({prices.gets}).")
    add("--gets", type=float, default=1, help="Requests to read an image (1); see latency.")
    add(
        "--shuffle_bytes",
        type=float,
        default=600,
        help="Shuffled for an image (600: its URI, key and place, about 150 bytes, go through two "
        "groupings, each written and read once).",
    )
    options = parser.parse_args()
    if too_many := [n for n in options.cores if not 0 < n <= here]:
        parser.error(f"--cores has {too_many[0]}, and this process may use 1 to {here}.")
    return options


def _cases(cores: Sequence[int], modes: Sequence[str]) -> list[_Case]:
    cases = []
    for count in sorted(set(cores)):
        for mode in modes:
            # With one thread, multi_threading is in_memory again.
            fewest = 2 if mode == "multi_threading" else 1
            counts = {1} if mode == "in_memory" else {n for n in (1, count) if n >= fewest}
            cases += [_Case(count, mode, workers) for workers in sorted(counts)]
    return cases


@dataclasses.dataclass
class _Looks:
    """The stacks that py-spy has counted in runs in one process, by their size."""

    active: list[int] = dataclasses.field(default_factory=lambda: [0, 0])
    locked: list[int] = dataclasses.field(default_factory=lambda: [0, 0])

    def take(
        self, manifests: Sequence[pathlib.Path], sizes: Sequence[int], options: Sequence[str]
    ) -> None:
        """Watches two runs of each size, which are slower for it."""
        for which, (manifest, size) in enumerate(zip(manifests, sizes, strict=True)):
            self.active[which] += _look(manifest, size, options)
            self.locked[which] += _look(manifest, size, options, "--gil")

    def share(self) -> float | None:
        """Returns the share of time under the lock; None if it was too little to see."""
        active, locked = self.active[1] - self.active[0], self.locked[1] - self.locked[0]
        return min(1.0, locked / active) if active > 0 and locked > 0 else None

    def arithmetic(self) -> str:
        """Shows how the share was computed."""
        share = self.share()
        return (
            f"({self.locked[1]} - {self.locked[0]} looks with the lock) / ({self.active[1]} - "
            f"{self.active[0]} looks at active threads) = {share and round(share, 3)}"
        )


def _look(manifest: pathlib.Path, count: int, options: Sequence[str], *flags: str) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        output = pathlib.Path(scratch, "stacks.txt")
        prefix = [_program("py-spy"), "record", *flags, f"--rate={_LOOKS}", "--format=raw"]
        extract(manifest, count, options=options, prefix=[*prefix, f"--output={output}", "--"])
        # Each line is a stack and the number of times that it was seen.
        return sum(int(line.rsplit(" ", 1)[1]) for line in output.read_text().splitlines())


def _program(name: str) -> str:
    beside = pathlib.Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise RuntimeError(f"There is no {name} here; install it (py-spy is in extra [bench]).")
    return found


def _row(case: _Case, cost: Steady | None, first: Steady | None) -> dict[str, object]:
    row: dict[str, object] = {"cores": case.cores, "mode": case.mode, "workers": case.workers}
    if cost is None:
        return row
    rate = cost.images_per_second
    gain = rate / first.images_per_second if first else None
    return row | {
        "images_per_s": round(rate, 1),
        "times_first": gain and round(gain, 3),
        "cpu_ms": round(cost.cpu_ms, 3),
        "busy_cores": round(rate * cost.cpu_ms / 1000, 2),
        "start_s": round(cost.start_seconds, 2),
        "peak_mib": round(cost.peak_mib, 1),
    }


if __name__ == "__main__":
    main()
