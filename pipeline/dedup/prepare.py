"""The preparation of a search for duplicates; everything is checked before any work starts."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from image_features.errors import UsageError
from image_features.pipeline.config import utc_now
from image_features.pipeline.dataset.export import removed_run, runs_in
from image_features.pipeline.dataset.layout import RunLayout
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import open_whole
from image_features.pipeline.dedup.duplicates import Earlier
from image_features.pipeline.dedup.result import Result
from image_features.pipeline.launch.attempt import (
    State,
    begin_attempt,
    clear_committed,
    find_dedup,
)
from image_features.pipeline.launch.fingerprint import hash_of
from image_features.pipeline.launch.prepare import AlreadyCommitted
from image_features.pipeline.locations import explain
from image_features.system.paths import absolute
from image_features.transforms.stores.uris import redact_uri

# Of 100 photos, all copies of half the size or of JPEG quality 30 are above it, and no two photos
# are by a long way: see docs/dedup.md.
THRESHOLD = 0.98
SAMPLES = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class DedupOptions:
    """The options of a search for duplicates.

    Attributes:
      dataset: The dataset's directory or a run's, as the user gave it.
      output: The directory to write to.
      threshold: The cosine from which images are near duplicates.
      features: The name of the model whose vectors are compared; None is the only one.
      since: The directory of an earlier night's result, which this one goes on from.
      samples: The number of groups on the page; 0 for no page.
      private_hosts: Whether pictures for the page are read from private hosts, too.
    """

    dataset: str
    output: str
    threshold: float = THRESHOLD
    features: str | None = None
    since: str | None = None
    samples: int = SAMPLES
    private_hosts: bool = False


@dataclasses.dataclass(frozen=True)
class Deduplication:
    """A search for duplicates that can begin.

    Attributes:
      options: What was asked for.
      layout: The paths of the result.
      started: The time of the launch, ISO 8601, UTC.
      runs: The runs whose rows are compared, the latest first.
      earlier: What an earlier night has found; None if none is named.
      recipe: The fields of dedup.json that tell what was compared and how.
    """

    options: DedupOptions
    layout: RunLayout
    started: str
    runs: Sequence[Run]
    earlier: Earlier | None
    recipe: Mapping[str, Any]

    def committed(self) -> Result | None:
        """Reads what was committed; None as long as nothing is."""
        return Result.read(self.layout.directory)


def prepare_dedup(options: DedupOptions) -> Deduplication | AlreadyCommitted:
    """Checks everything that can be checked before rows are read.

    Raises:
      UsageError: the dataset, an option or the output cannot be used.
    """
    started = utc_now()
    if options.samples and importlib.util.find_spec("jinja2") is None:
        raise UsageError(
            "The page is made with Jinja: install the extra [report], by "
            "pip install 'image-feature-extractor[report]', or pass --samples=0 for no page."
        )
    runs = open_whole(options.dataset, options.features, done="searched for duplicates")
    since = _since(options, runs)
    recipe = _recipe(options, runs, since)
    fingerprint = hash_of(recipe)
    found = find_dedup(options.output)
    earlier = None
    if since is not None and found.state is not State.COMMITTED:
        earlier = _earlier(options, since)
    attempt = begin_attempt(found, fingerprint, started)
    if attempt.state is State.COMMITTED:
        clear_committed(attempt.layout)
        return AlreadyCommitted(attempt.layout.directory)
    return Deduplication(options, attempt.layout, started, tuple(runs), earlier, recipe)


def _recipe(options: DedupOptions, runs: Sequence[Run], since: Result | None) -> dict[str, Any]:
    vector = runs[0].vector
    return {
        "threshold": options.threshold,
        "samples": options.samples,
        "since": None
        if since is None
        else {
            "directory": redact_uri(since.directory),
            "fingerprint": since.record["fingerprint"],
            "finished": since.record["finished"],
        },
        "vectors": {"name": vector.model, "width": vector.width},
        **_compared(runs[0]).to_json(),
        "runs": runs_in(runs),
    }


def _compared(run: Run) -> Provenance:
    """Returns the sources of the vectors that are compared, without those of other models."""
    name = run.vector.model
    return dataclasses.replace(run.provenance, models={name: run.provenance.models[name]})


def _since(options: DedupOptions, runs: Sequence[Run]) -> Result | None:
    """Reads the earlier result, and makes sure that this one can go on from it.

    Raises:
      UsageError: it cannot.
    """
    if options.since is None:
        return None
    shown = f"--since={options.since}"
    try:
        since = Result.read(absolute(options.since))
    except (ValueError, OSError) as error:
        raise UsageError(f"{shown} cannot be used: {explain(error)}.") from error
    if since is None:
        raise UsageError(f"{shown} holds no duplicates: there is no dedup.json.")
    differs = since.provenance.differences(_compared(runs[0]))
    if differs:
        raise UsageError(
            f"{shown} has compared other vectors ({', '.join(differs)}); find the duplicates "
            "without --since."
        )
    if since.threshold != options.threshold:
        raise UsageError(
            f"{shown} was found with --threshold={since.threshold:g}, now it is "
            f"{options.threshold:g}; give the same one, or find the duplicates without --since."
        )
    if lost := removed_run(runs, since.runs):
        raise UsageError(
            f"{shown} has compared the run {lost}, which is not in {options.dataset}: rows that "
            "it had replaced may be seen again. Find the duplicates without --since."
        )
    return since


def _earlier(options: DedupOptions, since: Result) -> Earlier:
    try:
        return since.earlier()
    except (ValueError, OSError) as error:
        raise UsageError(f"--since={options.since} cannot be used: {explain(error)}.") from error
