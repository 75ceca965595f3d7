"""The command `extract`: from arguments to an exit code."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from image_features.pipeline.argument_types import web_address
from image_features.pipeline.config import ExtractConfig
from image_features.pipeline.errors import UsageError
from image_features.pipeline.exits import EXIT_OK, EXIT_OVER_BUDGET
from image_features.pipeline.launch import prepare as launch
from image_features.pipeline.launch import profile
from image_features.pipeline.launch.job import run_job
from image_features.pipeline.launch.notify import notify
from image_features.pipeline.options import FeatureExtractorOptions
from image_features.pipeline.runners import runners

_LOG = logging.getLogger(__name__)
# As --notify, for those who cannot have the address on a command line, which all users see.
NOTIFY_VARIABLE = "IMAGE_FEATURES_NOTIFY"


def extract(options: FeatureExtractorOptions, beam_options: PipelineOptions) -> int:
    """Runs an extraction, and says what came of it.

    Returns:
      0 committed (or submitted, with --no_wait), 1 failed, 3 committed with more failed rows than
      --error_budget allows, 4 another launcher works on the run, 5 computed but not committed
      because of a guard.

    Raises:
      UsageError: something asked for cannot be done; no work has started.
    """
    if options.profile:
        if runners.runner_of(beam_options) is not runners.Runner.LOCAL:
            raise UsageError("--profile looks at this machine only; leave --runner out with it.")
        profile.check(options.profile)
    begun = time.monotonic()
    address = _take_address(options)
    try:
        config = launch.prepare(options, beam_options)
    except launch.AlreadyCommittedError as done:
        print(f"{done} is committed already.")
        return EXIT_OK
    deadline = begun + options.max_duration if options.max_duration else None
    with profile.sampled(options.profile) if options.profile else contextlib.nullcontext():
        outcome = run_job(
            config, beam_options, wait=options.wait, address=address, deadline=deadline
        )
    run = outcome.run
    if run is None:
        return outcome.code
    _summarize(config, run, outcome.seconds)
    stages = profile.stages(outcome.result)
    if stages:
        took = ", ".join(f"{name} {stage['seconds']:.2f} s" for name, stage in stages.items())
        print(f"  threads' time: {took}")
    if options.profile:
        print("\n".join(profile.write_stages(options.profile, stages, outcome.seconds)))
    if address:
        notify(address, run)
    return _judge(run["counts"], options.error_budget)


def _take_address(options: FeatureExtractorOptions) -> str | None:
    """Where to notify, which is nobody else's business: engines show a job's options."""
    if options.notify and not options.wait:
        raise UsageError("--notify needs someone who waits; leave out --notify or --no_wait.")
    address, options.notify = options.notify, None
    # A variable may be set for all commands of a machine, those that wait for nothing too.
    if address or not options.wait or not os.environ.get(NOTIFY_VARIABLE):
        return address
    try:
        return web_address(os.environ[NOTIFY_VARIABLE])
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"The variable {NOTIFY_VARIABLE} cannot be used: {error}.") from error


def _summarize(config: ExtractConfig, run: dict[str, Any], seconds: float) -> None:
    counts = run["counts"]
    done = counts["rows_in"] - counts["rows_unchanged"]
    known = ""
    if config.known is not None:
        known = f"{counts['rows_unchanged']} unchanged, {counts['rows_removed']} removed, "
    print(
        f"{config.layout.directory}: {counts['rows_out']} of {counts['rows_in']} images, "
        f"{counts['rows_failed']} failed, {known}{done / seconds:.1f} images/s"
    )
    for reason, count in counts["failed_by_reason"].items():
        print(f"  {count} {reason}")
    drift = run.get("drift")
    if drift and drift["drifted"]:
        _LOG.warning(
            "The features have drifted from the run %s: stability index %.3g, difference of means "
            "%.3g, --drift_threshold=%g.",
            drift["run_id"],
            drift["psi"],
            drift["mean_difference"],
            drift["threshold"],
        )


def _judge(counts: dict[str, Any], budget: float | None) -> int:
    failed, rows = counts["rows_failed"], counts["rows_in"]
    if budget is None or failed <= budget * rows:
        return EXIT_OK
    print(
        f"image-features: the run is committed, but {failed} of {rows} rows failed "
        f"({failed / rows:.2%}), more than --error_budget={budget:g} allows.",
        file=sys.stderr,
    )
    return EXIT_OVER_BUDGET
