"""The images a second, against other ways to the same features, on all cores of this machine.

python -m benchmarks.throughput --images=DIR [--count=10000] [--small=2000] [--rounds=3]
  [--only NAME ...] [--format=png] [--model=HANDLE] [--json=FILE]

Every contender runs on two sizes, so that its steady rate can be told from its start-up. Rounds
are interleaved, since a machine is slower at one time than at another, and medians are given.
The images must be JPEG photographs: that is what the contenders' fast decoding is for. With
--format they are encoded anew before any time is taken, for the product and the tight loop, which
has a fast way for each format. Install the extra [bench], and for Daft [bench-daft] after it,
without constraints.txt.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import corpus, measure
from benchmarks.contenders.roster import OURS, ROSTER, TIGHT_LOOP, Arena, Contender

_WARM_UP = 100
# The mean feature may differ by this share, since decoders differ in pixels, not in pictures.
_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True)
class Sample:
    """A run of a contender.

    Attributes:
      usage: The cost of the run.
      work: Its JSON line, `images`, `features` and `checksum`, where its output was read.
      stage_seconds: The seconds of each stage, which only our product tells.
    """

    usage: measure.Usage
    work: Mapping[str, Any] | None
    stage_seconds: Mapping[str, float] | None


@dataclasses.dataclass
class Record:
    """All runs of a contender.

    Attributes:
      status: "ok", or the reason why there is no number.
      samples: The runs by their number of images, in order.
    """

    contender: Contender
    status: str = "ok"
    samples: dict[int, list[Sample]] = dataclasses.field(default_factory=dict)

    def median(self, count: int, attribute: str) -> float:
        """Returns the median of an attribute of Usage."""
        values = [getattr(sample.usage, attribute) for sample in self.samples[count]]
        return statistics.median(values)

    def checksum(self, count: int) -> float:
        """The checksum of the first run."""
        work = self.samples[count][0].work
        return float(work["checksum"]) if work else float("nan")


def main() -> int:
    """Prints a table, and JSON if asked; returns 1 if a contender failed or did other work."""
    names = [contender.name for contender in ROSTER]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, type=pathlib.Path, help="JPEG files, any depth.")
    parser.add_argument("--count", type=int, default=10_000, help="Images of a long run.")
    parser.add_argument("--small", type=int, default=2_000, help="Images of a short run.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME")
    parser.add_argument("--format", choices=corpus.FORMATS, help="Encode the images so.")
    parser.add_argument("--model", default="builtin", help="As `extract` takes it.")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if not 0 < options.small < options.count or options.rounds < 1:
        parser.error("--small must be positive and less than --count, and --rounds at least 1.")
    only = options.only or ([TIGHT_LOOP, OURS] if options.format else names)
    machine = measure.machine()
    with tempfile.TemporaryDirectory(prefix="throughput-") as scratch:
        sizes = (_WARM_UP, options.small, options.count)
        workloads = []
        try:
            images = options.images
            if options.format:
                images = corpus.encode_anew(images, pathlib.Path(scratch, "anew"), options.format)
            for index, count in enumerate(sizes):
                links = pathlib.Path(scratch, f"images-{index}")
                workloads.append((count, corpus.repeat(images, count, links)))
        except ValueError as error:
            parser.error(str(error))
        arena = Arena.prepare(options.model, pathlib.Path(scratch))
        records = [Record(entry) for entry in ROSTER if entry.name in only]
        _measure(records, arena, workloads, options.rounds)
    _compare(records, options.count)
    rows = _rows(records, options.small, options.count)
    measure.print_table(rows)
    if options.json:
        result = {
            "machine": machine,
            "model": options.model,
            "format": options.format or "as they are",
            "count": options.count,
            "small": options.small,
            "rounds": options.rounds,
            "contenders": [
                {**row, "runs": _runs(record)} for row, record in zip(rows, records, strict=True)
            ],
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return int(any(record.status not in ("ok", "not installed") for record in records))


def _measure(
    records: Sequence[Record],
    arena: Arena,
    workloads: Sequence[tuple[int, pathlib.Path]],
    rounds: int,
) -> None:
    """Fills the records, after a round on the first workload that does not count.

    A contender that fails takes no further part.
    """
    for record in records:
        if not record.contender.installed():
            record.status = "not installed"
    for number in range(rounds + 1):
        # Each round begins with another contender.
        turn = number % len(records)
        for record in (*records[turn:], *records[:turn]):
            for count, manifest in workloads[1:] if number else workloads[:1]:
                if record.status != "ok":
                    continue
                print(f"round {number}: {record.contender.name}, {count}", file=sys.stderr)
                os.sync()  # The output of the contender before must not burden this one.
                try:
                    sample = _sample(record.contender, arena, manifest, count, verify=number == 1)
                except (RuntimeError, ValueError, OSError) as error:
                    print(error, file=sys.stderr)
                    record.status = f"failed: {str(error).splitlines()[-1][-60:]}"
                    continue
                if number:
                    record.samples.setdefault(count, []).append(sample)


def _sample(
    contender: Contender, arena: Arena, manifest: pathlib.Path, count: int, *, verify: bool
) -> Sample:
    with tempfile.TemporaryDirectory(dir=arena.scratch) as parent:
        output = pathlib.Path(parent, "output")
        usage = measure.run(contender.command(arena, manifest, output), env=arena.environment)
        run = contender.run_file(output)
        if run is not None and run["counts"]["rows_out"] != count:
            raise ValueError(f"Of {count} images, {run['counts']['rows_out']} came out.")
        work = contender.work(arena, output, usage.output) if verify else None
        if work is not None and work["images"] != count:
            raise ValueError(f"Of {count} images, {work['images']} came out.")
    return Sample(usage, work, contender.stage_seconds(usage.output))


def _compare(records: Sequence[Record], count: int) -> None:
    """Marks the contenders that did other work than the tight loop."""
    tight = _find(records, TIGHT_LOOP)
    if tight is None:
        return
    expected = tight.checksum(count)
    for record in records:
        if record.status == "ok":
            difference = abs(record.checksum(count) - expected) / abs(expected)
            if not difference <= _TOLERANCE:
                record.status = f"other features: differ by {difference:.1%}"


def _find(records: Sequence[Record], name: str) -> Record | None:
    for record in records:
        if record.contender.name == name and record.status == "ok":
            return record
    return None


@dataclasses.dataclass(frozen=True)
class Rates:
    """The images a second: `whole` with the start-up, `steady` without."""

    whole: float | None = None
    steady: float | None = None


def _rates(record: Record, small: int, count: int) -> Rates:
    if record.status.startswith(("failed", "not")):
        return Rates()
    whole = record.median(count, "seconds")
    growth = whole - record.median(small, "seconds")
    # On a busy machine a short run may take longer than a long one, and tells nothing then.
    return Rates(count / whole, (count - small) / growth if growth > 0 else None)


def _rows(records: Sequence[Record], small: int, count: int) -> list[dict[str, object]]:
    rates = {record.contender.name: _rates(record, small, count) for record in records}
    tight, ours = rates.get(TIGHT_LOOP, Rates()), rates.get(OURS, Rates())
    rows: list[dict[str, object]] = []
    for record in records:
        own = rates[record.contender.name]
        row: dict[str, object] = {
            "contender": record.contender.name,
            "img/s": own.whole,
            "steady img/s": own.steady,
            "cpu ms/img": None,
            "peak MiB": None,
            "of tight": _ratio(own.whole, tight.whole),
            "of tight, steady": _ratio(own.steady, tight.steady),
            "ours to it": _ratio(ours.whole, own.whole),
            "ours to it, steady": _ratio(ours.steady, own.steady),
            "spread": None,
            "features": record.status,
            "stages, s": None,
        }
        if own.whole is not None:
            row["cpu ms/img"] = 1000 * record.median(count, "cpu_seconds") / count
            row["peak MiB"] = record.median(count, "peak_mib")
            row["spread"] = _spread(record, count)
            took = record.samples[count][-1].stage_seconds or {}
            row["stages, s"] = " ".join(f"{name} {value:.1f}" for name, value in took.items())
        rows.append(row)
    return rows


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


def _spread(record: Record, count: int) -> str | None:
    """Returns how far the runs of one size lie apart, as a share of their median."""
    seconds = [sample.usage.seconds for sample in record.samples[count]]
    if len(seconds) < 2:
        return None
    return f"{(max(seconds) - min(seconds)) / statistics.median(seconds):.0%}"


def _runs(record: Record) -> list[dict[str, Any]]:
    return [
        {
            "count": count,
            "seconds": sample.usage.seconds,
            "cpu_seconds": sample.usage.cpu_seconds,
            "peak_mib": sample.usage.peak_mib,
            "work": sample.work,
            "stage_seconds": sample.stage_seconds,
        }
        for count, samples in record.samples.items()
        for sample in samples
    ]


if __name__ == "__main__":
    sys.exit(main())
