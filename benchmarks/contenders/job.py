"""The job that every contender is given, and the summary that it prints."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class Job:
    """The job of a contender.

    Attributes:
      manifest: A text file of one image path a line.
      model: The directory of the SavedModel.
      image_size: The (height, width) of images that it takes, in pixels.
      output: The directory for the feature vectors, which is not there yet.
      cores: The number of cores to use.
      flatbuffer: The model made for LiteRT; only the tight loop takes it.
    """

    manifest: pathlib.Path
    model: str
    image_size: tuple[int, int]
    output: pathlib.Path
    cores: int
    flatbuffer: pathlib.Path | None

    def paths(self) -> list[str]:
        """Returns the paths of the images."""
        return self.manifest.read_text().splitlines()


def parse_job(description: str | None) -> Job:
    """Reads a contender's command line."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--manifest", required=True, type=pathlib.Path)
    parser.add_argument("--model", required=True, help="Directory of the SavedModel.")
    parser.add_argument("--image_size", type=int, nargs=2, default=(96, 96))
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--flatbuffer", type=pathlib.Path)
    options = parser.parse_args()
    height, width = options.image_size
    return Job(
        options.manifest,
        options.model,
        (height, width),
        options.output,
        options.cores,
        options.flatbuffer,
    )


@dataclasses.dataclass
class Summary:
    """Counts feature vectors and adds them up, so that two contenders' can be compared.

    Attributes:
      images: The number of feature vectors so far.
      total: The sum of these vectors, float64 [num_features].
    """

    images: int = 0
    total: npt.NDArray[np.float64] | None = None

    def add(self, features: npt.NDArray[np.float32]) -> None:
        """Adds vectors, float32 [N, num_features]."""
        self.merge(Summary(len(features), features.sum(axis=0, dtype=np.float64)))

    def merge(self, other: Summary) -> None:
        """Adds the vectors of another summary."""
        if other.total is not None:
            self.total = other.total if self.total is None else self.total + other.total
            self.images += other.images

    @property
    def checksum(self) -> float:
        """The mean feature, weighed by its place in the vector so that their order counts."""
        if self.total is None:
            return 0.0
        weights = np.linspace(0.5, 1.5, len(self.total))
        return float(self.total @ weights) / self.images / len(weights)

    def report(self) -> None:
        """Prints the JSON line."""
        features = 0 if self.total is None else len(self.total)
        print(json.dumps({"images": self.images, "features": features, "checksum": self.checksum}))
