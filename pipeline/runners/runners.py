"""What each engine needs: checked before any work, filled in where the user said nothing."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
)

from image_features.pipeline.config import ExtractConfig
from image_features.pipeline.errors import UsageError
from image_features.pipeline.options import FeatureExtractorOptions
from image_features.pipeline.runners import dataflow, flink
from image_features.transforms.runtime.concurrency import available_cores

# "DirectRunner" would first look for another runner on the network, by name it does not.
IN_PROCESS_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# What one interpreter's lock serves: a core's share of it is about a tenth (docs/performance.md).
CORES_PER_PROCESS = 4


class Runner(enum.StrEnum):
    """The engines that have needs of their own."""

    LOCAL = "local"
    PRISM = "prism"
    FLINK = "flink"
    DATAFLOW = "dataflow"
    OTHER = "other"


_NAMES = {
    **dict.fromkeys(("", "local", "direct", "directrunner", "fnapirunner"), Runner.LOCAL),
    "prismrunner": Runner.PRISM,
    "flinkrunner": Runner.FLINK,
    "dataflowrunner": Runner.DATAFLOW,
}


def runner_of(beam_options: PipelineOptions) -> Runner:
    """The engine that --runner names."""
    name = (beam_options.view_as(StandardOptions).runner or "").lower()
    return _NAMES.get(name.rpartition(".")[2], Runner.OTHER)


def check(options: FeatureExtractorOptions, beam_options: PipelineOptions) -> None:
    """Sees that the engine is there and can do what is asked, as far as can be told.

    Raises:
      UsageError: it is not, or cannot.
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
        dataflow.check(options, beam_options)
    if not options.wait and not _goes_on_alone(runner, beam_options):
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


def settle(config: ExtractConfig, beam_options: PipelineOptions) -> ExtractConfig:
    """Fills in what the engine needs and the user left open."""
    beam_options.view_as(SetupOptions).save_main_session = False
    runner = runner_of(beam_options)
    if runner is Runner.LOCAL:
        beam_options.view_as(StandardOptions).runner = IN_PROCESS_RUNNER
        return _settle_local(config, beam_options.view_as(DirectOptions))
    if runner is Runner.FLINK:
        flink.settle(beam_options)
    if runner is Runner.DATAFLOW:
        return dataflow.settle(config, beam_options)
    return config


def _settle_local(config: ExtractConfig, direct: DirectOptions) -> ExtractConfig:
    """Settles how many workers a local run has, and how many cores each of them."""
    cores = available_cores()
    if (direct.direct_num_workers, direct.direct_running_mode) == (1, "in_memory"):
        direct.direct_num_workers = max(1, cores // CORES_PER_PROCESS)
        if direct.direct_num_workers > 1:
            direct.direct_running_mode = "multi_processing"
    elif direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_threading"  # In memory there is one worker only.
    threads = cores
    if direct.direct_running_mode == "multi_processing":
        # Workers of 0 are Beam's word for one a core.
        threads = max(1, cores // (direct.direct_num_workers or cores))
    return dataclasses.replace(config, cpu_threads=config.cpu_threads or threads)


def describe_job(beam_options: PipelineOptions, result: Any) -> tuple[str, str]:
    """The id of a submitted job, and where to look at it: two texts, "" where there is none."""
    runner = runner_of(beam_options)
    if runner is Runner.DATAFLOW:
        cloud = beam_options.view_as(GoogleCloudOptions)
        if not result.has_job:  # The Flex Template's launcher submits what was described.
            return "", ""
        job = str(result.job_id())
        return job, (
            f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job}"
            f"?project={cloud.project}"
        )
    job = str(getattr(result, "_job_id", ""))
    if runner is Runner.FLINK and (place := flink.address(beam_options)):
        found = flink.find_job(beam_options, result, job)
        return (found, f"{place}/#/job/running/{found}") if found else (job, place)
    return job, ""
