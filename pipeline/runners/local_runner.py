"""Beam's in-process runner, with workers that do not print what they also log.

Beam's worker logs a traceback and prints it to stderr too, where it would stand before the sentence
that the command ends with. The worker of a process is this module, run as a script.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker import sdk_worker

from image_features.pipeline.process import limit_garbage_collection, limit_heaps, quieten


class LocalRunner(FnApiRunner):  # type: ignore[misc]
    """Runs a pipeline on this machine."""

    def run_via_runner_api(self, pipeline_proto: Any, options: Any) -> Any:
        """Runs a pipeline, and makes its worker processes those of this module."""
        _print_nothing()
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = f'"{sys.executable}" -m {__spec__.name}'.encode()
        return super().run_via_runner_api(pipeline_proto, options)


def _print_nothing() -> None:
    sdk_worker.print = lambda *_, **__: None


def main() -> NoReturn:
    """Runs a worker until its runner has no more work for it."""
    from apache_beam.runners.worker import sdk_worker_main

    quieten()
    limit_garbage_collection()
    limit_heaps()
    _print_nothing()
    sdk_worker_main.main(sys.argv)
    os._exit(0)


if __name__ == "__main__":
    main()
