"""The time that a run takes to get going, and its imports on the way.

python -m benchmarks.startup --images=DIR [--count 32] [--rounds 5] [--json=FILE] [-- OPTIONS]

The goal is that with a warm model cache the first bundle's features are in the staging directory
less than 3 s after the process began. A cold run has an empty model cache, so that the module is
exported and compiled first; the programs are in the page cache both times. The imports are those
of a warm run in all its processes; a module's seconds are without those of the modules it imports.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

from benchmarks import corpus, measure
from benchmarks.extraction import RUN_ID, extract, make_parser, report, runs, verdict
from image_features.transforms.runtime.progress import read_snapshot

_GOAL_SECONDS = 3.0
_LOOK_SECONDS = 0.005
_TOP = 12
_WATCHED = ("tensorflow", "keras", "apache_beam", "ai_edge_litert")
_CLOCK = pathlib.Path(__file__).with_name("import_clock")


def main() -> None:
    """Prints the times, then the imports."""
    parser = make_parser(__doc__)
    parser.add_argument("--count", type=int, default=32, help="Images of a run.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    machine = measure.machine()
    helps: list[measure.Usage] = []
    colds: list[_Start] = []
    warms: list[_Start] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        manifest = corpus.repeat(options.images, options.count, scratch / "links")
        run = _Runs(manifest, options.count, options.extract, scratch / "features")
        measure.run(_command("--help"))  # The first run reads the programs from the disk.
        for number in range(options.rounds):
            helps.append(measure.run(_command("--help")))
            cache = {"IMAGE_FEATURES_CACHE": str(scratch / f"cache-{number}")}
            colds.append(run.timed(cache))
            warms.append(run.timed(cache))
        imports = run.imports(cache)
    rows = [
        _row("extract --help", helps, []),
        _row(f"{options.count} images, cold cache", [s.usage for s in colds], colds),
        _row(f"{options.count} images, warm cache", [s.usage for s in warms], warms, goal=True),
    ]
    raw = {
        "help": runs(0, helps),
        "cold": runs(options.count, [start.usage for start in colds]),
        "warm": runs(options.count, [start.usage for start in warms]),
    }
    firsts = {
        "cold": [start.first_bundle for start in colds],
        "warm": [start.first_bundle for start in warms],
    }
    report(
        rows,
        options.json,
        machine=machine,
        options=options.extract,
        imports=imports,
        runs=raw,
        first_bundles=firsts,
    )
    print()
    measure.print_table(imports)
    for package in ("tensorflow", "keras"):
        found = any(row["package"] == package and row["modules"] for row in imports)
        print(f"{package} with a warm cache: {'imported' if found else 'not imported'}")


@dataclasses.dataclass(frozen=True)
class _Start:
    """A run of the extractor.

    Attributes:
      usage: The cost of the run.
      first_bundle: The seconds until its first bundle was in staging; None if nobody saw it.
    """

    usage: measure.Usage
    first_bundle: float | None


@dataclasses.dataclass(frozen=True)
class _Runs:
    """A run that is done again and again."""

    manifest: pathlib.Path
    count: int
    options: Sequence[str]
    output: pathlib.Path

    def timed(self, env: dict[str, str]) -> _Start:
        """Runs the extractor, and watches its staging directory."""
        with _first_bundle(self.output / RUN_ID / ".staging") as seconds:
            usage = extract(
                self.manifest, self.count, options=self.options, output=self.output, env=env
            )
        return _Start(usage, seconds[0] if seconds else None)

    def imports(self, env: dict[str, str]) -> list[dict[str, object]]:
        """Returns modules and seconds by top-level package: the slowest, and the watched ones."""
        with tempfile.TemporaryDirectory() as logs:
            paths = [str(_CLOCK), *filter(None, [os.environ.get("PYTHONPATH")])]
            clock = {"PYTHONPATH": os.pathsep.join(paths), "IMPORT_CLOCK": logs}
            extract(
                self.manifest, self.count, options=self.options, output=self.output,
                env={**env, **clock},
            )  # fmt: skip
            texts = [path.read_text() for path in pathlib.Path(logs).iterdir()]
        seconds: collections.defaultdict[str, float] = collections.defaultdict(float)
        modules: collections.defaultdict[str, set[str]] = collections.defaultdict(set)
        processes: collections.defaultdict[str, set[int]] = collections.defaultdict(set)
        for process, text in enumerate(texts):
            for line in text.splitlines():
                took, module = line.split()
                package = module.partition(".")[0]
                seconds[package] += float(took)
                modules[package].add(module)
                processes[package].add(process)
        order = sorted(seconds, key=lambda package: -seconds[package])[:_TOP]
        order += [package for package in _WATCHED if package not in order]
        return [
            {
                "package": package,
                "processes": len(processes[package]),
                "modules": len(modules[package]),
                "import_s": round(seconds[package], 3),
            }
            for package in order
        ]


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "image_features", "extract", *arguments]


@contextlib.contextmanager
def _first_bundle(staging: pathlib.Path) -> Iterator[list[float]]:
    """Yields a list that gets the seconds until workers report written rows, once they do."""
    found: list[float] = []
    stop = threading.Event()
    start = time.perf_counter()

    def look() -> None:
        while not stop.wait(_LOOK_SECONDS):
            if read_snapshot(str(staging)).done:
                found.append(time.perf_counter() - start)
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def _row(
    what: str, usages: Sequence[measure.Usage], starts: Sequence[_Start], *, goal: bool = False
) -> dict[str, object]:
    firsts = [start.first_bundle for start in starts if start.first_bundle is not None]
    first = statistics.median(firsts) if firsts else None
    return {
        "run": what,
        "first_bundle_s": first and round(first, 2),
        "exit_s": round(statistics.median(usage.seconds for usage in usages), 2),
        "cpu_s": round(statistics.median(usage.cpu_seconds for usage in usages), 2),
        "peak_mib": round(statistics.median(usage.peak_mib for usage in usages), 1),
        "goal": f"first bundle < {_GOAL_SECONDS:g} s" if goal else None,
        "verdict": verdict(first < _GOAL_SECONDS) if goal and first else None,
    }


if __name__ == "__main__":
    main()
