"""The feature vectors of a row: one of the run's model, or one of each of its models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from image_features.transforms.shards.record_format import FEATURES, Record

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class VectorField:
    """The field of a record that holds the vectors of one model.

    Attributes:
      model: The name of the model among those of the run; empty for one that needs none.
      width: The length of a vector.
    """

    model: str
    width: int

    @property
    def key(self) -> str:
        """The name of the field: "image/features", or "image/features/NAME"."""
        return f"{FEATURES}/{self.model}" if self.model else FEATURES

    def of(self, records: Sequence[Record]) -> Floats:
        """Returns the vectors of some rows, float32 [rows, width].

        Raises:
          ValueError: a row has no such vector, or one of another length.
        """
        vectors = [record.floats(self.key) for record in records]
        if any(len(vector) != self.width for vector in vectors):
            raise ValueError(f"A record holds no {self.key} of {self.width} values.")
        return np.stack(vectors)


def divided(
    features: Floats, fields: Sequence[VectorField]
) -> Iterator[tuple[VectorField, Floats]]:
    """Yields each field with its part of what the models gave, along the last axis."""
    start = 0
    for field in fields:
        yield field, features[..., start : start + field.width]
        start += field.width
