"""What a report's page shows, as values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from image_features.pipeline.dataset.records import Floats
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.report.feature_map import FeatureMap


@dataclasses.dataclass(frozen=True)
class SampledImage:
    """A sampled image: what its record says, without the vector.

    Attributes:
      key: The key of the image.
      uri: The location of the image, as stored.
      format: The format of the file, such as jpeg.
      width: The width of the image before it was resized, in pixels.
      height: Its height, in pixels.
      run_id: The run that the record is in.
      columns: The passed-through columns, each as its name and a text of its value.
    """

    key: str
    uri: str
    format: str
    width: int
    height: int
    run_id: str
    columns: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class SampledImages:
    """The sampled images of a dataset, and how their vectors lie to each other.

    A number in here is an index into `rows`.

    Attributes:
      rows: The sampled images, in the order of their keys.
      map: The place of each in two dimensions.
      strips: Some images, each with its nearest others and their cosines.
      groups: The largest groups of images that are nearly the same.
      grouped: The number of images that are in any such group.
    """

    rows: tuple[SampledImage, ...]
    map: FeatureMap
    strips: tuple[tuple[int, tuple[tuple[int, float], ...]], ...]
    groups: tuple[tuple[int, ...], ...]
    grouped: int


@dataclasses.dataclass(frozen=True)
class VectorHealth:
    """A run's vectors in figures.

    Attributes:
      rows: The number of rows.
      not_finite: The number of rows that hold NaN or infinity.
      zeros: The number of rows that are all zero.
      constant: The number of dimensions that never change.
      num_features: The number of dimensions.
      norms: The lengths of the sampled vectors, float32 [sampled].
    """

    rows: int
    not_finite: int
    zeros: int
    constant: int
    num_features: int
    norms: Floats


@dataclasses.dataclass(frozen=True)
class ImageShapes:
    """A run's images, counted by what they were before they were resized.

    Attributes:
      formats: The number of images of each format.
      sides: The number of images by the longer side: by the power of two that it does not reach.
      ratios: The number of images by width to height, in steps of a tenth of a doubling.
    """

    formats: Mapping[str, int]
    sides: Mapping[int, int]
    ratios: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class Health:
    """The figures of a run's rows.

    Attributes:
      run_id: The name of the run.
      vectors: The figures of its vectors.
      images: The counts of its images.
    """

    run_id: str
    vectors: VectorHealth
    images: ImageShapes


@dataclasses.dataclass(frozen=True)
class Failures:
    """The error rows of a run that have one reason.

    Attributes:
      reason: The reason.
      count: The number of rows.
      samples: Some of the rows, as (URI, message).
    """

    reason: str
    count: int
    samples: tuple[tuple[str, str], ...]


class Agreement(NamedTuple):
    """The agreement of two runs on the images that both have.

    Attributes:
      images: The number of sampled images that both have.
      least: The least cosine of an image's two vectors.
      mean: The mean of these cosines.
    """

    images: int
    least: float
    mean: float


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """What a page says of the vectors of one model.

    Attributes:
      name: The name of the model; empty for one that needs none.
      health: The latest run's rows, and those of the one before it if they can be compared.
      shared: The agreement of these two runs; None if they share no sampled image.
      sample: The sample over all comparable runs; it has the same rows for each model.
    """

    name: str
    health: tuple[Health, ...]
    shared: Agreement | None
    sample: SampledImages


@dataclasses.dataclass(frozen=True)
class Report:
    """The content of a page, apart from the thumbnails.

    Attributes:
      path: The location of the dataset.
      runs: Every committed run, the latest first.
      current: The number of rows that readers see.
      others: The number of runs whose vectors cannot be compared with the latest run's.
      failures: The error rows of the latest run, by reason.
      models: What there is to say of each model's vectors, at least one.
    """

    path: str
    runs: tuple[Run, ...]
    current: int
    others: int
    failures: tuple[Failures, ...]
    models: tuple[ModelReport, ...]

    @property
    def rows(self) -> tuple[SampledImage, ...]:
        """The sampled images."""
        return self.models[0].sample.rows

    @property
    def images(self) -> ImageShapes:
        """The counts of the latest run's images."""
        return self.models[0].health[0].images
