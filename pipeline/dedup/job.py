"""The way of a search for duplicates from its claim to its commit, within this process."""

from __future__ import annotations

from image_features.errors import ImageFeaturesError, RunFailedError
from image_features.pipeline.dataset.claim import Claim
from image_features.pipeline.dedup.find import find_duplicates
from image_features.pipeline.dedup.prepare import Deduplication
from image_features.pipeline.dedup.result import Result
from image_features.pipeline.dedup.write import write
from image_features.pipeline.launch.holding import take
from image_features.pipeline.launch.progress import steps
from image_features.pipeline.launch.stop import stopped_by_signals
from image_features.pipeline.launch.work import Terms
from image_features.pipeline.locations import explain

_WRITTEN = "rows written"


def run_dedup(work: Deduplication, terms: Terms) -> Result:
    """Finds the duplicates, writes what tells of them, and commits it.

    Args:
      work: What was asked for.
      terms: Whose process this is, and the command that does it again.

    Raises:
      RunHeldError: another launcher works on it.
      RunFailedError: a file of the dataset is damaged, or something cannot be written.
    """
    claim = Claim(work.layout.staging)
    committed = take(claim, work.layout, work.committed)
    if committed is not None:
        return committed
    try:
        with claim.kept(), stopped_by_signals(local=True, advice=terms.advice):
            return _run(work)
    except ImageFeaturesError:
        raise
    except (ValueError, OSError) as error:
        failure = RunFailedError(
            f"The duplicates in {work.options.dataset} were not found: {explain(error)}."
        )
        if terms.advice:
            failure.add_note(terms.advice)
        raise failure from error


def _run(work: Deduplication) -> Result:
    rows = sum(run.rows for run in work.runs)
    with steps() as report:
        found = find_duplicates(
            work.runs, threshold=work.options.threshold, earlier=work.earlier, report=report
        )
        return write(work, found, lambda done: report(_WRITTEN, done, rows))
