"""The command `extract`: from arguments to an exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import launch, profile, runners
from pipeline.claim import LEASE_SECONDS, Claim, HeldError
from pipeline.config import ExtractConfig, utc_now
from pipeline.exits import EXIT_FAILED, EXIT_GUARDED, EXIT_HELD, EXIT_OK, EXIT_OVER_BUDGET
from pipeline.layout import read_run
from pipeline.notify import notify
from pipeline.options import FeatureExtractorOptions
from pipeline.usage import UsageError
from transforms.uris import redact_uri

_LOG = logging.getLogger(__name__)
_LONG_SECONDS = 24 * 3600.0  # That a job may take while nobody waits for it.


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
    # Nobody renews the claim of a job that is not waited for.
    claim = Claim(config.layout.staging, lease=LEASE_SECONDS if options.wait else _LONG_SECONDS)
    try:
        claim.take()
    except HeldError as error:
        print(f"image-features: {config.layout.directory} is held: {error}.", file=sys.stderr)
        return EXIT_HELD
    start = time.monotonic()
    deadline = begun + options.max_duration if options.max_duration else None
    try:
        with (
            claim.kept() if options.wait else contextlib.nullcontext(),
            _stopped_by_signals(beam_options),
            _stopped_in_time(config, beam_options, address, deadline),
            profile.sampled(options.profile) if options.profile else contextlib.nullcontext(),
        ):
            result = launch.submit(config, beam_options)
            _say_where(config, beam_options, result)
            if not options.wait:
                _see_it_run(result)
                return EXIT_OK
            run = launch.wait(config, result, deadline=deadline)
    except launch.RunFailedError as error:
        code = EXIT_GUARDED if isinstance(error, launch.GuardedError) else EXIT_FAILED
        print(f"image-features: {error}", file=sys.stderr)
        _notify_failure(address, config, str(error), code)
        return code
    seconds = time.monotonic() - start
    _summarize(config, run, seconds)
    stages = profile.stages(result)
    if stages:
        took = ", ".join(f"{name} {stage['seconds']:.2f} s" for name, stage in stages.items())
        print(f"  threads' time: {took}")
    if options.profile:
        print("\n".join(profile.write_stages(options.profile, stages, seconds)))
    if address:
        notify(address, run)
    return _judge(run["counts"], options.error_budget)


def _take_address(options: FeatureExtractorOptions) -> str | None:
    """Where to notify, which is nobody else's business: engines show a job's options."""
    if options.notify and not options.wait:
        raise UsageError("--notify needs someone who waits; leave out --notify or --no_wait.")
    address, options.notify = options.notify, None
    return address


def _notify_failure(address: str | None, config: ExtractConfig, error: str, code: int) -> None:
    if address:
        message = {
            "run_id": config.run_id,
            "state": "STOPPED_BY_GUARD" if code == EXIT_GUARDED else "FAILED",
            "error": error,
            "exit_code": code,
            "directory": redact_uri(config.layout.directory),
            "started": config.started,
            "finished": utc_now(),
        }
        notify(address, message)


def _say_where(config: ExtractConfig, beam_options: PipelineOptions, result: Any) -> None:
    if runners.runner_of(beam_options) is runners.Runner.LOCAL:
        return
    job, link = runners.describe_job(beam_options, result)
    print(f"submitted job {job or config.run_id}{f': {link}' if link else ''}", flush=True)


def _see_it_run(result: Any) -> None:
    """Waits until the engine has taken the job, which it does while we look on.

    Raises:
      launch.RunFailedError: it has not.
    """
    while (state := str(result.state)) in ("STARTING", "STOPPED", "UNSPECIFIED", "UNKNOWN"):
        time.sleep(0.5)
    if state in ("FAILED", "CANCELLED"):
        raise launch.RunFailedError(f"The job ended {state}.")


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
    failed, rows = counts["rows_failed"], counts["rows_in"] - counts["rows_unchanged"]
    if budget is None or failed <= budget * rows:
        return EXIT_OK
    print(
        f"image-features: the run is committed, but {failed} of {rows} rows failed "
        f"({failed / rows:.2%}), more than --error_budget={budget:g} allows.",
        file=sys.stderr,
    )
    return EXIT_OVER_BUDGET


@contextlib.contextmanager
def _stopped_in_time(
    config: ExtractConfig,
    beam_options: PipelineOptions,
    address: str | None,
    deadline: float | None,
) -> Iterator[None]:
    """Ends the process at its deadline, as a signal would.

    That is for a local run, which can be stopped in no other way; `launch.wait` cancels others.
    """
    if deadline is None or runners.runner_of(beam_options) is not runners.Runner.LOCAL:
        yield
        return

    def stop() -> None:
        if read_run(config.layout.directory) is not None:
            return
        sentence = launch.too_long(config)
        os.write(2, f"image-features: {sentence}\n".encode())
        _notify_failure(address, config, sentence, EXIT_FAILED)
        os._exit(EXIT_FAILED)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _stopped_by_signals(beam_options: PipelineOptions) -> Iterator[None]:
    """Ends the process on Ctrl-C or SIGTERM.

    A local run ends at once: an exception would be taken for a failing row's by the runner, and
    its threads cannot be joined. Nothing is left to save: without run.json no reader sees the
    run. A job elsewhere goes on, as Beam's users are used to; what this process started for it,
    such as a job server, is stopped.
    """
    local = runners.runner_of(beam_options) is runners.Runner.LOCAL

    def stop(number: int, _: object) -> None:
        if local:
            os.write(2, b"image-features: interrupted; the run is not committed.\n")
            os._exit(128 + number)
        os.write(2, b"image-features: interrupted; a job that was submitted goes on.\n")
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
