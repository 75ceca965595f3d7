"""The command `extract`: from arguments to a committed run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING

from image_features.errors import EXIT_OK, UsageError
from image_features.pipeline.argument_types import web_address
from image_features.pipeline.cli.again import command_again
from image_features.pipeline.cli.outcome import judge, tell_failures
from image_features.pipeline.cli.parsing import make_parser, parse_extract
from image_features.pipeline.process import log_to_stderr
from image_features.pipeline.streams import say
from image_features.system.paths import absolute

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from image_features.pipeline.dataset.run import Run

HELP = "read image URIs, write one feature vector an image as TFRecord shards"
_LOG = logging.getLogger(__name__)
# It does what --notify does for those who cannot have the address on a command line, which every
# user of the machine sees.
NOTIFY_VARIABLE = "IMAGE_FEATURES_NOTIFY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds our options; Beam's two hundred are left out of the help."""
    from image_features.pipeline.options import FeatureExtractorOptions

    parser.usage = "image-features extract --input=LOCATION --output=DIR [options] [Beam options]"
    parser.description = (
        "Extracts one feature vector for every image that the input names.\n\n"
        "Rows that fail become error rows with a reason; the run goes on. Readers see the run\n"
        "once OUT/<run_id>/run.json is there, when every row is accounted for."
    )
    parser.epilog = (
        "Beam options pass through, such as --runner, --direct_num_workers,\n"
        "--direct_running_mode, --temp_location. Without --runner the run stays on this machine:\n"
        "in this process, or in one for every four cores.\n"
        "\n"
        "exit codes: 0 committed (or submitted, with --no_wait), 1 failed, 2 bad arguments,\n"
        "3 committed but over --error_budget, 4 another launcher works on the run,\n"
        "5 computed but a guard stopped the commit, 130 or 143 interrupted"
    )
    FeatureExtractorOptions._add_argparse_args(parser)


def run(argv: list[str]) -> int:
    """Runs an extraction, and says what came of it.

    Returns:
      0 committed (or submitted, with --no_wait), 3 committed with more failed rows than
      --error_budget allows.

    Raises:
      ImageFeaturesError: the run could not be prepared, or failed.
    """
    if "-h" in argv or "--help" in argv:
        make_parser("extract", add_arguments).print_help()
        return EXIT_OK
    options, beam_options = parse_extract(argv)
    log_to_stderr(options.log_format)
    # Beam must find the logs already quiet.
    from image_features.pipeline.launch import profile
    from image_features.pipeline.launch.job import run_job
    from image_features.pipeline.launch.notify import notify_commit
    from image_features.pipeline.launch.prepare import AlreadyCommitted, prepare
    from image_features.pipeline.launch.work import Terms

    profiled = absolute(options.profile) if options.profile else None
    if profiled:
        _check_profile(profiled, beam_options)
    begun = time.monotonic()
    address = notify_address(options.notify, wait=options.wait)
    work = prepare(options, beam_options)
    if isinstance(work, AlreadyCommitted):
        say(work)
        return EXIT_OK
    terms = Terms(
        wait=options.wait,
        notify=address,
        deadline=begun + options.max_duration if options.max_duration else None,
        again=command_again("extract", argv, work.run.run_id),
    )
    with profile.sampled(profiled) if profiled else contextlib.nullcontext():
        outcome = run_job(work, beam_options, terms)
    committed = outcome.run
    if committed is None:
        return EXIT_OK
    if outcome.result is None:
        say(AlreadyCommitted(committed.directory))
        return EXIT_OK
    _summarize(committed, outcome.seconds, incremental=work.known is not None)
    stages = profile.stages(outcome.result)
    if stages:
        took = ", ".join(f"{name} {stage['seconds']:.2f} s" for name, stage in stages.items())
        say(f"  time in each step, added up over threads: {took}")
    if profiled:
        say(*profile.write_stages(profiled, stages, outcome.seconds))
    if terms.notify:
        notify_commit(terms.notify, committed.record)
    return judge(committed.counts, options.error_budget)


def _check_profile(directory: str, beam_options: PipelineOptions) -> None:
    from image_features.pipeline.launch import profile
    from image_features.pipeline.runners import runner

    if not runner.is_local(beam_options):
        raise UsageError("--profile looks at this machine only; leave --runner out with it.")
    profile.check(directory)


def notify_address(given: str | None, *, wait: bool) -> str | None:
    """Returns the address to notify: the option's, or else the variable's.

    Raises:
      UsageError: nobody waits for the end of the run, or the variable holds no address.
    """
    if given and not wait:
        raise UsageError("--notify needs someone who waits; leave out --notify or --no_wait.")
    # The variable may be set for all commands of a machine, also for those that do not wait.
    if given or not wait or not os.environ.get(NOTIFY_VARIABLE):
        return given
    try:
        return web_address(os.environ[NOTIFY_VARIABLE])
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"The variable {NOTIFY_VARIABLE} cannot be used: {error}.") from error


def _summarize(committed: Run, seconds: float, *, incremental: bool) -> None:
    counts = committed.counts
    known = ""
    if incremental:
        known = f"{counts.rows_unchanged} unchanged, {counts.rows_removed} removed, "
    say(
        f"{committed.directory}: {counts.rows_out} of {counts.rows_in} images, "
        f"{counts.rows_failed} failed, {known}{counts.rows_done / seconds:.1f} images/s"
    )
    tell_failures(committed)
    for sentence in committed.unchecked:
        say(f"  {sentence}")
    for name, drift in committed.drift.items():
        if not drift["drifted"]:
            continue
        _LOG.warning(
            "The features%s have drifted from the run %s: stability index %.3g, difference of "
            "means %.3g, --drift_threshold=%g.",
            f" of {name}" if name else "",
            drift["run_id"],
            drift["psi"],
            drift["mean_difference"],
            drift["threshold"],
        )
