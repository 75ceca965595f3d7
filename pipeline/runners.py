"""What each engine needs: checked before any work, filled in where the user said nothing."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import os
import re
import shutil
import sysconfig
from typing import Any

import apache_beam as beam
import urllib3
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from pipeline.config import ExtractConfig
from pipeline.options import FeatureExtractorOptions
from pipeline.usage import UsageError
from transforms.concurrency import available_cores
from transforms.storage import is_http

# "DirectRunner" would first look for another runner on the network, by name it does not.
IN_PROCESS_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# What one interpreter's lock serves: a core's share of it is about a tenth (docs/performance.md).
CORES_PER_PROCESS = 4

# Dataflow's defaults here, each where the user says nothing (deploy/dataflow/README.md).
_MACHINE_TYPE = "e2-standard-4"
_DISK_GB = 30
# GPUs come with N1 machines, newer ones with a family of their own, never with E2.
_GPU_MACHINE_TYPES = {"nvidia-l4": "g2-standard-4", "nvidia-tesla-a100": "a2-highgpu-1g"}
_GPU_MACHINE_TYPE = "n1-standard-4"
_GPU_DISK_GB = 50  # An image with CUDA's libraries is large.
_MAX_WORKERS = 20
# Dataflow runs a process for every vCPU: each computes on one thread, and a second bundle
# computes while a first one waits for its last images.
_HARNESS_THREADS = 2
_MIN_RAM = "min_ram=4GB"

_FLINK_CLUSTERS_OF_ITS_OWN = ("[local]", "[auto]")
_REST_SECONDS = 10.0


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
        _check_flink(beam_options)
    if runner is Runner.DATAFLOW:
        _check_dataflow(options, beam_options)
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
        return _flink_address(beam_options) is not None or bool(portable.job_endpoint)
    return runner is Runner.DATAFLOW or bool(portable.job_endpoint)


def settle(config: ExtractConfig, beam_options: PipelineOptions) -> ExtractConfig:
    """Fills in what the engine needs and the user left open."""
    beam_options.view_as(SetupOptions).save_main_session = False
    runner = runner_of(beam_options)
    if runner is Runner.LOCAL:
        beam_options.view_as(StandardOptions).runner = IN_PROCESS_RUNNER
        return _settle_local(config, beam_options.view_as(DirectOptions))
    if runner is Runner.FLINK:
        _settle_flink(beam_options)
    if runner is Runner.DATAFLOW:
        return _settle_dataflow(config, beam_options)
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


def _flink_address(beam_options: PipelineOptions) -> str | None:
    """http(s)://host:port of a Flink cluster, or None where the job server brings its own."""
    master = str(beam_options.view_as(FlinkRunnerOptions).flink_master).strip().rstrip("/")
    if master in _FLINK_CLUSTERS_OF_ITS_OWN:
        return None
    return master if is_http(master) else f"http://{master}"


def ask_flink(beam_options: PipelineOptions, path: str) -> dict[str, Any]:
    """Asks the Flink cluster's REST API (nightlies.apache.org/flink, "REST API").

    Raises:
      UsageError: it does not answer.
    """
    address = _flink_address(beam_options)
    try:
        response = urllib3.request("GET", f"{address}{path}", timeout=_REST_SECONDS, retries=False)
        if response.status != 200:
            raise ValueError(f"it answers {response.status}")
        return dict(response.json())
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise UsageError(
            f"The Flink cluster at --flink_master={address} cannot be used: {error}. Give the "
            "address of its REST API, HOST:PORT, of a cluster that runs."
        ) from error


def _check_flink(beam_options: PipelineOptions) -> None:
    flink, portable = (
        beam_options.view_as(FlinkRunnerOptions),
        beam_options.view_as(PortableOptions),
    )
    jar = flink.flink_job_server_jar
    if jar and "://" not in jar and not os.path.exists(jar):
        raise UsageError(f"--flink_job_server_jar={jar} does not exist.")
    if not (portable.job_endpoint or flink.flink_submit_uber_jar or shutil.which("java")):
        raise UsageError(
            "--runner=FlinkRunner starts Beam's job server, which needs Java, and there is no "
            "java on the PATH; install it, or pass --job_endpoint of one that runs elsewhere."
        )
    if _flink_address(beam_options) is None:
        return
    overview = ask_flink(beam_options, "/overview")
    running = str(overview.get("flink-version", ""))
    if not running.startswith(f"{flink.flink_version}."):
        raise UsageError(
            f"The Flink cluster runs version {running} and the job is for {flink.flink_version}; "
            f"pass --flink_version={'.'.join(running.split('.')[:2])}."
        )
    if not overview.get("slots-total"):
        raise UsageError("The Flink cluster has no task slots; start a TaskManager first.")


def _settle_flink(beam_options: PipelineOptions) -> None:
    flink, portable = (
        beam_options.view_as(FlinkRunnerOptions),
        beam_options.view_as(PortableOptions),
    )
    if _flink_address(beam_options) is None:
        return
    if flink.parallelism < 1:
        # Flink's own default is one slot, whatever the cluster has.
        flink.parallelism = int(ask_flink(beam_options, "/overview")["slots-total"])
    if not portable.environment_type:
        # Beam's default is a container image that does not hold this package.
        portable.environment_type = "PROCESS"
        command = os.path.join(sysconfig.get_path("scripts"), "image-features-worker")
        portable.environment_config = json.dumps({"command": command})


