"""The counts of a run, as run.json tells them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class RunCounts:
    """The numbers of a run's rows, by what became of them.

    Attributes:
      rows_read: The rows of the manifests.
      duplicates: The rows that name an image again.
      rows_in: The rows read, without the duplicates.
      rows_out: The rows with features.
      rows_failed: The rows that ended as error rows.
      rows_unchanged: The rows that the dataset had already.
      rows_removed: The rows of the dataset that the input does not name any more.
      failed_by_reason: The number of error rows by their reason.
    """

    rows_read: int
    duplicates: int
    rows_in: int
    rows_out: int
    rows_failed: int
    rows_unchanged: int = 0
    rows_removed: int = 0
    failed_by_reason: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def rows_done(self) -> int:
        """The rows that the run worked on; duplicates and unchanged rows cost nothing."""
        return self.rows_in - self.rows_unchanged

    def to_json(self) -> dict[str, Any]:
        """The object `counts` of run.json."""
        return {
            "rows_read": self.rows_read,
            "duplicates": self.duplicates,
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rows_failed": self.rows_failed,
            "rows_unchanged": self.rows_unchanged,
            "rows_removed": self.rows_removed,
            "failed_by_reason": dict(self.failed_by_reason),
        }

    @classmethod
    def from_json(cls, counts: Mapping[str, Any]) -> RunCounts:
        """Reads the object; versions before incremental runs did not count some of the rows."""
        return cls(
            rows_read=int(counts.get("rows_read", counts["rows_in"])),
            duplicates=int(counts.get("duplicates", 0)),
            rows_in=int(counts["rows_in"]),
            rows_out=int(counts["rows_out"]),
            rows_failed=int(counts["rows_failed"]),
            rows_unchanged=int(counts.get("rows_unchanged", 0)),
            rows_removed=int(counts.get("rows_removed", 0)),
            failed_by_reason=dict(counts["failed_by_reason"]),
        )
