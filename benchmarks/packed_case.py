"""One of the things that `benchmarks.packed` compares, and its runs."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Iterable, Iterator, Sequence

from benchmarks import measure, stores
from benchmarks.contenders.roster import Arena, Contender
from benchmarks.extraction import Steady, extract, runs, steady, write_manifest
from benchmarks.loopback import Counters

LOOSE = "loose"
LOOP = "webdataset"
WEBDATASET = Contender("webdataset_loop", "webdataset", prints_work=True)


@dataclasses.dataclass
class Case:
    """A form in a store with a delay, and its runs.

    Attributes:
      store: Where the images are.
      form: The format of the archive, `LOOSE`, or `LOOP` for webdataset's reading of a .tar.
      delay: The delay of each answer in milliseconds.
      sizes: The numbers of images.
      inputs: The input for each size.
      archives: The paths of the archives, of which there are none for loose images.
      arena: What a contender needs; None for our product.
    """

    store: stores.Store
    form: str
    delay: int
    sizes: tuple[int, int]
    inputs: Sequence[str]
    archives: Sequence[str] = ()
    arena: Arena | None = None
    usages: tuple[list[measure.Usage], list[measure.Usage]] = dataclasses.field(
        default_factory=lambda: ([], [])
    )
    served: list[Counters] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """The name in the results."""
        return f"{self.store.name} {self.delay} ms {self.form}"

    def run(self, options: Sequence[str]) -> None:
        """Runs both sizes once."""
        for size, location, usages in zip(self.sizes, self.inputs, self.usages, strict=True):
            before = self.store.delay(self.delay)
            if self.arena is not None:
                usages.append(_read_by_webdataset(location, size, self.arena))
            else:
                arguments = [*self.store.options, *options]
                usages.append(extract(location, size, options=arguments, env=self.store.env))
            after = self.store.delay(0)
        # These are the counters of the large run, the last one.
        self.served.append(after.since(before))

    def steady(self) -> Steady | None:
        """The cost of an image."""
        return steady(self.sizes, *self.usages)

    def whole(self) -> float:
        """The images a second of large runs, with their start-up."""
        return self.sizes[1] / statistics.median(usage.seconds for usage in self.usages[1])

    def steady_to(self, other: Case, attribute: str) -> float | None:
        """What an attribute of Steady is in parts of another case's, the median over all rounds.

        Rounds are compared one by one, since a machine is faster in one than in the next.
        """
        return _median(
            getattr(own, attribute) / getattr(others, attribute)
            for own, others in zip(self._rounds(), other._rounds(), strict=True)
            if own and others
        )

    def whole_to(self, other: Case) -> float | None:
        """The rate of large runs, with their start-up, in parts of another case's, likewise."""
        pairs = zip(self.usages[1], other.usages[1], strict=True)
        return _median(others.seconds / own.seconds for own, others in pairs)

    def _rounds(self) -> Iterator[Steady | None]:
        for small, large in zip(*self.usages, strict=True):
            yield steady(self.sizes, [small], [large])

    def peak_mib(self) -> float:
        """The peak of memory of large runs."""
        return statistics.median(usage.peak_mib for usage in self.usages[1])

    def requests(self) -> float | None:
        """The requests for an image; None if nothing was asked of a server."""
        if not self.store.servers:
            return None
        return statistics.median(counters.requests for counters in self.served) / self.sizes[1]

    def read(self) -> float | None:
        """How often a server sent what the archive holds."""
        if not self.store.servers or not self.archives:
            return None
        sent = statistics.median(counters.sent for counters in self.served)
        return sent / pathlib.Path(self.archives[1]).stat().st_size

    def raw(self) -> list[dict[str, float]]:
        """Every single run."""
        return runs(self.sizes[0], self.usages[0]) + runs(self.sizes[1], self.usages[1])


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def _read_by_webdataset(location: str, count: int, arena: Arena) -> measure.Usage:
    manifest = write_manifest([location], arena.scratch / "archives.txt")
    command = WEBDATASET.command(arena, manifest, arena.scratch / "nothing")
    usage = measure.run(command, env=arena.environment)
    images = json.loads(usage.output)["images"]
    if images != count:
        raise RuntimeError(f"webdataset read {images} of {count} images.")
    return usage
