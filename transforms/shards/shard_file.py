"""A finished shard, as run.json lists it."""

from __future__ import annotations

import dataclasses
from typing import Any

from image_features.errors import DamagedRunError


@dataclasses.dataclass(frozen=True)
class ShardFile:
    """A finished shard.

    Attributes:
      kind: The kind of shard: "features", "errors", "removed", "tombstones", or "index" for the
        index of a shard of features.
      name: The name of the file within the run's directory.
      rows: The number of records.
      bytes: The size of the file.
      sha256: The digest of the file, hexadecimal.
      labels: The number of rows by label, which is the reason for errors.
    """

    kind: str
    name: str
    rows: int
    bytes: int
    sha256: str
    labels: dict[str, int] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the shard's entry in run.json, which leaves the labels out."""
        return {
            "kind": self.kind,
            "name": self.name,
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.sha256,
        }


def damaged(path: str, error: Exception) -> DamagedRunError:
    """Returns the failure of a reader of one of a run's files that is not as it was written."""
    return DamagedRunError(
        f"{path} is damaged ({str(error).strip().rstrip('.')}): copy it from a backup, or delete "
        "its run, run.json first. `image-features inspect` verifies every file of a run."
    )
