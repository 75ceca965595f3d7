"""The gain of two models in one pass, against a run of each on the same images.

python -m benchmarks.two_models --images=DIR [--count=3000] [--rounds=3]
    [--models HANDLE HANDLE] [--json=FILE] [-- OPTIONS]

The images get as many names as are wanted, by hard links. Each round runs `extract` with both
models, with the first and with the second, every other round backwards, so that a noisy minute
strikes all of them. Times are of whole commands, their starts included, and the ratio is of sums
over all rounds: how many times longer the two separate runs took than the pass with both.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile

from benchmarks import measure
from benchmarks.extraction import extract, make_parser, report, runs, verdict, warm_up
from benchmarks.extraction import write_manifest as write

GOAL = 1.6
_NAMES = ("first", "second")


def main() -> None:
    """Prints a table of the commands and their ratios, and writes JSON if asked."""
    parser = make_parser(__doc__)
    parser.add_argument("--models", nargs=2, default=["builtin", "untrained"], metavar="HANDLE")
    parser.add_argument("--count", type=int, default=3000, help="Images in a run (3000).")
    parser.add_argument("--rounds", type=int, default=3, help="Times that each is run (3).")
    options = parser.parse_args()
    named = [f"--model={n}={m}" for n, m in zip(_NAMES, options.models, strict=True)]
    commands = {"both": named, **{n: [one] for n, one in zip(_NAMES, named, strict=True)}}
    usages: dict[str, list[measure.Usage]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as scratch:
        place = pathlib.Path(scratch)
        links = _links(options.images, place / "images", options.count)
        manifest = write(links, place / "images.txt")
        warm_up(manifest, options=[*named, *options.extract])
        for number in range(options.rounds):
            for name in list(commands)[:: -1 if number % 2 else 1]:
                arguments = [*commands[name], *options.extract]
                usages[name].append(extract(manifest, len(links), options=arguments))
    rows = [
        {
            "models": name,
            "seconds": round(sum(of.seconds for of in each), 1),
            "cpu_seconds": round(sum(of.cpu_seconds for of in each), 1),
            "peak_mib": round(max(of.peak_mib for of in each)),
        }
        for name, each in usages.items()
    ]
    together, *apart = rows
    gain: dict[str, object] = {"models": "first + second, to both"}
    for cost in ("seconds", "cpu_seconds"):
        gain[cost] = round(sum(row[cost] for row in apart) / together[cost], 2)
    report(
        [*rows, gain | {"peak_mib": verdict(gain["seconds"] >= GOAL)}],
        options.json,
        machine=measure.machine(),
        models=options.models,
        options=options.extract,
        runs={name: runs(options.count, each) for name, each in usages.items()},
    )


def _links(images: pathlib.Path, place: pathlib.Path, count: int) -> list[str]:
    """Gives files further names until there are as many as are wanted; returns the names."""
    files = sorted(path for path in images.rglob("*") if path.is_file())
    place.mkdir()
    links = []
    for number in range(count):
        file = files[number % len(files)]
        link = place / f"{number:07}{file.suffix}"
        try:
            os.link(file, link)
        except OSError:  # The images are on another disk.
            shutil.copyfile(file, link)
        links.append(str(link))
    return links


if __name__ == "__main__":
    main()
