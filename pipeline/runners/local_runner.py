"""Beam's in-process runner, with workers that do not print what they also log.

Beam's worker logs a traceback and prints it to stderr too, where it would stand before the sentence
that the command ends with. The worker of a process is `local_worker`.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker import sdk_worker

from image_features.pipeline.runners.bundles import brief_bundles

_WORKER = "image_features.pipeline.runners.local_worker"


class LocalRunner(FnApiRunner):  # type: ignore[misc]
    """Runs a pipeline on this machine."""

    def run_pipeline(self, pipeline: Any, options: Any) -> Any:
        """Runs a pipeline, with less around each bundle where no other process has a part in it."""
        elsewhere = options.view_as(DirectOptions).direct_running_mode == "multi_processing"
        with contextlib.nullcontext() if elsewhere else brief_bundles():
            return super().run_pipeline(pipeline, options)

    def run_via_runner_api(self, pipeline_proto: Any, options: Any) -> Any:
        """Runs a pipeline, and makes its worker processes those of this module."""
        print_nothing()
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = f'"{sys.executable}" -m {_WORKER}'.encode()
        return super().run_via_runner_api(pipeline_proto, options)


def print_nothing() -> None:
    """Keeps Beam's worker from printing."""
    sdk_worker.print = lambda *_, **__: None
