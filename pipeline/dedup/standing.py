"""What an earlier night has settled of the rows that are there now."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import numpy.typing as npt

from image_features.pipeline.dedup.duplicates import Earlier
from image_features.pipeline.dedup.rows import Ints, Rows


class Stand(enum.IntEnum):
    """What is settled of a row; of the rows of a file the first of these holds.

    Attributes:
      LEADS: It is kept, and there is more to its group.
      FOLLOWS: It is in the group of another row, which is still there.
      ALONE: It is kept, and was near to no row.
      KEPT: It was kept, but may have another vector now, as a merged run does not tell.
      OPEN: Nothing; it is compared with all.
    """

    LEADS = 0
    FOLLOWS = 1
    ALONE = 2
    KEPT = 3
    OPEN = 4


@dataclasses.dataclass(frozen=True)
class Standing:
    """What is settled of all rows, some 20 bytes a row.

    Attributes:
      stands: The `Stand` of each row, int8 [rows].
      leaders: The row that each row follows, int64 [rows]; -1 where it follows none.
      similarity: The cosine with it, float64 [rows].
    """

    stands: npt.NDArray[np.int8]
    leaders: Ints
    similarity: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Rows, earlier: Earlier | None) -> Standing:
        """Looks up what is settled.

        Rows of runs that were not there, and those whose representative is gone, are open.
        """
        stands = np.full(len(rows), Stand.OPEN, np.int8)
        leaders, similarity = np.full(len(rows), -1), np.ones(len(rows))
        if earlier is None:
            return cls(stands, leaders, similarity)
        runs = rows.latest.runs
        old = rows.of_runs(np.array([earlier.has(run) for run in runs], np.bool_))
        mixed = rows.of_runs(np.array([earlier.has_part(run) for run in runs], np.bool_)) & ~old
        table = earlier.table
        keys = [bytes.fromhex(key) for key in table["key"].to_pylist()]
        found = rows.find(np.array(keys, "S16"))
        kept = table["keep"].to_numpy(zero_copy_only=False).astype(np.bool_)
        groups = table["group"].to_numpy(zero_copy_only=False)
        stands[old] = Stand.ALONE
        stands[found[(found >= 0) & kept]] = Stand.KEPT
        stands[~old & ~mixed] = Stand.OPEN
        there = found >= 0
        there[there] = old[found[there]]
        leader_of = np.full(int(groups.max(initial=-1)) + 1, -1)
        leader_of[groups[there & kept]] = found[there & kept]
        led = leader_of[groups]
        stands[found[there & kept]] = Stand.LEADS
        follow = there & ~kept & (led >= 0)
        stands[found[follow]] = Stand.FOLLOWS
        leaders[found[follow]] = led[follow]
        similarity[found[follow]] = table["similarity"].to_numpy(zero_copy_only=False)[follow]
        stands[found[there & ~kept & (led < 0)]] = Stand.OPEN
        return cls(stands, leaders, similarity)
