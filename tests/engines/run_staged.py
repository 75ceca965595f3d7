"""Runs a pipeline that was staged for Dataflow, as its workers would: with their packages only.

    python run_staged.py PIPELINE.pb OPTIONS.json

It is run by the Python of an environment that holds what the job asks its workers to install, and
imports nothing but Beam: what the pipeline needs has to be found by its own pickles.
"""

from __future__ import annotations

import logging
import pathlib
import sys

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker import sdk_worker_main
from apache_beam.transforms.environments import EmbeddedPythonEnvironment


def main(pipeline_file: str, options_file: str) -> None:
    """Runs the pipeline, and raises whatever it fails with."""
    logging.getLogger().setLevel(logging.INFO)
    # A worker reads the options in this way; it asks for all of them, so that it must parse each.
    given = sdk_worker_main._load_pipeline_options(pathlib.Path(options_file).read_text())
    options = PipelineOptions.from_dictionary(given)
    options.get_all_options()
    FileSystems.set_options(options)
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.ParseFromString(pathlib.Path(pipeline_file).read_bytes())
    here = EmbeddedPythonEnvironment.default().to_runner_api(None)
    for environment in pipeline.components.environments.values():
        environment.CopyFrom(here)
    result = FnApiRunner().run_via_runner_api(pipeline, options)
    state = str(result.wait_until_finish())
    if state != "DONE":
        raise SystemExit(f"The pipeline ended {state}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
