"""A file that was made of sound ones by damage, drawn from a seed."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from benchmarks.mutations import boxes, chunks, damage, structure, tables
from benchmarks.mutations.anatomy import Format
from benchmarks.mutations.structure import Body

FORMATS = (
    *(chunks.JPEG, chunks.PNG, chunks.WEBP, chunks.GIF, tables.TIFF, tables.BMP, tables.ICO),
    *(tables.PNM, boxes.AVIF, boxes.HEIC, boxes.JP2, boxes.J2K),
)
_UNKNOWN = Format("other", lambda data: True)
_LARGEST = 2**22  # Of a mutant, in bytes: repetitions of repetitions grow.
_AGAIN = 0.3  # The share of mutants that are damaged once more.
_STRUCTURE = 0.65  # The share of damage that knows the format.


def format_of(data: bytes) -> Format:
    """Returns the format of a file by its first bytes."""
    return next((known for known in (*FORMATS, _UNKNOWN) if known.is_for(data)), _UNKNOWN)


@dataclasses.dataclass(frozen=True)
class Origin:
    """A file that mutants are made of."""

    name: str
    data: bytes

    @property
    def format(self) -> Format:
        """The format of the file."""
        return format_of(self.data)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A damaged file.

    Attributes:
      number: Its number; with the seed, all of it is made of it.
      origin: The name of the file that was damaged.
      format: The format of that file.
      steps: The kinds of damage.
      data: The file.
    """

    number: int
    origin: str
    format: str
    steps: tuple[str, ...]
    data: bytes

    @property
    def name(self) -> str:
        """A name for a file."""
        return f"{self.number:06}_{self.origin}_{'_'.join(self.steps)}"


class Breeder:
    """Makes mutants, the same ones of the same files, seed and number.

    Args:
      origins: The files to begin with.
      seed: What is drawn depends on it.
    """

    def __init__(self, origins: Sequence[Origin], seed: int) -> None:
        self._seed = seed
        self._families: dict[str, list[Origin]] = {}
        for origin in origins:
            self._families.setdefault(origin.format.name, []).append(origin)
        # What is of no format lends its bytes to others.
        self._others = sorted(self._families)
        self._names = [name for name in self._others if name != _UNKNOWN.name]

    def mutant(self, number: int) -> Mutant:
        """Makes one mutant; the formats take turns, however many files each has."""
        chance = random.Random(f"{self._seed} {number}")
        family = self._families[self._names[number % len(self._names)]]
        origin = chance.choice(family)
        data, steps = origin.data, []
        while data:
            step, changed = self._damaged(origin, data, chance)
            if len(changed) <= _LARGEST:
                data = changed
                steps.append(step)
            if steps and chance.random() >= _AGAIN:
                break
        return Mutant(number, origin.name, origin.format.name, tuple(steps), data)

    def _damaged(self, origin: Origin, data: bytes, chance: random.Random) -> tuple[str, bytes]:
        family = self._families[origin.format.name]
        if chance.random() < _STRUCTURE:
            body = Body(origin.format, data, chance.choice(family).data)
            if ways := list(structure.ways(body)):
                way = chance.choice(ways)
                return way.__name__, way(body, chance)
        match chance.randrange(10):
            case 0:
                return "truncate", damage.truncate(data, chance)
            case 1:
                other = self._families[chance.choice(self._others)]
                return "splice", damage.splice(data, chance.choice(other).data, chance)
            case _:
                within = chance.choice(damage.WITHIN)
                return within.__name__, within(data, chance)
