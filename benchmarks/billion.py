"""What a dataset of a billion rows costs the process that plans, commits and looks at it.

python -m benchmarks.billion --output=DIR [--shards=100000] [--runs=400] [--rows=10000]

It writes a dataset whose shards are names of one true shard, and measures each case in a process
of its own: the seconds and processor seconds of the case itself, and the most memory that the
process had, with that of a process that has only imported what the case needs beside it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks import billion_cases, billion_dataset, measure
from benchmarks.extraction import report


def measured(case: str, dataset: str) -> dict[str, object]:
    """Runs a case in this process; returns what it took."""
    before = _peak_mib()
    start, cpu = time.perf_counter(), time.process_time()
    found = billion_cases.CASES[case](dataset)
    return {
        "case": case,
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mib": round(_peak_mib()),
        "imports_mib": round(before),
        "found": found,
    }


def _peak_mib() -> float:
    # What getrusage tells has the parent's memory in it.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def run_case(case: str, dataset: pathlib.Path) -> dict[str, object]:
    """Runs a case in a new process; what fails is told in the place of what was found."""
    command = [sys.executable, "-m", "benchmarks.billion", f"--case={case}", f"--output={dataset}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"case": case, "found": f"failed: {done.stderr.strip().splitlines()[-1:]}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="A new directory.")
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--rows", type=int, default=10_000, help="The rows of a shard.")
    parser.add_argument("--cases", nargs="*", default=list(billion_cases.CASES))
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="Writes it all there.")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.case:
        print(json.dumps(measured(options.case, str(options.output))))
        return
    dataset = options.output / "dataset"
    try:
        billion_dataset.write(dataset, shards=options.shards, runs=options.runs, rows=options.rows)
        rows = [run_case(case, dataset) for case in options.cases]
    finally:
        shutil.rmtree(options.output, ignore_errors=True)
    report(rows, options.json, machine=measure.machine())


if __name__ == "__main__":
    main()
