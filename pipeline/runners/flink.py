"""The needs of Flink: a cluster that answers, a job server, workers where no containers are."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sysconfig
import time
from typing import Any

import urllib3
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
)

from image_features.errors import UsageError
from image_features.transforms.stores.uris import is_http

_OF_ITS_OWN = ("[local]", "[auto]")
_BEGINS = ("INITIALIZING", "CREATED")
_SUBMISSION_SECONDS = 300.0  # A submission uploads a jar of 150 MB.
_POLL_SECONDS = 0.5
_REST_SECONDS = 10.0


def address(beam_options: PipelineOptions) -> str | None:
    """Returns the address of a Flink cluster, or None where the job server brings its own."""
    master = str(beam_options.view_as(FlinkRunnerOptions).flink_master).strip().rstrip("/")
    if master in _OF_ITS_OWN:
        return None
    return master if is_http(master) else f"http://{master}"


def check(beam_options: PipelineOptions) -> None:
    """Makes sure that there is a cluster, and what submits to it.

    Raises:
      UsageError: nothing can submit the job, or the cluster cannot run it.
    """
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
    if address(beam_options) is None:
        return
    overview = ask(beam_options, "/overview")
    running = str(overview.get("flink-version", ""))
    if not running.startswith(f"{flink.flink_version}."):
        raise UsageError(
            f"The Flink cluster runs version {running} and the job is for {flink.flink_version}; "
            f"pass --flink_version={'.'.join(running.split('.')[:2])}."
        )
    if not overview.get("slots-total"):
        raise UsageError("The Flink cluster has no task slots; start a TaskManager first.")


def complete_options(beam_options: PipelineOptions) -> None:
    """Has a job use all of the cluster and our own workers, where nothing else is said."""
    flink, portable = (
        beam_options.view_as(FlinkRunnerOptions),
        beam_options.view_as(PortableOptions),
    )
    if address(beam_options) is None:
        return
    if flink.parallelism < 1:
        # Flink's own default is one slot, whatever the cluster has.
        flink.parallelism = int(ask(beam_options, "/overview")["slots-total"])
    if not portable.environment_type:
        # Beam's default is a container image that does not hold this package.
        portable.environment_type = "PROCESS"
        command = os.path.join(sysconfig.get_path("scripts"), "image-features-worker")
        portable.environment_config = json.dumps({"command": command})


def ask(beam_options: PipelineOptions, path: str) -> dict[str, Any]:
    """Asks the Flink cluster's REST API (nightlies.apache.org/flink, "REST API").

    Raises:
      UsageError: the cluster does not answer.
    """
    place = address(beam_options)
    try:
        response = urllib3.request("GET", f"{place}{path}", timeout=_REST_SECONDS, retries=False)
        if response.status != 200:
            raise ValueError(f"it answers {response.status}")
        return dict(response.json())
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise UsageError(
            f"The Flink cluster at --flink_master={place} cannot be used: {error}. Give the "
            "address of its REST API, HOST:PORT, of a cluster that runs."
        ) from error


def describe_job(beam_options: PipelineOptions, result: Any, beam_id: str) -> tuple[str, str]:
    """Returns the id of a submitted job, and the address of its page on the cluster.

    Args:
      beam_options: The options of the engine.
      result: The result that Beam returned when the job was submitted.
      beam_id: Beam's own id of the job, which is returned where the cluster has none.
    """
    cluster = address(beam_options)
    if cluster is None:
        return beam_id, ""
    found = find_job(beam_options, result, beam_id)
    return (found, f"{cluster}/#/job/running/{found}") if found else (beam_id, cluster)


def find_job(beam_options: PipelineOptions, result: Any, beam_id: str) -> str:
    """Waits until the cluster has the job, which until then would end with the job server.

    Returns:
      Flink's id of the job, or "" if the job does not come.
    """
    deadline = time.monotonic() + _SUBMISSION_SECONDS
    while time.monotonic() < deadline and str(result.state) not in ("FAILED", "CANCELLED"):
        with contextlib.suppress(UsageError):  # A cluster that is busy is asked again.
            for job in ask(beam_options, "/jobs/overview")["jobs"]:
                # Beam's id is the name of the job and a UUID.
                if beam_id.startswith(f"{job['name']}_") and job["state"] not in _BEGINS:
                    return str(job["jid"])
        time.sleep(_POLL_SECONDS)
    return ""
