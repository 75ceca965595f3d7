"""What `dedup` finds: groups of images, of each of which one is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from image_features.pipeline.dataset.export import has_rows_of
from image_features.pipeline.dataset.run import Run


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """The duplicates among the rows of a dataset that are seen.

    A group is its representative and the rows that are duplicates of it; no row is in two groups,
    and a row alone is in none.

    Attributes:
      table: A pyarrow.Table with a row for each member of a group: `group` int64, numbered from 0,
        the largest first; `key` string; `uri` string; `similarity` float32, the cosine with the
        representative, 1 for the same file; `keep` bool, true for the representative alone. It is
        sorted by group, the representative first, then the most similar first, then by key.
      rows: The number of rows that were compared.
      same_files: The number of members that are the same file as another one that is kept or is
        nearer to the representative's, and so were told by their SHA-256 alone.
      zero_rows: The number of rows whose vector has no direction; they are alike to nothing but
        the same file.
    """

    table: Any
    rows: int
    same_files: int
    zero_rows: int

    @property
    def dropped(self) -> int:
        """The number of rows that are not kept."""
        return int(len(self.table) - self.groups)

    @property
    def groups(self) -> int:
        """The number of groups."""
        import pyarrow.compute as pc

        return int(pc.sum(self.table["keep"]).as_py() or 0)


@dataclasses.dataclass(frozen=True)
class Earlier:
    """What an earlier night has found, so that what was kept then stays kept.

    Attributes:
      table: The `Duplicates.table` of that night; of it `group`, `key`, `similarity` and `keep` are
        read.
      runs: The runs whose rows were compared, and those that were merged into them: their finish
        times by their names, as `runs_in` gives them.
    """

    table: Any
    runs: Mapping[str, str]

    def has(self, run: Run) -> bool:
        """Whether the rows of a run, or of all that were merged into it, were compared."""
        return has_rows_of(run, self.runs)

    def has_part(self, run: Run) -> bool:
        """Whether rows of some of the runs that were merged into a run were compared."""
        return bool(run.replaces.items() & self.runs.items())