def _check_dataflow(options: FeatureExtractorOptions, beam_options: PipelineOptions) -> None:
    cloud = beam_options.view_as(GoogleCloudOptions)
    try:
        import google.auth
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--runner=DataflowRunner needs Google's clients; install the extra [gcp]."
        ) from error
    for flag in ("project", "region", "temp_location"):
        if not getattr(cloud, flag):
            raise UsageError(f"--runner=DataflowRunner needs --{flag}.")
    if not cloud.temp_location.startswith("gs://"):
        raise UsageError(f"--temp_location={cloud.temp_location} must be on gs:// for Dataflow.")
    if cloud.template_location and options.wait:
        # With --no_wait it is the Flex Template's launcher that asks for the job's description.
        raise UsageError(
            "--template_location would make a template of one run, which can be launched once; "
            "use the Flex Template instead (deploy/dataflow/README.md)."
        )
    # Beam would look for these only when the model is staged, and make a bucket of its own where
    # both locations are malformed.
    validator = PipelineOptionsValidator(
        beam_options, beam.runners.runner.create_runner("DataflowRunner")
    )
    problems = validator.validate_gcs_path(cloud, "temp_location")
    if cloud.staging_location:
        problems += validator.validate_gcs_path(cloud, "staging_location")
    if validator.is_service_runner():
        problems += validator.validate_cloud_options(cloud)
    if problems:
        raise UsageError(f"--runner=DataflowRunner cannot be used: {problems[0]}")
    for flag, locations in (("input", options.input or ()), ("output", [options.output or ""])):
        for location in locations:
            if location and "://" not in location:
                raise UsageError(
                    f"--{flag}={location} is on this machine, where Dataflow's workers cannot "
                    "reach it; put it on gs://."
                )
    if not cloud.no_auth:
        try:
            google.auth.default(scopes=cloud.gcp_oauth_scopes)
        except google.auth.exceptions.DefaultCredentialsError as error:
            # Beam would look for them for a minute, and go on without.
            raise UsageError(
                f"--runner=DataflowRunner finds no Google credentials: {error}"
            ) from error
    for location in {cloud.temp_location, cloud.staging_location or cloud.temp_location}:
        try:
            FileSystems.match([FileSystems.join(location, "**")], [1])
        except Exception as error:  # Beam would try to stage there for ten minutes.
            cause: BaseException = error
            while isinstance(cause, BeamIOError) and cause.exception_details:
                cause = next(iter(cause.exception_details.values()))
            raise UsageError(f"{location} cannot be used to stage the job: {cause}.") from error


def _settle_dataflow(config: ExtractConfig, beam_options: PipelineOptions) -> ExtractConfig:
    worker, cloud, debug = (
        beam_options.view_as(WorkerOptions),
        beam_options.view_as(GoogleCloudOptions),
        beam_options.view_as(DebugOptions),
    )
    setup = beam_options.view_as(SetupOptions)
    # What it logs of an error is the error's own text, which we tell.
    logging.getLogger("apache_beam.runners.dataflow.internal.apiclient").setLevel(
        logging.CRITICAL + 1
    )
    image = worker.sdk_container_image or worker.worker_harness_container_image
    if not (image or setup.setup_file or setup.extra_packages):
        from pipeline.package import worker_sdist

        setup.extra_packages = [worker_sdist(config.model.engine)]
    gpu = re.search(
        r"worker_accelerator=type:(?P<type>[\w-]+)",
        " ".join([*(cloud.dataflow_service_options or ()), *(debug.experiments or ())]),
    )
    machine = _GPU_MACHINE_TYPES.get(gpu["type"], _GPU_MACHINE_TYPE) if gpu else _MACHINE_TYPE
    worker.machine_type = worker.machine_type or machine
    worker.disk_size_gb = worker.disk_size_gb or (_GPU_DISK_GB if gpu else _DISK_GB)
    worker.max_num_workers = worker.max_num_workers or max(_MAX_WORKERS, worker.num_workers or 0)
    run = re.sub("[^a-z0-9_-]", "-", config.run_id.lower())
    # Dataflow asks for [a-z]([-a-z0-9]*[a-z0-9])? in names of jobs.
    cloud.job_name = cloud.job_name or f"image-features-{run}".replace("_", "-").rstrip("-")
    ours = ["application=image-features", f"run={run[:63]}"]
    named = {label.partition("=")[0] for label in cloud.labels or ()}
    cloud.labels = [*(cloud.labels or ()), *(x for x in ours if x.partition("=")[0] not in named)]
    standard = beam_options.view_as(StandardOptions)
    standard.resource_hints = standard.resource_hints or [_MIN_RAM]
    if gpu:
        # One process has the GPU, and all cores to decode for it.
        debug.add_experiment("no_use_multiple_sdk_containers")
        return config
    debug.number_of_worker_harness_threads = (
        debug.number_of_worker_harness_threads or _HARNESS_THREADS
    )
    single = debug.lookup_experiment("no_use_multiple_sdk_containers")
    return dataclasses.replace(config, cpu_threads=config.cpu_threads or (None if single else 1))


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
    if runner is Runner.FLINK and (address := _flink_address(beam_options)):
        return job, f"{address}/#/overview"
    return job, ""
