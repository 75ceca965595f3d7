"""Damaged image files of all formats, each of which must end as pixels or as one error.

python -m benchmarks.fuzz --mutants=N [--seed=0] [--whole] [--keep=DIR] [--again NUMBER ...]
    [--json=FILE]

The files of the tests' corpus are damaged as drawn from the seed: in what their formats mean, such
as chunks with sums that are right again, tags, boxes, tables and sizes; and in plain bytes. Each
mutant is decoded twice within four megapixels and two seconds, in a process that is watched. Pixels
must have the right shape and be the same the second time; a failure must have a reason; neither may
take more time or memory than is allowed; the process must live. What ends otherwise is written
into a directory and told, with 1 as the exit code; so is, without blame, what crashed a child.

With --whole the mutants are the rows of one manifest and go through `extract`: all of them must
come out, as a row of features or as an error.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks import measure
from benchmarks.examiner import PIXELS, Examiner, Verdict
from benchmarks.extraction import report
from benchmarks.mutations.mutant import Breeder, Mutant
from benchmarks.mutations.origins import origins
from image_features.transforms.images.policy import DECODES, DecodePolicy
from image_features.transforms.values import Reason

_MEGAPIXELS = 4
_SECONDS = 2.0
_FILTERS: tuple[dict[str, Any], ...] = (
    {"interpolation": "bilinear"},
    {"interpolation": "bicubic", "antialias": False},
    {"interpolation": "lanczos"},
    {"interpolation": "nearest"},
    {"interpolation": "area"},
)
_WORDS = 200  # Of a name, which a file system must take.


def main() -> int:
    """Prints what became of the mutants of each format; returns 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=2000, help="How many (2000).")
    parser.add_argument("--seed", type=int, default=0, help="Of what is drawn (0).")
    parser.add_argument("--whole", action="store_true", help="All through one run of extract.")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="For what went wrong.")
    parser.add_argument("--again", nargs="+", type=int, metavar="NUMBER", help="These only.")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="Writes it all there.")
    options = parser.parse_args()
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # Pillow warns of much that is damaged.
    machine = measure.machine()
    breeder = Breeder(origins(), options.seed)
    numbers = options.again or range(options.mutants)
    mutants = track(
        (breeder.mutant(number) for number in numbers),
        "decoding",
        total=len(numbers),
        console=Console(stderr=True),
        transient=True,
    )
    keep = _Keep(options.keep)
    examined = _whole(mutants) if options.whole else _each(mutants, options.seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    wrong, crashed, worst = [], [], Verdict("none")
    for mutant, verdict in examined:
        outcomes[mutant.format, verdict.outcome] += 1
        worst = worst.worse(verdict)
        if verdict.problem:
            wrong.append(keep.told(mutant, verdict.problem))
        elif verdict.outcome == Reason.DECODER_CRASHED:
            crashed.append(keep.told(mutant, "It has crashed a child."))
    report(
        _rows(outcomes),
        options.json,
        machine=machine,
        seed=options.seed,
        worst=dataclasses.asdict(worst),
        wrong=wrong,
        crashed=crashed,
    )
    print(
        f"At most {worst.seconds:.1f} s and {worst.mib:.0f} MiB for one; at rest all processes had "
        f"{worst.resting_mib:.0f} MiB at most. Crashes of children: {len(crashed)}. "
        f"Wrong: {len(wrong)}."
    )
    for line in (*crashed, *wrong):
        print(line, file=sys.stderr)
    return 1 if wrong else 0


class _Keep:
    """The directory for mutants that went wrong, made when it is needed."""

    def __init__(self, directory: pathlib.Path | None) -> None:
        self._directory = directory

    def told(self, mutant: Mutant, problem: str) -> str:
        """Writes a mutant into the directory; returns what to tell of it."""
        if self._directory is None:
            self._directory = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / mutant.name[:_WORDS]
        path.write_bytes(mutant.data)
        return f"{path}: {problem}"


def _each(mutants: Iterator[Mutant], seed: int) -> Iterator[tuple[Mutant, Verdict]]:
    """Decodes one mutant after the other; yields what became of each."""
    examiner = Examiner()
    try:
        for mutant in mutants:
            yield mutant, examiner.examine(mutant.data, _policy(mutant.number, seed))
    finally:
        examiner.close()


def _policy(number: int, seed: int) -> DecodePolicy:
    chance = random.Random(f"policy {seed} {number}")
    return DecodePolicy(
        image_size=chance.choice(((16, 16), (96, 64))),
        resize=chance.choice(("stretch", "center_crop", "pad")),
        decode=chance.choice(DECODES),
        allow_truncated=chance.random() < 0.25,
        max_pixels=_MEGAPIXELS * 10**6,
        timeout=_SECONDS,
        **chance.choice(_FILTERS),
    )


def _whole(mutants: Iterator[Mutant]) -> Iterator[tuple[Mutant, Verdict]]:
    """Extracts all mutants in one run; yields what became of each.

    Raises:
      RuntimeError: the command has failed, or its counts do not fit its rows.
    """
    with tempfile.TemporaryDirectory() as scratch:
        paths: dict[str, Mutant] = {}
        place, output = pathlib.Path(scratch, "mutants"), pathlib.Path(scratch, "features")
        place.mkdir()
        for mutant in mutants:
            path = place / f"{mutant.number}"
            path.write_bytes(mutant.data)
            paths[str(path)] = dataclasses.replace(mutant, data=b"")
        manifest = pathlib.Path(scratch, "manifest.txt")
        manifest.write_text("".join(f"{path}\n" for path in paths))
        command = [sys.executable, "-m", "image_features", "extract", f"--input={manifest}"]
        command += [f"--output={output}", "--run_id=run", f"--max_megapixels={_MEGAPIXELS}"]
        usage = measure.run([*command, f"--decode_timeout={_SECONDS:g}"])
        counts = json.loads((output / "run" / "run.json").read_text())["counts"]
        ends = dict(_ends(output))
        if not counts["rows_in"] == len(paths) == counts["rows_out"] + counts["rows_failed"]:
            raise RuntimeError(f"Of {len(paths)} rows came: {counts}.")
        for path, mutant in paths.items():
            outcome = ends.get(path, "none")
            problem = "" if path in ends else "It has come out neither as features nor as an error."
            data = pathlib.Path(path).read_bytes()
            mutant = dataclasses.replace(mutant, data=data)
            yield mutant, Verdict(outcome, problem, usage.seconds / len(paths), usage.peak_mib)


def _ends(output: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Yields the URI of each row of a dataset, and `pixels` or the reason of its failure."""
    from image_features import load_numpy

    for uri in load_numpy(str(output)).uris:
        yield str(uri), PIXELS
    for path in output.glob("*/errors-*.jsonl"):
        with path.open() as lines:
            for error in map(json.loads, lines):
                yield error["uri"], error["reason"]


def _rows(outcomes: Counter[tuple[str, str]]) -> list[dict[str, object]]:
    """Returns a row for each format, with a column for each outcome that there was."""
    columns = [PIXELS, *Reason, "none"]
    columns = [name for name in columns if any(outcome == name for _, outcome in outcomes)]
    formats = sorted({form for form, _ in outcomes})
    rows = [
        {
            "format": form,
            "mutants": sum(count for (other, _), count in outcomes.items() if other == form),
            **{str(name): outcomes[form, name] for name in columns},
        }
        for form in formats
    ]
    totals = {name: sum(int(row[name]) for row in rows) for name in list(rows[0])[1:]}
    return [*rows, {"format": "all", **totals}]


if __name__ == "__main__":
    sys.exit(main())
