"""Commands that are killed at random moments, taken up, and compared with undisturbed ones.

python -m benchmarks.kills [--times=100] [--seed=0] [--only COMMAND ...] [--again COMMAND:N ...]
    [--json=FILE]

Each trial disturbs a command once or, now and then, several times in a row: its process group gets
SIGKILL at a moment of its duration or at a change of a file, it gets SIGTERM, or the disk is full.
Where a file system in memory may be mounted, that is what fills up; elsewhere files may not grow
beyond a size. After each disturbance readers must see what they saw before the command, or what
they see after it, and every committed run must be whole. Then the same command is run undisturbed:
it must succeed, and leave the same files with the same bytes, and nothing else.

It ends with 1 if a trial ends otherwise, and prints how to repeat that trial. A drawn moment at
which the command has ended already is no kill; another is drawn for it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks import kill_cases, measure
from benchmarks.disturbed import Calm, Disk, Ended, Kind, disturb, measured, take_up
from benchmarks.extraction import report
from benchmarks.kill_cases import Case, tree

_NAMES = ("extract", "incremental", "compact", "gc", "export", "finetune")
_AGAIN = 0.3  # The share of disturbances after which the next attempt is disturbed too.
_DRAWS = 4  # The most trials for one that is not over before its moment.
_KINDS = (Kind.TIME, Kind.CHANGE, Kind.FULL, Kind.CHANGE, Kind.TERM)
_GOLDEN = 0.6180339887  # Its multiples lie evenly between whole numbers, however many there are.


def main() -> int:
    """Prints a row for each command; returns 1 if an outcome differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=100, help="Kills in all (100).")
    parser.add_argument("--seed", type=int, default=0, help="Of what is drawn (0).")
    parser.add_argument("--only", nargs="+", choices=_NAMES, default=list(_NAMES))
    parser.add_argument("--again", nargs="+", default=[], metavar="COMMAND:N", help="These only.")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="Writes it all there.")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # The disk is unmounted then.
    chosen = [(name, int(number)) for name, _, number in (s.partition(":") for s in options.again)]
    names = list(dict.fromkeys(name for name, _ in chosen)) or options.only
    machine = measure.machine()
    rows, trials = [], []
    with tempfile.TemporaryDirectory() as folder, Disk(pathlib.Path(folder, "disk")) as disk:
        cases = kill_cases.prepare(pathlib.Path(folder), disk.place)
        for index, name in enumerate(names):
            share = options.times // len(names) + (index < options.times % len(names))
            numbers = [number for other, number in chosen if other == name]
            found = list(_trials(cases[name], disk, options.seed, share, numbers))
            rows.append(_row(name, found))
            trials += found
    described = [trial.to_json() for trial in trials]
    report(rows, options.json, machine=machine, seed=options.seed, trials=described)
    wrong = [trial for trial in trials if trial.problems]
    for trial in wrong:
        print(trial.sentence(options.seed), file=sys.stderr)
    return 1 if wrong else 0


@dataclasses.dataclass
class _Trial:
    """A command that was disturbed, maybe repeatedly, and then taken up.

    Attributes:
      command: Its name.
      number: The number of the trial, of which all that is drawn is made.
      disturbed: The kind and the moment of each disturbance, and the exit code after it.
      taken_up: Whether the command then succeeded.
      problems: What was not as it must be.
      seconds: The duration of all of it.
    """

    command: str
    number: int
    disturbed: list[tuple[Kind, float, int]] = dataclasses.field(default_factory=list)
    taken_up: bool = False
    problems: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def kills(self) -> list[Kind]:
        """The disturbances that came before the command had ended."""
        return [kind for kind, _, code in self.disturbed if code]

    def to_json(self) -> dict[str, object]:
        """Returns the trial for JSON."""
        fields = dataclasses.asdict(self)
        fields["disturbed"] = [
            {"kind": kind.value, "part": round(part, 4), "code": code}
            for kind, part, code in self.disturbed
        ]
        return {**fields, "seconds": round(self.seconds, 1)}

    def sentence(self, seed: int) -> str:
        """Returns the command that repeats the trial, and its problems."""
        command = f"python -m benchmarks.kills --seed={seed} --again {self.command}:{self.number}"
        return "\n  ".join(
            [
                command,
                *(f"{kind.value} {part:.3f}: {code}" for kind, part, code in self.disturbed),
                *self.problems,
            ]
        )


