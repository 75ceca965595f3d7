"""A finished shard, as run.json lists it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class ShardFile:
    """A finished shard.

    Attributes:
      kind: "features", "errors", "removed" or "tombstones", or "index" of a shard's index.
      name: File name within the run directory.
      rows: Number of records.
      bytes: Size of the file.
      sha256: Hexadecimal digest of the file.
      labels: Rows by label (the reason, for errors).
    """

    kind: str
    name: str
    rows: int
    bytes: int
    sha256: str
    labels: dict[str, int] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The shard's entry in run.json, which leaves the labels out."""
        return {
            "kind": self.kind,
            "name": self.name,
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.sha256,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ShardFile:
        """The file of an entry in run.json; one that describes the run has no rows."""
        return cls(
            kind=str(entry["kind"]),
            name=str(entry["name"]),
            rows=int(entry.get("rows", 0)),
            bytes=int(entry["bytes"]),
            sha256=str(entry["sha256"]),
        )
