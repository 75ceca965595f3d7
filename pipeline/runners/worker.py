"""The command `image-features-worker`, the process in which a runner runs our part of a job.

It speaks Beam's container contract (the flags below), so that an engine can start it where no
containers are: from a PROCESS environment, or from Beam's worker pool (EXTERNAL). The packages
are those of the environment it is installed in; what a job stages is not installed.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

from image_features.pipeline.process import limit_garbage_collection, limit_heaps, quieten
from image_features.pipeline.streams import open_closed_streams, say

_LOG = logging.getLogger(__name__)
_PROVISION_SECONDS = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a worker until its runner has no more work for it.

    Returns:
      0, or 1 if the runner could not be reached or the worker failed.
    """
    parser = argparse.ArgumentParser(
        prog="image-features-worker",
        description="Runs the image feature extractor's part of a job; runners start it.",
    )
    parser.add_argument("--id", required=True, help="The worker's name, given by the runner.")
    parser.add_argument("--provision_endpoint", required=True, metavar="HOST:PORT")
    for service in ("logging", "artifact", "control"):
        parser.add_argument(f"--{service}_endpoint", default="", metavar="HOST:PORT")
    options, _ = parser.parse_known_args(argv)
    options.id = options.id.strip("'")  # Prism quotes the id for a shell, which there is not.
    quieten()
    limit_garbage_collection()
    limit_heaps()
    from apache_beam.runners.worker import sdk_worker_main

    try:
        os.environ.update(
            environment(
                options.id,
                options.provision_endpoint,
                options.logging_endpoint,
                options.control_endpoint,
            )
        )
        sdk_worker_main.main([])
    except Exception:
        _LOG.exception("The worker %s failed.", options.id)
        return 1
    return 0


def environment(
    worker_id: str, provision_endpoint: str, logging_endpoint: str = "", control_endpoint: str = ""
) -> Mapping[str, str]:
    """Asks the runner what the job is, as Beam's own container does when it starts.

    Args:
      worker_id: The name of the worker.
      provision_endpoint: The HOST:PORT of Beam's provision service.
      logging_endpoint: The HOST:PORT of the logging service, if the answer does not tell it.
      control_endpoint: The HOST:PORT of the control service, if the answer does not tell it.

    Returns:
      The environment variables that Beam's worker reads (apache_beam's sdk_worker_main).

    Raises:
      grpc.RpcError: the runner does not answer.
    """
    import grpc
    from apache_beam.portability.api import (
        beam_provision_api_pb2,
        beam_provision_api_pb2_grpc,
        endpoints_pb2,
    )
    from google.protobuf import json_format, text_format

    with grpc.insecure_channel(provision_endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        info = service.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            metadata=(("worker_id", worker_id),),
            timeout=_PROVISION_SECONDS,
            wait_for_ready=True,
        ).info
    variables = {
        "WORKER_ID": worker_id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options, indent=None),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    for name, given in (
        ("logging", logging_endpoint),
        ("control", control_endpoint),
        ("status", ""),
    ):
        found = getattr(info, f"{name}_endpoint")
        url = found.url or given
        if url:
            descriptor = endpoints_pb2.ApiServiceDescriptor(url=url)
            variables[f"{name.upper()}_API_SERVICE_DESCRIPTOR"] = text_format.MessageToString(
                descriptor, as_one_line=True
            )
    return variables


def console() -> NoReturn:
    """The console script: runs `main`, and ends the process with its code."""
    open_closed_streams()
    code = main()
    say()
    os._exit(code)  # An ordinary end would wait for fetches that nobody needs.
