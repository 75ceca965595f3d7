"""The DAG as Airflow reads it, for each engine and for what is wrong; what exit codes become."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from image_features import errors as exits
from tests import tools
from tests.airflow.settings import DAG_FILE, DATAFLOW, DEPLOY, FLINK, LOCAL, environment
from tests.deploy.files import OURS, PARAMETERS
from tests.gcs import Access, emulator

SCRIPT = pathlib.Path(sys.executable).with_name("image-features")
WRONG = {
    "missing": (None, "is not set"),
    "no json": ("{engine: local}", "Invalid JSON"),
    "no object": ("[]", "should be an object"),
    "engine": ({**LOCAL, "engine": "spark"}, "engine: Input should be 'local', 'flink' or"),
    "no engine": ({**LOCAL, "engine": None}, "engine: Input should be 'local', 'flink' or"),
    "unknown key": ({**LOCAL, "manifests": "/x"}, "manifests: Extra inputs are not permitted"),
    "number": ({**LOCAL, "retries": -1}, "retries: Input should be greater than or equal to 0"),
    "often": ({**LOCAL, "poll_seconds": 1}, "poll_seconds: Input should be greater than or equal"),
    "text": ({**LOCAL, "wait_hours": "4"}, "wait_hours: Input should be a valid number"),
    "two": ({"engine": "local", "output": "/x", "model": 1}, "manifest: Field required; model:"),
    "no model": ({**LOCAL, "model": {}}, "model names none"),
    "executable": ({**LOCAL, "executable": ""}, "the engine local needs executable"),
    "flink without master": ({**LOCAL, "engine": "flink"}, "the engine flink needs flink_master"),
    "dataflow without region": ({**DATAFLOW, "region": ""}, "the engine dataflow needs region"),
    "relative": ({**LOCAL, "output": "features"}, "output='features' does not begin with gs:// or"),
    "disk": ({**DATAFLOW, "output": "/x"}, "output='/x' does not begin with gs://."),
    "pattern": ({**LOCAL, "manifest": "/x/*.csv"}, "is a pattern"),
    "ours": ({**LOCAL, "arguments": ["--run_id=x"]}, "'--run_id=x', which is set here"),
    "two words": ({**LOCAL, "arguments": ["--model", "x"]}, "'--model', which is set here"),
    "no name": ({**LOCAL, "arguments": ["x"]}, "'x', which is set here or not --NAME"),
    "template": ({**LOCAL, "manifest": "/x/{{ ds }.csv"}, "is not a template"),
    "without google": (
        {**LOCAL, "output": "gs://bucket/features"},
        "apache-airflow-providers-google is needed and not here",
    ),
    "without apache.beam": (DATAFLOW, "apache-airflow-providers-apache-beam is needed and"),
    "schedule": ({**LOCAL, "schedule": "nightly"}, "schedule='nightly' is not a cron expression"),
}
RIGHT = {
    "local": LOCAL,
    "flink": {**FLINK, "arguments": ["--flink_version=2.2"], "incremental": False},
    "dataflow": DATAFLOW,
    "more": {**DATAFLOW, **LOCAL, "arguments": ["--model_x={{ ds }}"], "schedule": "30 2 * * *"},
    "on gs://": {**LOCAL, "output": "gs://bucket/features/"},
    "models": {**LOCAL, "model": {"a": "builtin", "b": "gs://bucket/{{ ds }}"}},
    "notified": {**LOCAL, "arguments": ["--notify=http://hook/hush", "--min_rows=1"]},
}
README = (DEPLOY / "README.md").read_text()
EXAMPLES = {
    f"example {example['engine']}": example
    for example in map(json.loads, re.findall(r"```json\n(.*?)```", README, re.S))
}
FLINKS = {"--flink_master", "--flink_version"}
CODES = [0, 1, 2, 3, 4, 5, 130, 143]


def fake(tmp_path, name, text):
    """A program in place of image-features."""
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the probe says of all cases at once, as Airflow takes long to start."""
    home = tmp_path_factory.mktemp("airflow")
    commands = {
        f"exit {code}": [
            fake(home, f"exit{code}", f"echo image-features: said {code} >&2; exit {code}")
        ]
        for code in CODES
    }
    commands |= {
        "killed": [fake(home, "killed", "sleep 600 & kill -9 $$")],
        "missing executable": [str(home / "nowhere")],
        "environment": [fake(home, "environment", "env > $(dirname $0)/found")],
        "unknown option": [str(SCRIPT), "extract", "--incrementl"],
    }
    variables = {name: text for name, (text, _) in WRONG.items()} | RIGHT | EXAMPLES
    cases = {
        "variables": {
            name: text if text is None or isinstance(text, str) else json.dumps(text)
            for name, text in variables.items()
        },
        "commands": commands,
        "launches": ["2026-11-01", "2026-11-02", "2026-11-04", "2026-10-31"],
    }
    programs = tools.airflow()
    with (
        pytest.MonkeyPatch.context() as patch,
        emulator(patch, "bucket", Access.EMULATOR) as bucket,
    ):
        bucket.blob("features/2026-11-01/run.json").upload_from_string("{}")
        merged = {"replaces": {"2026-10-31": "2026-10-31T01:00:00+00:00"}}
        bucket.blob("features/merged/run.json").upload_from_string(json.dumps(merged))
        for name in ("claim.json", "launch.json"):
            for date in ("2026-11-02", "2026-11-03"):
                bucket.blob(f"features/{date}/.staging/{name}").upload_from_string("{}")
        process = subprocess.run(
            [programs / "python", pathlib.Path(__file__).with_name("probe.py"), DAG_FILE],
            input=json.dumps(cases),
            env={
                **environment(home, programs),
                "PYTHONPATH": "/nowhere",
                "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": "google-cloud-platform://",
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        blobs = sorted(blob.name for blob in bucket.client.list_blobs("bucket"))
    assert process.returncode == 0, process.stderr[-3000:]
    read = json.loads(process.stdout.rpartition("\nFOUND ")[2])
    return read | {"environment": (home / "found").read_text().splitlines(), "blobs": blobs}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variable_is_one_sentence_and_no_broken_import(found, name):
    dag = found[name]
    assert "import_errors" not in dag
    assert list(dag["tasks"]) == ["check_settings"]
    assert re.fullmatch(r"The Airflow Variable image_features [^\n]*\.", dag["doc"])
    assert WRONG[name][1] in dag["doc"]
    assert dag["tasks"]["check_settings"]["retries"] == 0


@pytest.mark.parametrize("name", RIGHT)
def test_the_tasks_of_a_night(found, name):
    dag = found[name]
    upstream = {task: told["upstream"] for task, told in dag["tasks"].items()}
    within_budget = {"within_budget": ["extract"]} if name != "dataflow" else {}
    assert upstream == {
        "check_settings": [],
        "wait_for_manifest": ["check_settings"],
        "extract": ["wait_for_manifest"],
        "committed": ["extract"],
        **within_budget,
    }
    assert (dag["max_active_runs"], dag["catchup"]) == (1, False)
    assert dag["dagrun_timeout"] == 24 * 3600
    assert dag["tasks"]["committed"]["outlets"] == ["image_features"]
    assert {
        k: dag["tasks"]["wait_for_manifest"][k] for k in ("mode", "poke_interval", "timeout")
    } == {
        "mode": "reschedule",
        "poke_interval": 300,
        "timeout": 12 * 3600,
    }
    extract = dag["tasks"]["extract"]
    assert (extract["retries"], extract["backoff"]) == (5, 2)
    assert extract["max_active_tis_per_dag"] == 1


@pytest.mark.parametrize("name", RIGHT)
def test_a_schedule(found, name):
    assert found[name]["cron"] == RIGHT[name].get("schedule", "0 0 * * *")


def test_google_is_imported_for_dataflow_only(found):
    names = [name for name in found if isinstance(found[name], dict) and "google" in found[name]]
    first = names.index("dataflow")
    assert [found[name]["google"] for name in names[: first + 1]] == [*[False] * first, True]


def test_the_command_of_a_local_night(found):
    task = found["local"]["tasks"]["extract"]
    assert (task["type"], task["execution_timeout"]) == ("ExtractOperator", 12 * 3600)
    assert task["command"] == [
        "/opt/image-features/bin/image-features",
        "extract",
        "--input=/data/{{ ds }}.csv",
        "--output=/data/features",
        "--run_id={{ ds }}",
        "--model=builtin",
        "--incremental",
    ]


def test_several_models(found):
    command = found["models"]["tasks"]["extract"]["command"]
    assert command[5:7] == ["--model=a=builtin", "--model=b=gs://bucket/{{ ds }}"]


def test_where_to_notify_is_not_shown(found):
    assert "IMAGE_FEATURES_NOTIFY=http://hook/hush" in found["environment"]
    command = found["notified"]["tasks"]["extract"]["command"]
    assert command[-1] == "--min_rows=1" and "hush" not in json.dumps(found["notified"])


def test_the_command_of_a_night_on_flink(found):
    command = found["flink"]["tasks"]["extract"]["command"]
    assert command[-3:] == [
        "--runner=FlinkRunner",
        "--flink_master=jobmanager:8081",
        "--flink_version=2.2",
    ]
    assert "--incremental" not in command


def test_a_night_on_dataflow_is_launched(found):
    task = found["dataflow"]["tasks"]["extract"]
    assert (task["deferrable"], task["append_job_name"]) == (True, False)
    night = found["2026-11-02"]
    assert night["raised"] == "TaskDeferred", night
    (request,) = night["requests"]
    assert (request["project_id"], request["location"]) == ("project", "europe-west4")
    launched = request["body"]["launchParameter"]
    assert launched == {
        "jobName": "image-features-20261102",
        "containerSpecGcsPath": "gs://bucket/templates/image-features.json",
        "parameters": {
            "sdk_container_image": "r/image-features:1",
            "input": "gs://bucket/2026-11-02.csv",
            "output": "gs://bucket/features",
            "run_id": "2026-11-02",
            "model": "builtin",
            "incremental": "true",
        },
        "environment": {"tempLocation": "gs://bucket/temp"},
    }
    for name, value in launched["parameters"].items():
        assert all(re.search(regex, value) for regex in PARAMETERS[name].get("regexes", []))


def test_a_night_that_is_committed_is_not_launched_again(found):
    assert found["2026-11-01"] == {"result": None, "requests": []}
    assert found["2026-10-31"] == {"result": None, "requests": []}  # It was merged, and removed.


def test_a_failed_job_keeps_no_further_attempt_away(found):
    """Its launcher's claim would, for a day."""
    assert found["2026-11-02"]["requests"]
    assert found["2026-11-04"]["requests"]  # There was no claim.
    assert found["blobs"] == [
        "features/2026-11-01/run.json",
        "features/2026-11-02/.staging/launch.json",
        "features/2026-11-03/.staging/claim.json",
        "features/2026-11-03/.staging/launch.json",
        "features/merged/run.json",
    ]


@pytest.mark.parametrize("code", CODES)
def test_exit_codes(found, code):
    came = found[f"exit {code}"]
    said = f"image-features: said {code}"
    if code in (exits.EXIT_OK, exits.EXIT_OVER_BUDGET):
        assert came == {"result": {"exit_code": code, "said": said}}
        return
    final = code in (exits.EXIT_USAGE, exits.EXIT_GUARDED)
    assert came["raised"] == ("AirflowFailException" if final else "AirflowException")
    assert f"(exit code {code}). {said}" in came["said"]


def test_a_killed_command_is_tried_again(found):
    assert found["killed"]["raised"] == "AirflowException"
    assert "was interrupted, or broke (exit code -9)" in found["killed"]["said"]


def test_an_executable_that_is_not_there_is_not_tried_again(found):
    assert found["missing executable"]["raised"] == "AirflowFailException"
    assert "nowhere" in found["missing executable"]["said"]


def test_the_command_lines_own_complaint_is_told(found):
    came = found["unknown option"]
    assert came["raised"] == "AirflowFailException"
    assert "(exit code 2). image-features: Unknown option '--incrementl'" in came["said"]


def test_the_command_gets_nothing_of_airflows(found):
    names = {line.partition("=")[0] for line in found["environment"]}
    assert "PYTHONUNBUFFERED" in names
    assert not [name for name in names if name.startswith("AIRFLOW_") or name == "PYTHONPATH"]


@pytest.mark.parametrize("engine", ["local", "flink", "dataflow"])
def test_the_pages_examples_are_right(found, engine):
    assert "extract" in found[f"example {engine}"]["tasks"], found[f"example {engine}"]["doc"]


def test_the_page_tells_every_key(found):
    cells = re.findall(r"^\| (`\w+`.*?) \|", README, re.M)
    told = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(name for name in told if name in found["keys"]) == sorted(found["keys"])


def test_the_page_names_options_that_exist():
    ours = {f"--{name}" for name in OURS}
    assert set(re.findall(r"--[a-z]+_[a-z_]+\b", README)) <= {*ours, *FLINKS}
    assert set(EXAMPLES["example dataflow"]["parameters"]) <= set(PARAMETERS)
