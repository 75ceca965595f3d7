"""Runs of `extract` as a command: every row is accounted for, and all are reported alike."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure

RUN_ID = "run"
_WARM_UP = 8


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Makes a parser with the options that benchmarks of the extraction share."""
    parser = argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", required=True, type=pathlib.Path, help="Their directory.")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="Writes it all there.")
    parser.add_argument(
        "extract", nargs="*", metavar="OPTION", help="Options of extract, after --."
    )
    return parser


def extract(
    manifest: pathlib.Path | str,
    count: int,
    *,
    options: Sequence[str] = (),
    output: pathlib.Path | None = None,
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> measure.Usage:
    """Extracts a manifest, and deletes the output when its rows are counted.

    Args:
      manifest: The manifest to read, or another input.
      count: The number of images in it.
      options: More options of `extract`.
      output: A directory that is not there yet, or None for a temporary one. The run is
        OUTPUT/`RUN_ID`.
      env: Environment variables beside those of this process.
      prefix: A command that runs the command, such as taskset.

    Raises:
      RuntimeError: the command failed, or a row did not come out.
    """
    with tempfile.TemporaryDirectory() as scratch:
        output = output or pathlib.Path(scratch, "features")
        command = [*prefix, sys.executable, "-m", "image_features", "extract"]
        command += [f"--input={manifest}"]
        command += [f"--output={output}", f"--run_id={RUN_ID}", *options]
        usage = measure.run(command, env=env)
        run = json.loads((output / RUN_ID / "run.json").read_text())
        _check_rows(run, count)
        shutil.rmtree(output)
    return usage


def _check_rows(run: dict[str, Any], count: int) -> None:
    counts = run["counts"]
    written = sum(file["rows"] for file in run["files"] if file["kind"] == "features")
    if not counts["rows_out"] == written == count:
        raise RuntimeError(
            f"Of {count} images {counts['rows_out']} came out ({written} in shards), "
            f"{counts['rows_failed']} failed: {counts['failed_by_reason']}; every image must pass."
        )


def warm_up(manifest: pathlib.Path, *, options: Sequence[str] = ()) -> None:
    """Extracts a few images, so that the model is compiled and the programs are in memory."""
    with tempfile.TemporaryDirectory() as scratch:
        few = manifest.read_text().splitlines()[:_WARM_UP]
        part = write_manifest(few, pathlib.Path(scratch, "few.txt"))
        extract(part, len(few), options=options)


def write_manifest(uris: Sequence[str], path: pathlib.Path) -> pathlib.Path:
    """Writes a text manifest; returns its path."""
    path.write_text("".join(f"{uri}\n" for uri in uris))
    return path


@dataclasses.dataclass(frozen=True)
class Steady:
    """The cost of an image once all is running: large runs less small ones, by their medians.

    Attributes:
      images_per_second: The additional images, divided by the additional time.
      cpu_ms: The processor time of all processes for an image, in milliseconds.
      start_seconds: The rest of a run's time without its images: its start and end.
      peak_mib: The peak memory of the large runs, in MiB.
      arithmetic: A text that shows how the processor time was computed.
    """

    images_per_second: float
    cpu_ms: float
    start_seconds: float
    peak_mib: float
    arithmetic: str


def steady(
    sizes: tuple[int, int], small: Sequence[measure.Usage], large: Sequence[measure.Usage]
) -> Steady | None:
    """Compares the runs of two sizes; None if the large ones took no longer, being too small."""
    images = sizes[1] - sizes[0]
    times = [statistics.median(run.seconds for run in runs) for runs in (small, large)]
    cpus = [statistics.median(run.cpu_seconds for run in runs) for runs in (small, large)]
    if times[1] <= times[0] or cpus[1] <= cpus[0]:
        return None
    cpu = (cpus[1] - cpus[0]) / images
    return Steady(
        images_per_second=images / (times[1] - times[0]),
        cpu_ms=1000 * cpu,
        start_seconds=times[0] - sizes[0] * (times[1] - times[0]) / images,
        peak_mib=statistics.median(run.peak_mib for run in large),
        arithmetic=f"({cpus[1]:.2f} s - {cpus[0]:.2f} s) / ({sizes[1]} - {sizes[0]} images)",
    )


def runs(images: int, usages: Sequence[measure.Usage]) -> list[dict[str, float]]:
    """Describes single runs for JSON."""
    return [
        {
            "images": images,
            "seconds": round(usage.seconds, 3),
            "cpu_seconds": round(usage.cpu_seconds, 3),
            "peak_mib": round(usage.peak_mib, 1),
        }
        for usage in usages
    ]


def report(
    rows: Sequence[Mapping[str, object]],
    path: pathlib.Path | None,
    *,
    machine: Mapping[str, object],
    **more: object,
) -> None:
    """Prints the rows as a table; writes them, the machine and more as JSON if asked."""
    measure.print_table(list(rows))
    if path:
        result = {"machine": machine, **more, "rows": list(rows)}
        path.write_text(json.dumps(result, indent=2) + "\n")


def verdict(met: bool) -> str:
    """Returns the word that a table has for a goal that is met or missed."""
    return "met" if met else "missed"
