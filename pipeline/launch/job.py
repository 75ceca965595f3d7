"""The way of a run from its claim over its submission to its commit."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.errors import (
    GuardError,
    ImageFeaturesError,
    RunFailedError,
)
from image_features.pipeline.commit.guards import recorded_broken
from image_features.pipeline.config import Committed, JobConfig, RunConfig
from image_features.pipeline.dataset.claim import LEASE_SECONDS, Claim
from image_features.pipeline.extract import Extraction
from image_features.pipeline.launch.holding import take
from image_features.pipeline.launch.models import needed_engine, stage_models
from image_features.pipeline.launch.notify import notify_failure, notify_interruption
from image_features.pipeline.launch.progress import watch
from image_features.pipeline.launch.stop import stopped_by_signals, stopped_in_time
from image_features.pipeline.launch.work import Outcome, Terms, Work
from image_features.pipeline.pack import Packing
from image_features.pipeline.runners import runner
from image_features.pipeline.runners.kept_views import KeptViews, kept_parameters
from image_features.pipeline.streams import say
from image_features.transforms.shards.spill import Spill
from image_features.transforms.stores.uris import redact_text

_LOG = logging.getLogger(__name__)
# The lease of a --no_wait job, which nobody renews.
_LONG_SECONDS = 24 * 3600.0
_ENDED = frozenset({"DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED"})
_STARTING = frozenset({"STARTING", "STOPPED", "UNSPECIFIED", "UNKNOWN"})
_CANCEL_SECONDS = 120.0
_POLL_SECONDS = 0.5
# An OSError as Beam tells it, which adds the step to its text.
_REFUSED = re.compile(r"\[Errno \d+\] (?P<what>[^:\['\"]+)(?:: ['\"](?P<file>[^'\"]*))?")
_STEP = re.compile(r" \[while running '[^']*'\]$")


def run_job(
    work: Work[Committed], beam_options: PipelineOptions, terms: Terms
) -> Outcome[Committed]:
    """Runs a job.

    Raises:
      RunHeldError: another launcher works on the run.
      GuardError: everything was computed, but a guard stopped the commit.
      RunFailedError: the job could not be started, or ended without a commit.
    """
    run = work.run
    claim = Claim(run.layout.staging, lease=LEASE_SECONDS if terms.wait else _LONG_SECONDS)
    committed = take(claim, run.layout, run.committed)
    if committed is not None:
        return Outcome(committed)
    start = time.monotonic()
    try:
        with (
            claim.kept() if terms.wait else contextlib.nullcontext(),
            _stopped_from_outside(run, beam_options, terms),
        ):
            result = _submit(work, beam_options)
            _say_where(run, beam_options, result)
            if not terms.wait:
                _see_it_start(result)
                return Outcome(None, result)
            committed = wait_for_commit(run, result, deadline=terms.deadline)
    except RunFailedError as error:
        if not terms.wait:
            claim.give_up()
        notify_failure(terms.notify, run, error)
        if terms.advice:
            error.add_note(terms.advice)
        raise
    return Outcome(committed, result, time.monotonic() - start)


@contextlib.contextmanager
def _stopped_from_outside(
    run: JobConfig[Any], beam_options: PipelineOptions, terms: Terms
) -> Iterator[None]:
    local = runner.is_local(beam_options)

    def give_up() -> str | None:
        if run.committed() is not None:
            return None
        error = RunFailedError(_too_long(run))
        notify_failure(terms.notify, run, error)
        return "\n".join(filter(None, (str(error), terms.advice)))

    with contextlib.ExitStack() as stack:
        if terms.owns_process:
            tell = functools.partial(notify_interruption, terms.notify, run)
            stack.enter_context(stopped_by_signals(local=local, advice=terms.advice, tell=tell))
            if local and terms.deadline is not None:
                # A job that runs elsewhere is cancelled by `wait_for_commit`.
                stack.enter_context(stopped_in_time(terms.deadline, give_up))
        yield


def _submit(work: Work[Any], beam_options: PipelineOptions) -> Any:
    """Starts the pipeline; a local one has ended when this returns."""
    run = work.run
    try:
        made_by = run.provenance.models.values() if isinstance(run, RunConfig) else ()
        engine = needed_engine(made_by)
        threads = runner.complete_options(
            beam_options, run_id=run.run_id, engine=engine, extra=run.extra
        )
        local = runner.is_local(beam_options)
        spill = _spill(run.layout.staging) if local else Spill()
        if isinstance(work, Extraction):
            models = work.models if local else stage_models(work.models, run.layout.staging)
            work = dataclasses.replace(
                work, models=models, cpu_threads=work.cpu_threads or threads, spill=spill
            )
        elif isinstance(work, Packing):
            work = dataclasses.replace(work, cpu_threads=threads, spill=spill)
        with kept_parameters():
            pipeline = beam.Pipeline(options=beam_options.view_as(KeptViews))
            work.build(pipeline)
            try:
                with watch(run.layout.staging):
                    return pipeline.run()
            finally:
                spill.clear()  # What waits has URIs as they were given, with their secrets.
    except Exception as error:
        raise _failure(run, error) from error


def _spill(staging: str) -> Spill:
    """Returns where a local job lets wait what its runner would hold in memory."""
    spill = Spill("" if "://" in staging else os.path.join(staging, "waiting"))
    spill.clear()
    return spill


def _say_where(run: JobConfig[Any], beam_options: PipelineOptions, result: Any) -> None:
    if not runner.is_local(beam_options):
        job, link = runner.describe_job(beam_options, result)
        say(f"submitted job {job or run.run_id}{f': {link}' if link else ''}")


def _see_it_start(result: Any) -> None:
    """Waits until the engine has taken the job, since this process may end only then."""
    while (state := str(result.state)) in _STARTING:
        time.sleep(_POLL_SECONDS)
    if state in ("FAILED", "CANCELLED"):
        raise RunFailedError(f"The job ended {state}.")


def wait_for_commit(
    run: JobConfig[Committed], result: Any, *, deadline: float | None = None
) -> Committed:
    """Waits for a pipeline's commit.

    Args:
      run: The run that the pipeline makes.
      result: The result that Beam returned when the pipeline was started.
      deadline: The time.monotonic() at which the job is cancelled; None waits for ever.

    Raises:
      GuardError: a guard stopped the commit.
      RunFailedError: the job ended without a commit.
    """
    failure: Exception | None = None
    state = ""
    cancelled = False
    try:
        with watch(run.layout.staging):
            if deadline is None:
                state = str(result.wait_until_finish())
            else:
                left = max(1, int(1000 * (deadline - time.monotonic())))
                state = str(result.wait_until_finish(duration=left))
                if state not in _ENDED:
                    cancelled = True
                    state = _cancel(result)
    except Exception as error:
        failure = error
    committed = run.committed()
    if committed is None:
        if cancelled:
            raise RunFailedError(f"{_too_long(run)} Its job is {state}.") from failure
        raise _failure(run, failure, state) from failure
    if failure is not None or state != "DONE":
        # The commit is the last step that counts, so that an engine that fails later loses nothing.
        _LOG.warning("The run is committed, though the job ended %s.", failure or state)
    return committed


def _cancel(result: Any) -> str:
    """Cancels a job, and waits a while for its end; returns its state."""
    try:
        result.cancel()
    except Exception as error:  # Each engine has exceptions of its own.
        # The commit's own guard still keeps such a run from being committed.
        _LOG.warning("The job could not be cancelled: %s", redact_text(str(error)))
    end = time.monotonic() + _CANCEL_SECONDS
    while (state := str(result.state)) not in _ENDED and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
    return state


def _too_long(run: JobConfig[Any]) -> str:
    return (
        f"The run {run.run_id} lasted longer than "
        f"--max_duration={run.guards.max_duration:g} and was stopped; it is not committed."
    )


def _failure(run: JobConfig[Any], error: Exception | None, state: str = "") -> RunFailedError:
    broken = recorded_broken(run.layout.staging, run.started)
    if broken:
        return GuardError(
            f"The run {run.run_id} is not committed: {' '.join(broken)} What was computed "
            "is kept: the same command with other limits goes on from there."
        )
    if error is None:
        return RunFailedError(f"The run {run.run_id} ended {state} and is not committed.")
    return RunFailedError(f"The run {run.run_id} failed and is not committed: {_why(run, error)}")


def _why(run: JobConfig[Any], error: BaseException) -> str:
    """Says what has failed, in the words of the system where it is the system that refuses."""
    line = redact_text(_last_line(error))
    refused = _REFUSED.search(line)
    if refused is None:
        # Our own sentences need no step, which Beam adds to every text.
        return _STEP.sub("", line) if isinstance(error, ImageFeaturesError) else line
    return f"{refused['file'] or run.layout.directory}: {refused['what']}."


def _last_line(error: BaseException) -> str:
    # The text of Dataflow's runner ends with "None" where the service gave no reason.
    lines = [line for line in str(error).splitlines() if line.strip() not in ("", "None")]
    return lines[-1].removesuffix(", Error:")[:1000] if lines else type(error).__name__
