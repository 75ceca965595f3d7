"""The needs of Dataflow: places on gs://, our package, machines that suit the work."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from image_features.errors import UsageError
from image_features.models.identity import Engine
from image_features.transforms.stores.files import cause_of

_LOG = logging.getLogger(__name__)

# These are our defaults on Dataflow, where the user says nothing (deploy/dataflow/README.md).
_MACHINE_TYPE = "e2-standard-4"
_DISK_GB = 30
# GPUs come with N1 machines, newer ones with a family of their own, never with E2.
_GPU_MACHINE_TYPES = {"nvidia-l4": "g2-standard-4", "nvidia-tesla-a100": "a2-highgpu-1g"}
_GPU_MACHINE_TYPE = "n1-standard-4"
_GPU_DISK_GB = 50  # A container image with CUDA's libraries is large.
_MAX_WORKERS = 20
# Dataflow runs a process for every vCPU. Each computes on one thread, and a second bundle
# computes while a first one waits for its last images.
_HARNESS_THREADS = 2
_MIN_RAM = "min_ram=4GB"


def check(beam_options: PipelineOptions, *, wait: bool, inputs: Sequence[str], output: str) -> None:
    """Makes sure that a job can be submitted, and that its workers can reach what it names.

    Args:
      beam_options: The options of the engine.
      wait: Whether the launcher waits for the commit.
      inputs: The locations that workers read.
      output: The location that workers write to.

    Raises:
      UsageError: the job cannot be submitted, or its workers cannot reach a location.
    """
    try:
        import google.auth  # noqa: F401
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--runner=DataflowRunner needs Google's clients; install the extra [gcp]."
        ) from error
    cloud = beam_options.view_as(GoogleCloudOptions)
    _check_options(beam_options, cloud, wait=wait)
    for flag, locations in (("input", inputs), ("output", [output])):
        for location in locations:
            if location and "://" not in location:
                raise UsageError(
                    f"--{flag}={location} is on this machine, where Dataflow's workers cannot "
                    "reach it; put it on gs://."
                )
    _check_access(cloud)


def _check_options(beam_options: PipelineOptions, cloud: GoogleCloudOptions, *, wait: bool) -> None:
    for flag in ("project", "region", "temp_location"):
        if not getattr(cloud, flag):
            raise UsageError(f"--runner=DataflowRunner needs --{flag}.")
    if not cloud.temp_location.startswith("gs://"):
        raise UsageError(f"--temp_location={cloud.temp_location} must be on gs:// for Dataflow.")
    if cloud.template_location and wait:
        # With --no_wait only the Flex Template's launcher asks for the description of a job.
        raise UsageError(
            "--template_location would make a template of one run, which can be launched once; "
            "use the Flex Template instead (deploy/dataflow/README.md)."
        )
    # Beam would look for these only when the model is staged, and would make a bucket of its own
    # where both locations are malformed.
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


def _check_access(cloud: GoogleCloudOptions) -> None:
    """Makes sure that there are credentials, and that they can stage a job."""
    import google.auth

    if not cloud.no_auth:
        try:
            google.auth.default(scopes=cloud.gcp_oauth_scopes)
        except google.auth.exceptions.DefaultCredentialsError as error:
            # Beam would look for credentials for a minute, and would go on without.
            raise UsageError(
                f"--runner=DataflowRunner finds no Google credentials: {error}"
            ) from error
    for location in {cloud.temp_location, cloud.staging_location or cloud.temp_location}:
        try:
            FileSystems.match([FileSystems.join(location, "**")], [1])
        except Exception as error:  # Beam would try to stage there for ten minutes.
            raise UsageError(
                f"{location} cannot be used to stage the job: {cause_of(error)}."
            ) from error


def complete_options(
    beam_options: PipelineOptions, *, run_id: str, engine: Engine, extra: str = ""
) -> int | None:
    """Fills in machines, processes, labels and our package, where nothing else is said.

    Returns:
      The number of threads that should compute in a worker; None for one a core.
    """
    worker, cloud, debug = (
        beam_options.view_as(WorkerOptions),
        beam_options.view_as(GoogleCloudOptions),
        beam_options.view_as(DebugOptions),
    )
    setup = beam_options.view_as(SetupOptions)
    # Its log of an error holds only the error's own text, which we tell.
    logging.getLogger("apache_beam.runners.dataflow.internal.apiclient").setLevel(
        logging.CRITICAL + 1
    )
    image = worker.sdk_container_image or worker.worker_harness_container_image
    if not (image or setup.setup_file or setup.extra_packages):
        from image_features.pipeline.runners.worker_package import worker_sdist

        setup.extra_packages = [worker_sdist(engine, extra=extra)]
    gpu = re.search(
        r"worker_accelerator=type:(?P<type>[\w-]+)",
        " ".join([*(cloud.dataflow_service_options or ()), *(debug.experiments or ())]),
    )
    machine = _GPU_MACHINE_TYPES.get(gpu["type"], _GPU_MACHINE_TYPE) if gpu else _MACHINE_TYPE
    worker.machine_type = worker.machine_type or machine
    worker.disk_size_gb = worker.disk_size_gb or (_GPU_DISK_GB if gpu else _DISK_GB)
    worker.max_num_workers = worker.max_num_workers or max(_MAX_WORKERS, worker.num_workers or 0)
    run = re.sub("[^a-z0-9_-]", "-", run_id.lower())
    # Dataflow asks for [a-z]([-a-z0-9]*[a-z0-9])? in names of jobs.
    cloud.job_name = cloud.job_name or f"image-features-{run}".replace("_", "-").rstrip("-")
    ours = ["application=image-features", f"run={run[:63]}"]
    named = {label.partition("=")[0] for label in cloud.labels or ()}
    cloud.labels = [*(cloud.labels or ()), *(x for x in ours if x.partition("=")[0] not in named)]
    standard = beam_options.view_as(StandardOptions)
    standard.resource_hints = standard.resource_hints or [_MIN_RAM]
    if gpu:
        if engine is not Engine.TENSORFLOW:
            _LOG.warning("The GPUs will be idle: only --engine=tensorflow computes on them.")
        elif not image:
            _LOG.warning(
                "The GPUs may be idle: TensorFlow from PyPI comes without CUDA's libraries; give "
                "--sdk_container_image of the Dockerfile's target gpu."
            )
        # One process has the GPU, and all cores to decode for it.
        debug.add_experiment("no_use_multiple_sdk_containers")
        return None
    debug.number_of_worker_harness_threads = (
        debug.number_of_worker_harness_threads or _HARNESS_THREADS
    )
    single = debug.lookup_experiment("no_use_multiple_sdk_containers")
    return None if single else 1


def describe_job(beam_options: PipelineOptions, result: Any) -> tuple[str, str]:
    """Returns the id of a submitted job, and the address of its page in the console."""
    cloud = beam_options.view_as(GoogleCloudOptions)
    if not result.has_job:  # The Flex Template's launcher submits what was described.
        return "", ""
    job = str(result.job_id())
    return job, (
        f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job}"
        f"?project={cloud.project}"
    )
