"""The preparation of a merging of a dataset's runs."""

from __future__ import annotations

import dataclasses

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.errors import UsageError
from image_features.pipeline.compact import Compaction, compaction_of, fingerprint_of, shards_of
from image_features.pipeline.config import utc_now
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import open_series
from image_features.pipeline.launch.attempt import State, begin_attempt, find_attempt
from image_features.pipeline.launch.prepare import AlreadyCommitted
from image_features.pipeline.locations import explain
from image_features.pipeline.runners import runner
from image_features.system.paths import absolute
from image_features.transforms.shards.index import INDEX_KIND


@dataclasses.dataclass(frozen=True)
class CompactionOptions:
    """The options of a merging.

    Attributes:
      path: The dataset's directory, as the user gave it.
      run_id: The name of the new run; None names it after a hash of what is merged.
      num_shards: A fixed number of feature shards; None chooses one.
      images_per_shard: The rows that a shard may hold on average, where the number is chosen.
      compression: The compression of the feature shards, "none" or "gzip".
    """

    path: str
    run_id: str | None = None
    num_shards: int | None = None
    images_per_shard: int = 10_000
    compression: str = "none"


def prepare_compaction(
    options: CompactionOptions, beam_options: PipelineOptions
) -> Compaction | AlreadyCommitted | None:
    """Checks everything that can be checked before the merging starts.

    Returns:
      The merging, or None where there is nothing to merge.

    Raises:
      UsageError: the dataset cannot be merged.
    """
    started = utc_now()
    FileSystems.set_options(beam_options)
    dataset = absolute(options.path)
    runner.check(beam_options, wait=True, inputs=(), output=dataset)
    runs = _runs(dataset)
    num_shards = options.num_shards or shards_of(runs, options.images_per_shard)
    fingerprint = fingerprint_of(runs, num_shards, options.compression)
    # The name is the same for all who merge these runs, at once or after a crash.
    run_id = options.run_id or f"compacted-{fingerprint}"
    attempt = find_attempt(dataset, run_id, compression=options.compression)
    if attempt.state is State.COMMITTED:
        found = Run.read(attempt.layout.directory)
        if found is None or not found.replaces:
            raise UsageError(f"--run_id={run_id} is a run that was extracted; name another.")
        return AlreadyCommitted(attempt.layout.directory)
    if len(runs) == 1 and len(runs[0].files()) == (options.num_shards or len(runs[0].files())):
        return None
    try:
        compaction = compaction_of(runs, attempt.layout, num_shards, started)
    except (ValueError, OSError) as error:
        raise UsageError(f"{options.path} cannot be merged: {explain(error)}.") from error
    layout = begin_attempt(attempt, fingerprint, started).layout
    return dataclasses.replace(compaction, run=dataclasses.replace(compaction.run, layout=layout))


def _runs(path: str) -> list[Run]:
    try:
        runs = list(open_series(path).runs)
        alone = Run.read(path) is not None
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be merged: {explain(error)}.") from error
    if alone:
        raise UsageError(f"{path} is one run; name the dataset that it is in.")
    for run in runs:
        if len(run.files(INDEX_KIND)) != len(run.files()):
            raise UsageError(
                f"The run {run.directory} has no index, as of an earlier version: it cannot be "
                "merged; extract it anew."
            )
    return runs
