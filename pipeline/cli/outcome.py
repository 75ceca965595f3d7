"""What commands say of the rows that failed, and the exit code that they deserve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_features.errors import EXIT_OK, EXIT_OVER_BUDGET
from image_features.pipeline.streams import complain, say

if TYPE_CHECKING:
    from image_features.pipeline.dataset.counts import RunCounts
    from image_features.pipeline.dataset.pack import Pack
    from image_features.pipeline.dataset.run import Run


def tell_failures(committed: Run | Pack) -> None:
    """Says which rows failed and why, and where they are."""
    from image_features.pipeline.dataset.failures import ErrorShards, in_words
    from image_features.pipeline.dataset.layout import RunLayout

    failed = committed.counts.failed_by_reason
    errors = ErrorShards.among(RunLayout(committed.directory), committed.files("errors"))
    found = errors.messages(failed)
    for reason, count in failed.items():
        say(f"  {in_words(reason, count, found.get(reason))}")
    if errors.paths:
        say(f"  the rows that failed: {errors}")


def judge(counts: RunCounts, budget: float | None) -> int:
    """Returns 0, or 3 where more rows failed than the budget allows."""
    failed, rows = counts.rows_failed, counts.rows_in
    if budget is None or failed <= budget * rows:
        return EXIT_OK
    complain(
        f"the run is committed, but {failed} of {rows} rows failed "
        f"({failed / rows:.2%}), more than --error_budget={budget:g} allows."
    )
    return EXIT_OVER_BUDGET
