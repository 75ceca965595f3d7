"""Which of an archive's members or columns are the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class ArchiveOptions:
    """What the user says of where the images are; what is empty is found.

    Attributes:
      members: The extensions of members of .tar and .zip that are images, without the dot.
      column: The column of Parquet files that holds the images.
      feature: The feature of the examples in TFRecord files that holds the images.
    """

    members: tuple[str, ...] = ()
    column: str = ""
    feature: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns what the user has said, by the names of the options."""
        told = {
            "image_member": list(self.members),
            "image_column": self.column,
            "image_feature": self.feature,
        }
        return {name: value for name, value in told.items() if value}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ArchiveOptions:
        """Reads what `to_json` returns."""
        return cls(
            members=tuple(record.get("image_member", ())),
            column=record.get("image_column", ""),
            feature=record.get("image_feature", ""),
        )


FOUND = ArchiveOptions()
