"""The command `extract`: from arguments to an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import launch, profile, runners
from pipeline.config import ExtractConfig
from pipeline.exits import EXIT_FAILED, EXIT_OK, EXIT_OVER_BUDGET
from pipeline.options import FeatureExtractorOptions
from pipeline.usage import UsageError


def extract(options: FeatureExtractorOptions, beam_options: PipelineOptions) -> int:
    """Runs an extraction, and says what came of it.

    Returns:
      0 committed (or submitted, with --no_wait), 1 failed, 3 committed with more failed rows than
      --error_budget allows.

    Raises:
      UsageError: something asked for cannot be done; no work has started.
    """
    if options.profile:
        if runners.runner_of(beam_options) is not runners.Runner.LOCAL:
            raise UsageError("--profile looks at this machine only; leave --runner out with it.")
        profile.check(options.profile)
    try:
        config = launch.prepare(options, beam_options)
    except launch.AlreadyCommittedError as done:
        print(f"{done} is committed already.")
        return EXIT_OK
    start = time.monotonic()
    try:
        with (
            _stopped_by_signals(beam_options),
            profile.sampled(options.profile) if options.profile else contextlib.nullcontext(),
        ):
            result = launch.submit(config, beam_options)
            _say_where(config, beam_options, result)
            if not options.wait:
                _see_it_run(result)
                return EXIT_OK
            run = launch.wait(config, result)
    except launch.RunFailedError as error:
        print(f"image-features: {error}", file=sys.stderr)
        return EXIT_FAILED
    seconds = time.monotonic() - start
    _summarize(config, run, seconds)
    stages = profile.stages(result)
    if stages:
        took = ", ".join(f"{name} {stage['seconds']:.2f} s" for name, stage in stages.items())
        print(f"  threads' time: {took}")
    if options.profile:
        print("\n".join(profile.write_stages(options.profile, stages, seconds)))
    return _judge(run["counts"], options.error_budget)


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
    print(
        f"{config.layout.directory}: {counts['rows_out']} of {counts['rows_in']} images, "
        f"{counts['rows_failed']} failed, {counts['rows_in'] / seconds:.1f} images/s"
    )
    for reason, count in counts["failed_by_reason"].items():
        print(f"  {count} {reason}")


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
