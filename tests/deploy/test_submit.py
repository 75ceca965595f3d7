"""The script that submits, and the page about it."""

import json
import os
import re
import runpy
import shutil
import subprocess

import pytest
from apache_beam.options.pipeline_options import (
    StandardOptions,
    WorkerOptions,
)
from google.cloud import dataflow_v1beta3 as dataflow

from image_features import errors
from image_features.models.identity import Engine
from image_features.pipeline.cli.parsing import parse_extract
from image_features.pipeline.runners import runner
from tests.deploy.files import HERE, NOT_FOR_TEMPLATES, PARAMETERS, REQUIRED, parse

RECORD = """#!/usr/bin/env bash
{ basename "$0"; printf '%s\\n' "$@"; echo; } >> "$CALLS"
exit "${FAKE_EXIT:-0}"
"""
VARIABLES = {"PROJECT": "p", "REGION": "europe-west4", "BUCKET": "b", "IMAGE": "r/i:1"}


@pytest.fixture
def submit(tmp_path):
    """Runs submit.sh on a PATH of its own; returns the process and what it called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("basename", "bash", "cat", "date", "dirname", "env"):
        (programs / name).symlink_to(shutil.which(name))
    for name in ("gcloud", "image-features"):
        (programs / name).write_text(RECORD)
        (programs / name).chmod(0o755)
    calls = tmp_path / "calls"

    def run(*arguments, without=(), missing=(), **variables):
        for name in missing:
            (programs / name).unlink()
        environment = {"PATH": str(programs), "CALLS": str(calls)} | VARIABLES | variables
        process = subprocess.run(
            [HERE / "submit.sh", *arguments],
            env={name: value for name, value in environment.items() if name not in without},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        text = calls.read_text() if calls.exists() else ""
        return process, [call.splitlines() for call in text.split("\n\n") if call]

    return run


def test_bash_reads_the_script():
    subprocess.run(["bash", "-n", HERE / "submit.sh"], check=True)
    assert os.access(HERE / "submit.sh", os.X_OK)


JOB = [
    "image-features",
    "extract",
    "--runner=DataflowRunner",
    "--project=p",
    "--region=europe-west4",
    "--temp_location=gs://b/temp",
    "--staging_location=gs://b/staging",
]


@pytest.mark.parametrize("image", ["r/i:1", ""])
@pytest.mark.parametrize("bucket", ["b", "gs://b"])
def test_a_job(submit, image, bucket):
    own = ["--input=gs://b/my images/*.jpg", "--output=gs://b/features", "--no_wait"]
    process, calls = submit("job", *own, IMAGE=image, BUCKET=bucket)
    assert (process.returncode, process.stderr) == (0, "")
    assert calls == [[*JOB, *([f"--sdk_container_image={image}"] if image else []), *own]]
    parse_extract(calls[0][2:])


def test_a_job_needs_no_image(submit):
    process, calls = submit("job", "--input=x", without=["IMAGE"], missing=["gcloud"])
    assert (process.returncode, calls) == (0, [[*JOB, "--input=x"]])


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_jobs_exit_code_is_passed_on(submit, code):
    assert submit("job", FAKE_EXIT=str(code))[0].returncode == code


def test_a_template(submit):
    process, calls = submit(
        "template",
        "--input=gs://b/images.csv",
        "--output=gs://b/features",
        "--column_types=label:int64,tags:string[]",
        "--allow_empty",
        "--",
        "--max-workers=5",
        "--disable-public-ips",
        JOB_NAME="nightly",
    )
    assert (process.returncode, process.stderr) == (0, "")
    build, run = calls
    assert build == [
        "gcloud",
        "dataflow",
        "flex-template",
        "build",
        "gs://b/templates/image-features.json",
        "--project=p",
        "--image=r/i:1",
        "--sdk-language=PYTHON",
        f"--metadata-file={HERE / 'metadata.json'}",
    ]
    assert run == [
        "gcloud",
        "dataflow",
        "flex-template",
        "run",
        "nightly",
        "--project=p",
        "--region=europe-west4",
        "--template-file-gcs-location=gs://b/templates/image-features.json",
        "--temp-location=gs://b/temp",
        "--staging-location=gs://b/staging",
        "--parameters=^|^sdk_container_image=r/i:1",
        "--parameters=^|^input=gs://b/images.csv",
        "--parameters=^|^output=gs://b/features",
        "--parameters=^|^column_types=label:int64,tags:string[]",
        "--parameters=^|^allow_empty=true",
        "--max-workers=5",
        "--disable-public-ips",
    ]
    passed = [each.removeprefix("--parameters=^|^").partition("=")[0] for each in run[10:15]]
    assert set(passed) <= set(PARAMETERS)


def test_several_models_are_one_parameter_of_a_template(submit):
    models = ["--model=a=builtin", "--mean=b=0,0,0", "--model=b=gs://b/x", "--model=c=gs://b/y"]
    _, (_, run) = submit("template", "--input=gs://b/a.csv", *models, "--resize=pad")
    assert run[11:] == [
        "--parameters=^|^input=gs://b/a.csv",
        "--parameters=^|^model=a=builtin b=gs://b/x c=gs://b/y",
        "--parameters=^|^mean=b=0,0,0",
        "--parameters=^|^resize=pad",
    ]


def test_a_templates_job_is_named_by_the_time(submit):
    _, (_, run) = submit("template", "--input=gs://b/a.csv")
    assert re.fullmatch(r"image-features-\d{8}-\d{6}-\d{1,5}", run[4])


def test_a_template_that_is_not_built_is_not_run(submit):
    process, calls = submit("template", "--input=gs://b/a.csv", FAKE_EXIT="7")
    assert (process.returncode, len(calls)) == (7, 1)


@pytest.mark.parametrize(
    ("arguments", "how", "says"),
    [
        (["job"], {"without": ["PROJECT"]}, "PROJECT is not set"),
        (["job"], {"without": ["REGION"]}, "REGION is not set"),
        (["job"], {"BUCKET": ""}, "BUCKET is not set"),
        (["template"], {"without": ["IMAGE"]}, "IMAGE is not set"),
        (["job"], {"missing": ["image-features"]}, "image-features is not on the PATH"),
        (["template"], {"missing": ["gcloud"]}, "gcloud is not on the PATH"),
        (["template", "input=x"], {}, "input=x is not --NAME=VALUE"),
        (["template", "--input", "gs://b/x"], {}, "gs://b/x is not --NAME=VALUE"),
        (["template", "--input=a", "--input=b"], {}, "takes one --input"),
        ([], {}, "usage: submit.sh"),
        (["jobs"], {}, "usage: submit.sh"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(submit, arguments, how, says):
    process, calls = submit(*arguments, **how)
    assert (process.returncode, calls, process.stdout) == (2, [], "")
    assert says in process.stderr


def test_help(submit):
    process, calls = submit("--help", without=VARIABLES)
    assert (process.returncode, calls, process.stderr) == (0, [], "")
    assert all(name in process.stdout for name in (*VARIABLES, "JOB_NAME", "job", "template"))


README = (HERE / "README.md").read_text()


def test_the_schedules_request_is_a_launch():
    (body,) = re.findall(r"```json\n(.*?)```", README, re.S)
    launched = json.loads(body)["launchParameter"]
    dataflow.LaunchFlexTemplateParameter.from_json(json.dumps(launched))
    for name, value in launched["parameters"].items():
        assert all(re.search(regex, value) for regex in PARAMETERS[name].get("regexes", []))
    assert launched["parameters"]["incremental"] == "true"
    assert "run_id" not in launched["parameters"]  # All nights would be one.
    required = {name for name, each in PARAMETERS.items() if not each.get("isOptional")}
    assert required <= set(launched["parameters"])


def test_the_page_tells_every_exit_code():
    rows = re.findall(r"^\| ([\d, ]+) \|", README, re.M)
    told = {int(code) for row in rows for code in row.split(", ")}
    assert told - {130, 143} == {v for name, v in vars(errors).items() if name.startswith("EXIT_")}


def test_the_page_tells_what_a_template_does_not_take():
    (sentence,) = re.findall(r"A template does not take (.*?)\. ", README, re.S)
    told = set(re.findall(r"--(\w+)", sentence))
    assert told == NOT_FOR_TEMPLATES - {"wait", "no_wait"}  # Those are main.py's to say.


def test_the_page_names_options_that_exist():
    names = set(re.findall(r"--[a-z]+(?:_[a-z]+)+\b", README))
    known = set(runpy.run_path(str(HERE / "main.py"))["_options"]())
    of_benchmarks = {"--gb_per_vcpu", *(name for name in names if name.endswith("_price"))}
    assert names - known == of_benchmarks


@pytest.mark.parametrize("gpu", [None, "nvidia-tesla-t4", "nvidia-l4", "nvidia-tesla-a100"])
def test_the_page_tells_the_defaults_that_are_set(gpu):
    services = f"worker_accelerator=type:{gpu};count:1;install-nvidia-driver"
    _, beam_options = parse(**(REQUIRED | ({"dataflow_service_options": services} if gpu else {})))
    beam_options.view_as(StandardOptions).runner = "DataflowRunner"
    beam_options.view_as(WorkerOptions).sdk_container_image = "r/i:1"
    threads = runner.complete_options(beam_options, run_id="run", engine=Engine.TENSORFLOW)
    rows = dict(re.findall(r"^\| `--(\w+)` \| (.*) \|$", README, re.M))
    cells = {name: row.split("|") for name, row in rows.items()}
    shown = {
        name: (row[0] if not gpu or "same" in row[1] else row[1]).strip(" `")
        for name, row in cells.items()
    }
    options = beam_options.get_all_options()
    for name in ("machine_type", "disk_size_gb", "max_num_workers"):
        assert str(options[name]) in shown[name]
    if gpu:
        assert shown["experiments"] in options["experiments"]
        assert threads is None
    else:
        assert str(options["number_of_worker_harness_threads"]) == "2"
        assert shown["number_of_worker_harness_threads"] == "2"
        assert shown["cpu_threads"] == str(threads)
    assert all(f"`{hint}`" in rows["resource_hints"] for hint in options["resource_hints"])
    assert "`application=image-features`" in rows["labels"]
    assert "application=image-features" in options["labels"]