def _trials(
    case: Case, disk: Disk, seed: int, kills: int, numbers: Sequence[int]
) -> Iterator[_Trial]:
    """Yields the trials with the given numbers, or as many as it takes for so many kills."""
    calm = measured(case, disk)
    for number in numbers or range(_DRAWS * kills):
        if not numbers and kills <= 0:
            return
        trial = _try(case, calm, disk, seed, number)
        kills -= bool(trial.kills)
        print(json.dumps(trial.to_json()), file=sys.stderr, flush=True)
        yield trial


def _try(case: Case, calm: Calm, disk: Disk, seed: int, number: int) -> _Trial:
    chance = random.Random(f"{seed} {case.name} {number}")
    trial = _Trial(case.name, number)
    kind = _KINDS[(number + 2 * _NAMES.index(case.name)) % len(_KINDS)]
    part = (number * _GOLDEN + random.Random(f"{seed} {case.name}").random()) % 1
    start = time.perf_counter()
    disk.begin(case)
    while True:
        ended = disturb(case, calm, disk, kind, part)
        trial.disturbed.append((kind, part, ended.code))
        trial.problems += _problems(case, calm, disk, kind, ended)
        if not ended.code or chance.random() >= _AGAIN:
            break
        kind, part = chance.choice(_KINDS), chance.random()
    ended = take_up(case, disk)
    trial.taken_up = not ended.code or (case.is_once and calm.after == case.sees(disk.place))
    if not trial.taken_up:
        trial.problems.append(f"Taken up, it ended with {ended.code}: {ended.error[-2000:]}")
    found = tree(disk.place)
    for name in sorted(found.keys() | calm.tree.keys()):
        if found.get(name) != calm.tree.get(name):
            how = "other bytes" if name in found and name in calm.tree else "missing"
            trial.problems.append(f"{name}: {how if name in calm.tree else 'left over'}")
    trial.seconds = time.perf_counter() - start
    return trial


def _problems(case: Case, calm: Calm, disk: Disk, kind: Kind, ended: Ended) -> Iterator[str]:
    """Yields what is wrong between a disturbance and the next attempt."""
    if ended.hung:
        yield f"It had not ended: {ended.error[-2000:]}"
    if kind is Kind.FULL and ended.code and not _is_told(ended.error):
        yield f"The full disk was not told in a sentence: {ended.error[-2000:]}"
    if kind is Kind.TERM and ended.code not in (0, 143, -15):
        yield f"After SIGTERM it ended with {ended.code}: {ended.error[-2000:]}"
    try:
        seen = case.sees(disk.place)
    except Exception as error:  # Whatever a reader would meet.
        yield f"Readers end with {type(error).__name__}: {error}"
    else:
        if seen not in (calm.before, calm.after):
            yield "Readers see neither what was before nor what is after."


def _is_told(error: str) -> bool:
    last = error.rstrip().rpartition("\n")[2]
    return last.startswith("image-features: ") and "Traceback" not in error


def _row(name: str, trials: Sequence[_Trial]) -> dict[str, object]:
    kills = Counter(kind for trial in trials for kind in trial.kills)
    hit = [trial for trial in trials if trial.kills]
    return {
        "command": name,
        "trials": len(hit),
        "kills": kills.total(),
        **{kind.value: kills[kind] for kind in Kind},
        "too late": len(trials) - len(hit),
        "taken up": sum(trial.taken_up for trial in hit),
        "identical": sum(not trial.problems for trial in hit),
        "s a trial": sum(trial.seconds for trial in trials) / max(1, len(trials)),
    }


if __name__ == "__main__":
    sys.exit(main())
