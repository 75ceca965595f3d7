"""The projection from an image's cost here to machines and bills elsewhere, step by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from image_features.transforms.archives.spans import SPAN_BYTES, SPAN_ROWS
from image_features.transforms.assign_shards import ROWS_PER_SLICE
from image_features.transforms.shards.waiting import (
    WAITING_BYTES,
    WORTH_A_PIECE,
    WORTH_A_SHEAF,
)

MILLION = 1_000_000


@dataclasses.dataclass(frozen=True)
class Prices:
    """The list prices of Dataflow batch jobs in us-central1, in US dollars, at the time of writing.

    Attributes:
      vcpu: The price of a vCPU for an hour.
      memory: The price of a GB of memory for an hour.
      shuffle: The price of a GB through the shuffle service.
      gets: The price of 1000 reads of an object in Cloud Storage (class B, standard storage).
      puts: The price of 1000 writes of an object there (class A).
    """

    vcpu: float = 0.056
    memory: float = 0.003557
    shuffle: float = 0.011
    gets: float = 0.0004
    puts: float = 0.005


@dataclasses.dataclass(frozen=True)
class ImageCost:
    """The measured cost of an image.

    Attributes:
      cpu: The processor time of all threads, in seconds.
      locked_share: The share of that time under the interpreter's lock; None if it is not known.
      shuffled: The number of bytes through the shuffle.
      gets: The number of reads of an object.
    """

    cpu: float
    locked_share: float | None
    shuffled: float
    gets: float

    @property
    def cores(self) -> float:
        """The number of cores that one process can keep busy."""
        return 1 / self.locked_share if self.locked_share else float("inf")


@dataclasses.dataclass(frozen=True)
class Requests:
    """What a run asks of Cloud Storage for an image; nothing is asked of it but this.

    Traffic within a region costs nothing, and neither does deleting.

    Attributes:
      inputs: The reads of the images or their archives.
      writes: The files of pieces that are written.
      reads: The reads of these.
    """

    inputs: float
    writes: float
    reads: float

    def dollars(self, prices: Prices) -> tuple[float, float]:
        """Returns the dollars for a million images: to read them, and for the pieces."""
        pieces = self.writes * prices.puts + self.reads * prices.gets
        return 1000 * self.inputs * prices.gets, 1000 * pieces


@dataclasses.dataclass(frozen=True)
class Collection:
    """Images to extract, loose or packed.

    Attributes:
      images: The number of images.
      image_bytes: The size of an image.
      row_bytes: The size of a row in a shard; with 1280 features as here.
      images_per_archive: The number of images in an archive.
      images_per_shard: As `extract` takes it.
    """

    images: int
    image_bytes: float = 105_000
    row_bytes: float = 5_430
    images_per_archive: int = 10_000
    images_per_shard: int = 10_000

    @property
    def spans(self) -> int:
        """The spans of an archive."""
        size = self.images_per_archive * self.image_bytes
        return max(math.ceil(size / SPAN_BYTES), math.ceil(self.images_per_archive / SPAN_ROWS))

    def loose(self) -> Requests:
        """Returns the requests for loose images, whose slices are pieces."""
        return Requests(1, *_files(ROWS_PER_SLICE))

    def packed(self) -> Requests:
        """Returns the requests for archives: a listing, and one for each span.

        The rows of a span are for all shards. Those that wait together are written as one file, of
        which each shard reads its part; only where a shard has many of them it has its own file.
        """
        inputs = (1 + self.spans) / self.images_per_archive
        rows = min(self.images_per_archive / self.spans, WAITING_BYTES / self.row_bytes)
        shards = math.ceil(self.images / self.images_per_shard)
        parts = shards * (1 - (1 - 1 / shards) ** rows)
        if rows / parts >= WORTH_A_PIECE:
            return Requests(inputs, *_files(WORTH_A_PIECE))
        if parts < WORTH_A_SHEAF:
            return Requests(inputs, *_files(rows / parts))
        return Requests(inputs, 1 / rows, parts / rows)


def _files(rows: float) -> tuple[float, float]:
    """Returns writes and reads for a row where a file has some; Beam describes one to read it."""
    return 1 / rows, 2 / rows


def bill(
    collections: Sequence[Collection], computing: tuple[float, float], prices: Prices
) -> list[dict[str, object]]:
    """Makes rows of dollars a million images, loose and packed.

    Args:
      collections: The images.
      computing: The dollars for the machines, for loose and for packed images.
      prices: The prices.
    """
    rows = []
    for each in collections:
        forms = (("loose", each.loose(), computing[0]), ("packed", each.packed(), computing[1]))
        for form, requests, machines in forms:
            reading, pieces = requests.dollars(prices)
            rows.append(
                {
                    "images": each.images,
                    "images_per_shard": each.images_per_shard,
                    "form": form,
                    "requests": round(MILLION * requests.inputs),
                    "writes": round(MILLION * requests.writes),
                    "reads": round(MILLION * requests.reads),
                    "usd_machines": round(machines, 4),
                    "usd_reading": round(reading, 4),
                    "usd_pieces": round(pieces, 4),
                    "usd_per_million": round(machines + reading + pieces, 4),
                }
            )
    return rows


@dataclasses.dataclass(frozen=True)
class Machine:
    """A worker machine.

    Attributes:
      vcpus: The number of vCPUs, each as fast as a core here.
      processes: The number of worker processes; Dataflow starts one a vCPU by default.
      memory: The memory in GB.
    """

    vcpus: int
    processes: int
    memory: float

    def rate(self, cost: ImageCost) -> float:
        """Returns the images a second of processes that share the vCPUs and have a lock each."""
        return self.processes * min(self.vcpus / self.processes, cost.cores) / cost.cpu

    def bound(self, cost: ImageCost) -> str:
        """Names what keeps the machine from being faster."""
        return "processor" if self.vcpus / self.processes <= cost.cores else "interpreter's lock"

    def hours(self, cost: ImageCost) -> float:
        """Returns the hours for a million images."""
        return MILLION / self.rate(cost) / 3600

    def dollars(self, cost: ImageCost, prices: Prices) -> float:
        """Returns the dollars for a million images, without reading them."""
        hourly = self.vcpus * prices.vcpu + self.memory * prices.memory
        return self.hours(cost) * hourly + MILLION * cost.shuffled / 1e9 * prices.shuffle


def table(machines: Sequence[Machine], cost: ImageCost, prices: Prices) -> list[dict[str, object]]:
    """Makes a row for every machine."""
    return [
        {
            "vcpus": machine.vcpus,
            "processes": machine.processes,
            "memory_gb": machine.memory,
            "images_per_s": round(machine.rate(cost), 1),
            "images_per_hour": round(3600 * machine.rate(cost)),
            "bound": machine.bound(cost),
            "usd_per_million": round(machine.dollars(cost, prices), 4),
        }
        for machine in machines
    ]


def arithmetic(machine: Machine, cost: ImageCost, prices: Prices) -> Iterator[str]:
    """Shows how a row was computed."""
    share = machine.vcpus / machine.processes
    rate, hours = machine.rate(cost), machine.hours(cost)
    yield f"vCPUs {machine.vcpus}, worker processes {machine.processes}:"
    yield (
        f"  cores a process can use   = 1 / {cost.locked_share:.3f} = {cost.cores:.2f}"
        if cost.locked_share
        else "  cores a process can use   : not known, taken as no bound"
    )
    yield (
        f"  images a second           = {machine.processes} * min({share:g}, {cost.cores:.2f}) / "
        f"{cost.cpu:.6f} s = {rate:.1f}, an hour {3600 * rate:.0f}"
    )
    yield f"  hours for a million       = 1000000 / {rate:.1f} / 3600 = {hours:.4f}"
    yield (
        f"  vCPU                      = {machine.vcpus} * {hours:.4f} h * {prices.vcpu:g} USD = "
        f"{machine.vcpus * hours * prices.vcpu:.4f} USD"
    )
    yield (
        f"  memory                    = {machine.memory:g} GB * {hours:.4f} h * "
        f"{prices.memory:g} USD = {machine.memory * hours * prices.memory:.4f} USD"
    )
    yield (
        f"  shuffle                   = 1000000 * {cost.shuffled:.0f} bytes = "
        f"{cost.shuffled / 1000:.3f} GB * {prices.shuffle:g} USD = "
        f"{cost.shuffled / 1000 * prices.shuffle:.4f} USD"
    )
    yield f"  dollars a million images  = {machine.dollars(cost, prices):.4f} USD"
    yield (
        f"  beside it, reading        = 1000000 * {cost.gets:g} requests * {prices.gets:g} USD / "
        f"1000 = {MILLION * cost.gets * prices.gets / 1000:.4f} USD, if in Cloud Storage"
    )
