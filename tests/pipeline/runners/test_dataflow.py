"""The options of a job for Dataflow that the user has left open."""

import re

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, WorkerOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from image_features.models.identity import Engine
from image_features.pipeline.cli.parsing import parse_extract
from image_features.pipeline.runners import runner
from tests.engines.dataflow_jobs import GPU, arguments


def completed(*options, run_id="run"):
    _, beam_options = parse_extract([*arguments(run_id), *options])
    return runner.complete_options(beam_options, run_id=run_id, engine=Engine.LITERT), beam_options


@pytest.mark.parametrize("run_id", ["20261124T125212Z", "A.b_C-", "9", "x" * 128])
def test_every_run_id_makes_a_name_and_a_label(run_id):
    threads, options = completed(run_id=run_id)
    cloud = options.view_as(GoogleCloudOptions)
    assert PipelineOptionsValidator(options, None).validate_cloud_options(cloud) == []
    assert re.fullmatch(r"run=[a-z0-9_-]{1,63}", cloud.labels[-1])
    assert threads == 1  # One process a core.


def test_what_the_user_says_stays():
    given = ["--machine_type=n2-highcpu-8", "--disk_size_gb=99", "--max_num_workers=3"]
    threads, options = completed(*given, f"--dataflow_service_options={GPU}", "--job_name=mine")
    worker = options.view_as(WorkerOptions)
    said = worker.machine_type, worker.disk_size_gb, worker.max_num_workers
    assert said == ("n2-highcpu-8", 99, 3)
    assert options.view_as(GoogleCloudOptions).job_name == "mine"
    assert threads is None  # One process, and all cores to decode for the GPU.
