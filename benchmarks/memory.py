"""The peak memory of all processes by the number of images, which tells whether it stays flat.

python -m benchmarks.memory --images=DIR [--counts 20000 200000] [--json=FILE] [-- OPTIONS]

The goals are less than 1536 MiB whatever the number of images, and for the largest run at most 1.15
times the smallest. The model is compiled before, since that is done once a machine.
"""

from __future__ import annotations

import pathlib
import statistics
import tempfile

from benchmarks import corpus, measure
from benchmarks.extraction import extract, make_parser, report, runs, verdict, warm_up

_MOST_MIB = 1536
_MOST_RATIO = 1.15


def main() -> None:
    """Prints a row for every count, and what an image adds."""
    parser = make_parser(__doc__)
    parser.add_argument("--counts", nargs="+", type=int, default=[20_000, 200_000])
    parser.add_argument("--rounds", type=int, default=1, help="Runs of each; medians count.")
    options = parser.parse_args()
    counts = sorted(set(options.counts))
    machine = measure.machine()
    usages: dict[int, list[measure.Usage]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as scratch:
        manifests = {
            count: corpus.repeat(options.images, count, pathlib.Path(scratch, str(count)))
            for count in counts
        }
        warm_up(manifests[counts[0]], options=options.extract)
        for _ in range(options.rounds):
            for count in counts:
                usages[count].append(extract(manifests[count], count, options=options.extract))
    peaks = {count: statistics.median(run.peak_mib for run in usages[count]) for count in counts}
    rows = [_row(count, peaks, usages[count]) for count in counts]
    growth = _growth(peaks)
    report(
        rows,
        options.json,
        machine=machine,
        options=options.extract,
        rounds=options.rounds,
        bytes_per_image=growth,
        runs=[run for count in counts for run in runs(count, usages[count])],
    )
    if growth is not None:
        print(
            f"growth: ({peaks[counts[-1]]:.1f} MiB - {peaks[counts[0]]:.1f} MiB) / "
            f"({counts[-1]} - {counts[0]} images) = {growth:.0f} bytes an image"
        )


def _row(
    count: int, peaks: dict[int, float], usages: list[measure.Usage]
) -> dict[str, str | float]:
    ratio = peaks[count] / peaks[min(peaks)]
    seconds = statistics.median(usage.seconds for usage in usages)
    return {
        "images": count,
        "peak_mib": round(peaks[count], 1),
        "times_smallest": round(ratio, 3),
        "seconds": round(seconds, 2),
        "images_per_s": round(count / seconds, 1),
        "goal": f"< {_MOST_MIB} MiB, <= {_MOST_RATIO}",
        "verdict": verdict(peaks[count] < _MOST_MIB and ratio <= _MOST_RATIO),
    }


def _growth(peaks: dict[int, float]) -> float | None:
    """Returns the bytes that an image adds to the peak, from the smallest run to the largest."""
    small, large = min(peaks), max(peaks)
    if small == large:
        return None
    return (peaks[large] - peaks[small]) * measure.MIB / (large - small)


if __name__ == "__main__":
    main()
