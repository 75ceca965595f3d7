"""What `dedup` finds of what there is, and what it takes.

python -m benchmarks.dedup recall --images=DIR [--rows=100000] [--thresholds 0.9 0.95 0.98]
    [--sample=4000]
python -m benchmarks.dedup scale --images=DIR [--rows=1000000] [--thresholds 0.98]
python -m benchmarks.dedup found --images=DIR [--models builtin ...] [--peers=PYTHON]

Each takes [--json=FILE] [-- OPTIONS], the options of `extract`.

`recall` compares what the command finds among synthetic rows (see `benchmarks.synthetic`) with all
pairs by brute force, or with those that a random sample of rows is in. The goals are a precision of
1 and a recall of at least 0.99. `scale` tells the seconds and the peak of resident memory of each
part; the goals for a million rows on two cores are an hour and 4096 MiB. A row takes 5.5 KB of disk
in the dataset, and 5 KB more while it works.

`found` plants what people and programs make of photographs (see `benchmarks.variants`), and tells
which share of each kind is at least so alike to its original, and how many pairs of different
photographs are as well. PYTHON is that of an environment with imagededup or fastdup, which find
pairs in the same files then.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable

import numpy as np

from benchmarks import found, measure, synthetic, truth
from benchmarks.extraction import make_parser, report, verdict
from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.series import open_series

_LEAST_RECALL = 0.99
_MOST_SECONDS = 3600
_MOST_MIB = 4096
_TIMEOUT = 4 * 3600.0


def main() -> None:
    """Prints what one of the commands tells."""
    options = _parse()
    _COMMANDS[options.command](options)


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("command", choices=list(_COMMANDS))
    parser.add_argument("--rows", type=int, help="Of the synthetic dataset.")
    parser.add_argument("--thresholds", type=float, nargs="+", help="The least cosines.")
    parser.add_argument("--sample", type=int, metavar="N", help="Rows to compare with all (all).")
    parser.add_argument("--models", nargs="+", default=["builtin"], help="For `found`.")
    parser.add_argument("--peers", metavar="PYTHON", help="Of an environment with other tools.")
    options: argparse.Namespace = parser.parse_args()
    return options


def _recall(options: argparse.Namespace) -> None:
    machine = measure.machine()
    thresholds = sorted(options.thresholds or [0.9, 0.95, 0.98])
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        dataset = _dataset(options, scratch, options.rows or 100_000)
        usages = {}
        for threshold in thresholds:
            command = [sys.executable, "-m", "image_features", "dedup", str(dataset)]
            command += [str(scratch / f"{threshold}"), f"--threshold={threshold}", "--samples=0"]
            usages[threshold] = measure.run(command, timeout=_TIMEOUT)
        rows = read_rows(dataset)
        sample = options.sample and np.sort(
            np.random.default_rng(0).choice(len(rows.keys), options.sample, replace=False)
        )
        pairs = truth.near_pairs(rows, thresholds[0], sample)
        table = []
        for threshold, usage in usages.items():
            groups = found.read_groups(scratch / f"{threshold}")
            scores = truth.score(
                groups, rows, pairs.above(threshold), threshold, whole=sample is None
            )
            least = min(scores["recall"], scores.get("rows_recall", 1))
            met = scores["precision"] == 1 and least >= _LEAST_RECALL
            row: dict[str, object] = {"threshold": threshold, **_rounded(scores)}
            row |= {"seconds": round(usage.seconds, 1), "peak_mib": round(usage.peak_mib)}
            table.append({**row, "verdict": verdict(met)})
    report(table, options.json, machine=machine, rows_compared=len(rows.keys))


def _scale(options: argparse.Namespace) -> None:
    machine = measure.machine()
    count = options.rows or 1_000_000
    table: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        dataset = _dataset(options, scratch, count)
        for threshold in options.thresholds or [0.98]:
            command = [sys.executable, "-m", "benchmarks.dedup_phases", str(dataset)]
            command += [str(scratch / f"{threshold}"), f"--threshold={threshold}"]
            usage = measure.run(command, timeout=_TIMEOUT)
            parts = json.loads(usage.output.strip().splitlines()[-1])
            shared = {"rows": count, "threshold": threshold}
            table += [{**shared, "part": part, **cost} for part, cost in parts.items()]
            met = usage.seconds <= _MOST_SECONDS and usage.peak_mib <= _MOST_MIB
            whole = {"seconds": round(usage.seconds, 2), "peak_mib": round(usage.peak_mib, 1)}
            goal = {"cpu_seconds": round(usage.cpu_seconds, 1), "verdict": verdict(met)}
            table.append({**shared, "part": "whole", **whole, **goal})
    report(table, options.json, machine=machine)


def _found(options: argparse.Namespace) -> None:
    machine = measure.machine()
    thresholds = sorted(options.thresholds or [0.9, 0.95, 0.98], reverse=True)
    with tempfile.TemporaryDirectory() as name:
        place = found.Place.plant(options.images, pathlib.Path(name))
        rows = [row for model in options.models for row in place.by_model(model, thresholds)]
        rows += place.by_peers(options.peers) if options.peers else []
    report(rows, options.json, machine=machine)


def _dataset(options: argparse.Namespace, scratch: pathlib.Path, rows: int) -> pathlib.Path:
    template = synthetic.photographs(options.images, scratch / "photographs", options.extract)
    synthetic.write(template, scratch / "dataset", rows, synthetic.Planted.among(rows))
    return scratch / "dataset"


def read_rows(dataset: pathlib.Path) -> truth.Rows:
    """Reads what brute force compares."""
    keys, files, pixels, vectors = [], [], [], []
    for block in LatestRows(open_series(str(dataset)).runs).seen():
        keys += [record.text("image/key") for record in block.records]
        files += [record.text("image/sha256") for record in block.records]
        pixels += [
            record.number("image/width") * record.number("image/height") for record in block.records
        ]
        vectors.append(block.features)
    order = np.argsort(np.array(keys))
    _, numbers = np.unique(np.array(files), return_inverse=True)
    return truth.Rows(
        np.array(keys)[order],
        np.concatenate(vectors)[order],
        numbers[order],
        np.array(pixels)[order],
    )


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    # Rounding must not make a miss a hit.
    return {
        name: float(f"{value:.6g}") if name == "error" else value for name, value in scores.items()
    }


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "recall": _recall,
    "scale": _scale,
    "found": _found,
}


if __name__ == "__main__":
    main()
