"""The projection from an image's cost here to machines and bills elsewhere, step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

MILLION = 1_000_000


@dataclasses.dataclass(frozen=True)
class Prices:
    """The list prices of Dataflow batch jobs in us-central1, in US dollars, at the time of writing.

    Attributes:
      vcpu: The price of a vCPU for an hour.
      memory: The price of a GB of memory for an hour.
      shuffle: The price of a GB through the shuffle service.
      gets: The price of 1000 reads of an object in Cloud Storage (class B, standard storage).
    """

    vcpu: float = 0.056
    memory: float = 0.003557
    shuffle: float = 0.011
    gets: float = 0.0004


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
