"""The engines, each of which is checked before any work and gets what the user did not say."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
)

from image_features.errors import UsageError
from image_features.models.identity import Engine
from image_features.pipeline.runners import dataflow, flink, local


class Runner(enum.StrEnum):
    """The engines that have needs of their own."""

    LOCAL = "local"
    PRISM = "prism"
    FLINK = "flink"
    DATAFLOW = "dataflow"
    OTHER = "other"


_NAMES = {
    **dict.fromkeys(
        ("", "local", "localrunner", "direct", "directrunner", "fnapirunner"), Runner.LOCAL
    ),
    "prismrunner": Runner.PRISM,
    "flinkrunner": Runner.FLINK,
    "dataflowrunner": Runner.DATAFLOW,
}


def runner_of(beam_options: PipelineOptions) -> Runner:
    """Returns the engine that --runner names."""
    name = (beam_options.view_as(StandardOptions).runner or "").lower()
    return _NAMES.get(name.rpartition(".")[2], Runner.OTHER)


def is_local(beam_options: PipelineOptions) -> bool:
    """Tells whether the job runs in this process, or in ones that it starts."""
    return runner_of(beam_options) is Runner.LOCAL


def check(beam_options: PipelineOptions, *, wait: bool, inputs: Sequence[str], output: str) -> None:
    """Makes sure that the engine is there and can do what is asked, as far as can be told.

    Args:
      beam_options: The options of the engine.
      wait: Whether the launcher waits for the commit.
      inputs: The locations that workers read.
      output: The location that workers write to.

    Raises:
      UsageError: the engine is not there, or cannot do what is asked.
    """
    runner = runner_of(beam_options)
    name = beam_options.view_as(StandardOptions).runner
    if runner is not Runner.LOCAL:
        try:
            beam.runners.runner.create_runner(name)
        except (ValueError, ImportError, AttributeError) as error:
            message = str(error).partition(":")[0].rstrip(".")
            raise UsageError(f"--runner={name} cannot be used: {message}.") from error
    if runner is Runner.FLINK:
        flink.check(beam_options)
    if runner is Runner.DATAFLOW:
        dataflow.check(beam_options, wait=wait, inputs=inputs, output=output)
    if not wait and not _goes_on_alone(runner, beam_options):
        raise UsageError(
            f"--no_wait needs an engine that goes on without this process, and "
            f"{f'--runner={name}' if name else 'the local one'} does not; leave --no_wait out."
        )


def _goes_on_alone(runner: Runner, beam_options: PipelineOptions) -> bool:
    portable = beam_options.view_as(PortableOptions)
    if portable.environment_type == "LOOPBACK":
        return False
    if runner is Runner.FLINK:
        return flink.address(beam_options) is not None or bool(portable.job_endpoint)
    return runner is Runner.DATAFLOW or bool(portable.job_endpoint)


def stay_in_process(beam_options: PipelineOptions, place: str) -> None:
    """Keeps a job in this process, the only one that may open what it writes to.

    Raises:
      UsageError: the engine has other processes.
    """
    if not is_local(beam_options) or not local.stay_in_process(beam_options):
        raise UsageError(
            f"{place} is a local directory that one process at a time may open; leave --runner and "
            "--direct_running_mode=multi_processing out, or export to a server."
        )


def complete_options(
    beam_options: PipelineOptions, *, run_id: str, engine: Engine, extra: str = ""
) -> int | None:
    """Fills in what the engine needs and the user left open.

    Args:
      beam_options: The options of the engine.
      run_id: The name of the run, for jobs that are named.
      engine: The engine that runs the model in the workers.
      extra: The extra of our distribution that workers need; empty if they need none.

    Returns:
      The number of threads that should compute in a worker; None for one a core.
    """
    beam_options.view_as(SetupOptions).save_main_session = False
    runner = runner_of(beam_options)
    if runner is Runner.LOCAL:
        return local.complete_options(beam_options)
    if runner is Runner.FLINK:
        flink.complete_options(beam_options)
    if runner is Runner.DATAFLOW:
        return dataflow.complete_options(beam_options, run_id=run_id, engine=engine, extra=extra)
    return None


def describe_job(beam_options: PipelineOptions, result: Any) -> tuple[str, str]:
    """Returns the id of a submitted job and the address of its page, "" where there is none."""
    runner = runner_of(beam_options)
    if runner is Runner.DATAFLOW:
        return dataflow.describe_job(beam_options, result)
    job = str(getattr(result, "_job_id", ""))
    if runner is Runner.FLINK:
        return flink.describe_job(beam_options, result, job)
    return job, ""
