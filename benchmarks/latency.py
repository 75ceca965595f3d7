"""The steady rate on images that a server answers late, which tells how well latency is hidden.

python -m benchmarks.latency --images=DIR [--delays 50 200] [--stores local http gcs]
    [--sizes 500 3000] [--gcs_sizes 300 1200] [--rounds 3] [--json=FILE] [-- OPTIONS]

The goals, against no delay over the same protocol: 50 ms cost less than 10 % of the rate, 200 ms
less than 25 %. The delay is on each answer, not on connecting. The servers run on the same
machine: `server_share` is their share of all its cores, and `in_flight` the number of requests
that were waiting on average (rate x requests an image x delay).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Sequence

from benchmarks import corpus, measure, stores
from benchmarks.extraction import (
    Steady,
    extract,
    make_parser,
    report,
    runs,
    steady,
    verdict,
    warm_up,
    write_manifest,
)
from benchmarks.loopback import Counters

_GOALS = {50: 0.90, 200: 0.75}


def main() -> None:
    """Prints a row for every store and delay."""
    parser = make_parser(__doc__)
    parser.add_argument("--delays", nargs="+", type=int, default=[50, 200], metavar="MS")
    names = ["local", "http", "gcs"]
    parser.add_argument("--stores", nargs="+", choices=names, default=names)
    parser.add_argument("--sizes", nargs=2, type=int, default=[500, 3000], metavar="N")
    parser.add_argument("--gcs_sizes", nargs=2, type=int, default=[300, 1200], metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    machine = measure.machine()
    sizes = {name: sorted(options.sizes) for name in ("local", "http")}
    sizes["gcs"] = sorted(options.gcs_sizes)
    delays = [0, *sorted(set(options.delays) - {0})]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        scratch = pathlib.Path(name)
        most = max(sizes[store][1] for store in options.stores)
        manifest = corpus.repeat(options.images, most, scratch / "links")
        links = manifest.read_text().splitlines()
        warm_up(manifest, options=options.extract)
        cases = []
        for store in options.stores:
            small, large = sizes[store]
            if store == "local":
                cases.append(_Case(stores.local(links), 0, (small, large)))
                continue
            opened = stack.enter_context(
                stores.http(links, scratch)
                if store == "http"
                else stores.gcs(links[:large], scratch)
            )
            cases += [_Case(opened, delay, (small, large)) for delay in delays]
        for _ in range(
            options.rounds
        ):  # Rounds are interleaved, so that a noisy minute strikes all.
            for case in cases:
                case.run(scratch, options.extract)
    rates = {(case.store.name, case.delay): case.rate() for case in cases}
    rows = [_row(case, rates) for case in cases]
    raw = {f"{case.store.name} {case.delay} ms": case.raw() for case in cases}
    arguments = {"options": options.extract, "sizes": {key: sizes[key] for key in options.stores}}
    report(rows, options.json, machine=machine, **arguments, runs=raw)


@dataclasses.dataclass
class _Case:
    """A store at a delay, and its runs."""

    store: stores.Store
    delay: int
    sizes: tuple[int, int]
    usages: tuple[list[measure.Usage], list[measure.Usage]] = dataclasses.field(
        default_factory=lambda: ([], [])
    )
    served: list[Counters] = dataclasses.field(default_factory=list)

    def run(self, scratch: pathlib.Path, options: Sequence[str]) -> None:
        """Runs both sizes once."""
        for size, usages in zip(self.sizes, self.usages, strict=True):
            manifest = write_manifest(self.store.uris[:size], scratch / "manifest.txt")
            before = self.store.delay(self.delay)
            arguments = [*self.store.options, *options]
            usages.append(extract(manifest, size, options=arguments, env=self.store.env))
            after = self.store.delay(0)
        # These are the counters of the large run, the last one.
        self.served.append(after.since(before))

    def steady(self) -> Steady | None:
        """The cost of an image."""
        return steady(self.sizes, *self.usages)

    def rate(self) -> float | None:
        """The images a second, if the runs were long enough to tell."""
        result = self.steady()
        return result.images_per_second if result else None

    def raw(self) -> list[dict[str, float]]:
        """Every single run."""
        return runs(self.sizes[0], self.usages[0]) + runs(self.sizes[1], self.usages[1])

    def service(self) -> dict[str, float]:
        """The work of the servers in the large runs."""
        images = self.sizes[1] * len(self.served)
        seconds = sum(usage.seconds for usage in self.usages[1])
        cpu = sum(counters.cpu_seconds for counters in self.served)
        return {
            "requests": round(sum(counters.requests for counters in self.served) / images, 2),
            "connections": round(sum(counters.connections for counters in self.served) / images, 3),
            "server_share": round(cpu / seconds / len(os.sched_getaffinity(0)), 3),
        }


def _row(case: _Case, rates: dict[tuple[str, int], float | None]) -> dict[str, object]:
    remote = bool(case.store.servers)
    rate, base = case.rate(), rates[case.store.name, 0]
    kept = rate / base if remote and rate and base else None
    disk = rates.get(("local", 0))
    goal = _GOALS.get(case.delay) if remote else None
    cost = case.steady()
    row: dict[str, object] = {
        "store": case.store.name,
        "delay_ms": case.delay if remote else None,
        "images_per_s": rate and round(rate, 1),
        "of_no_delay": kept and round(kept, 3),
        "of_local": round(rate / disk, 3) if rate and disk else None,
        "goal": f"> {goal}" if goal else None,
        "verdict": verdict(kept > goal) if goal and kept else None,
        "cpu_ms": cost and round(cost.cpu_ms, 2),
    }
    if remote:
        service = case.service()
        waiting = rate and rate * service["requests"] * case.delay / 1000
        row |= {**service, "in_flight": waiting and round(waiting, 1)}
    return row


if __name__ == "__main__":
    main()
