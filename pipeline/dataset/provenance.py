"""The sources of a run's features, and the rule which features can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from image_features.models.identity import ModelIdentity
from image_features.transforms.images.pixels import DecodePolicy
from image_features.transforms.manifests.columns import Column


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The sources of a run's features, without secrets.

    Attributes:
      inputs: The locations of the manifests, directories and globs.
      columns: The passed-through columns of the rows.
      model: The model, by its content.
      decode: The rules by which files became pixels.
      max_fetch_bytes: The size above which files were not fetched.
    """

    inputs: tuple[str, ...]
    columns: tuple[Column, ...]
    model: ModelIdentity
    decode: DecodePolicy
    max_fetch_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Returns the fields of run.json that tell the sources."""
        return {
            "input": list(self.inputs),
            "columns": [column.to_json() for column in self.columns],
            "model": self.model.to_json(),
            "preprocessing": self.decode.to_json() | {"max_fetch_bytes": self.max_fetch_bytes},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Provenance:
        """Reads the fields of run.json, as any version has written them."""
        decode = DecodePolicy.from_json(record["preprocessing"])
        return cls(
            inputs=tuple(record["input"]),
            columns=tuple(Column.from_json(entry) for entry in record["columns"]),
            model=ModelIdentity.from_json(record["model"]),
            decode=decode,
            max_fetch_bytes=int(record["preprocessing"].get("max_fetch_bytes", decode.max_bytes)),
        )

    def is_comparable(self, other: Provenance) -> bool:
        """Tells whether the vectors of two runs can be compared: one model, one way to the pixels.

        Limits on size do not count, since no vector depends on them.
        """
        return self._pixels_and_model() == other._pixels_and_model()

    def _pixels_and_model(self) -> tuple[Any, ...]:
        model, decode = self.model, self.decode
        return (
            model.content_hash,
            str(model.precision),
            decode.image_size,
            decode.resize,
            decode.decode,
            decode.background,
        )
