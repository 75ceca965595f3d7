"""A configured job on its way: claimed, submitted, waited for, stopped by time or a signal."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from image_features.pipeline.config import ExtractConfig, utc_now
from image_features.pipeline.dataset.claim import LEASE_SECONDS, Claim, HeldError
from image_features.pipeline.dataset.layout import read_run
from image_features.pipeline.exits import EXIT_FAILED, EXIT_GUARDED, EXIT_HELD, EXIT_OK
from image_features.pipeline.launch import prepare as launch
from image_features.pipeline.launch.notify import notify
from image_features.pipeline.runners import runners
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import redact_uri

_LONG_SECONDS = 24 * 3600.0  # That a job may take while nobody waits for it.


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
      code: An exit code.
      run: run.json, if the run is committed and was waited for.
      result: Beam's, if the job was submitted.
      seconds: That it took.
    """

    code: int
    run: dict[str, Any] | None = None
    result: Any = None
    seconds: float = 0.0


def run_job(
    config: ExtractConfig,
    beam_options: PipelineOptions,
    *,
    wait: bool = True,
    address: str | None = None,
    deadline: float | None = None,
) -> Outcome:
    """Runs a job; says on stderr what went wrong.

    Args:
      config: Of the run.
      beam_options: Of the engine.
      wait: Whether to wait for the commit.
      address: Where to post a failure.
      deadline: When to stop it, by time.monotonic(); None lets it take its time.
    """
    # Nobody renews the claim of a job that is not waited for.
    claim = Claim(config.layout.staging, lease=LEASE_SECONDS if wait else _LONG_SECONDS)
    try:
        claim.take()
    except FileNotFoundError:  # Gone with the claim of another one, who has committed.
        if read_run(config.layout.directory) is None:
            raise
    except HeldError as error:
        print(f"image-features: {config.layout.directory} is held: {error}.", file=sys.stderr)
        return Outcome(EXIT_HELD)
    except FetchError as error:
        print(f"image-features: the run cannot be claimed: {error}", file=sys.stderr)
        return Outcome(EXIT_FAILED)
    if read_run(config.layout.directory) is not None:
        print(f"{config.layout.directory} is committed already.")
        claim.give_up()
        return Outcome(EXIT_OK)
    start = time.monotonic()
    try:
        with (
            claim.kept() if wait else contextlib.nullcontext(),
            _stopped_by_signals(beam_options),
            _stopped_in_time(config, beam_options, address, deadline),
        ):
            result = launch.submit(config, beam_options)
            _say_where(config, beam_options, result)
            if not wait:
                _see_it_run(result)
                return Outcome(EXIT_OK, None, result)
            run = launch.wait(config, result, deadline=deadline)
    except launch.RunFailedError as error:
        if not wait:
            claim.give_up()
        code = EXIT_GUARDED if isinstance(error, launch.GuardedError) else EXIT_FAILED
        print(f"image-features: {error}", file=sys.stderr)
        _notify_failure(address, config, str(error), code)
        return Outcome(code)
    return Outcome(EXIT_OK, run, result, time.monotonic() - start)


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
