"""The Flex Template: its parameters, as Google and `extract` read them, and its entry."""

import json
import re
import runpy
import sys

import pytest
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    StandardOptions,
    WorkerOptions,
)
from google.cloud import dataflow_v1beta3 as dataflow
from google.protobuf import json_format

from image_features.errors import UsageError
from image_features.models.handles import BUILTIN
from image_features.pipeline.cli import main as cli
from image_features.pipeline.cli.parsing import parse_extract
from tests import images
from tests.deploy.files import (
    HERE,
    METADATA,
    NOT_FOR_TEMPLATES,
    OURS,
    PARAMETERS,
    REQUIRED,
    THE_LAUNCHERS,
    parse,
)
from tests.gcs import Access, emulator


def test_google_reads_the_metadata():
    template = dataflow.TemplateMetadata.from_json(json.dumps(METADATA))
    assert template.name and template.description
    for parameter in template.parameters:
        # What `gcloud dataflow flex-template build` asks for.
        assert parameter.name and parameter.label and parameter.help_text
        is_enum = parameter.param_type is dataflow.ParameterType.ENUM
        assert bool(parameter.enum_options) == is_enum, parameter.name
    assert len(PARAMETERS) == len(template.parameters)


def test_google_refuses_other_metadata():
    """So that the test above means something."""
    for wrong in ({"hint": ""}, {"paramType": "STRING"}, {"isOptional": "yes"}):
        with pytest.raises(json_format.ParseError, match=r"hint|STRING|isOptional"):
            dataflow.TemplateMetadata.from_json(json.dumps({"parameters": [wrong]}))


def test_every_option_of_ours_is_a_parameter():
    assert set(OURS) - NOT_FOR_TEMPLATES == set(PARAMETERS) & set(OURS)
    assert not THE_LAUNCHERS & set(PARAMETERS)


def test_what_must_be_given_is_all_that_extract_asks_for():
    assert {p["name"] for p in PARAMETERS.values() if not p.get("isOptional")} == set(REQUIRED)
    options, _ = parse(**REQUIRED)
    # The options that launch.prepare calls missing.
    assert all(getattr(options, name) for name in ("input", "output"))


@pytest.mark.parametrize("name", PARAMETERS)
def test_extract_knows_the_parameter(name):
    """Every parameter is an option of ours or of Beam's, of the same kind."""
    kind, action = PARAMETERS[name]["paramType"], OURS.get(name)
    if kind == "BOOLEAN":
        assert action.nargs == 0 and action.default is False
        return
    _, beam_options = parse(**{**REQUIRED, name: example(name)})
    assert name in beam_options.get_all_options()
    if action is not None:
        assert (kind == "ENUM") == bool(action.choices)
        assert (kind == "NUMBER") == (action.type is not None)
    if kind == "ENUM":
        assert [option["value"] for option in PARAMETERS[name]["enumOptions"]] == action.choices


@pytest.mark.parametrize("name", sorted(OURS.keys() & PARAMETERS.keys()))
def test_the_console_shows_the_real_default(name):
    shown, default = PARAMETERS[name].get("defaultValue"), OURS[name].default
    if name == "model":  # It may be given several times, and its default is not among them.
        default = BUILTIN
    if default in (None, ""):
        assert shown is None
    elif default is False:
        assert shown == "false"
    else:
        assert type(default)(shown) == default


COUNT = (["1", "256"], ["0", "-1", "1.5", "many", "01", ""])
POSITIVE = (["1", "64", "0.5", "12.25", ".5"], ["0", "0.0", "-1", "1e3", "inf", "1.", ""])
CHANNELS = (["0.485,0.456,0.406", "0,0,0", ".5,.5,.5"], ["0.5", "0.5,0.5", "a,b,c", ""])
EXAMPLES = {
    "input": (
        ["gs://b/images.csv", "gs://b/photos/**.jpg", "https://h/list.txt", "gs://b/a b.txt"],
        ["images.csv", "/data/images.csv", "gs://", "file:///etc/passwd", ""],
    ),
    "output": (["gs://b", "gs://b/features/"], ["gs://", "features", "s3://b/x", "gs:///x"]),
    "column_types": (
        ["label:int64", "label:int64,tags:string[],score:float32?", "a:b:int64", "x:bytes[]?"],
        ["label", "label:", ":int64", "label:int64,", "label:INT64", ""],
    ),
    "run_id": (["20261124T125212Z", "v1.2_a-b"], ["../up", "a/b", ".hidden", "a b", ""]),
    "model": (
        [
            "builtin",
            "gs://b/model",
            "https://tfhub.dev/google/x/1",
            "a=gs://b/model",
            "a=builtin b-2=gs://b/a model",
            "a=gs://b/x  b=builtin c=builtin",
        ],
        [
            "models/mine",
            "/models/mine",
            "builtin2",
            "gs://",
            "a=/x",
            "a=builtin builtin",
            "é=builtin",
        ],
    ),
    "input_range": (
        ["0,1", "-1,1", "0,255", "-.5,.5", "a=-1,1 b=0,255"],
        ["0", "1,", "0,1,2", "a,b", ""],
    ),
    "mean": CHANNELS,
    "std": CHANNELS,
    "max_error_rate": (["0", "1", "0.05", ".5", "1.0"], ["2", "1.5", "-0.1", "1e-3", "5%", ""]),
    "max_removed_rate": (["0", "0.1", "1.0"], ["2", "-0.1", "10%", ""]),
    "max_redirects": (["0", "5"], ["-1", "x", "1.5"]),
    "sdk_container_image": (
        ["europe-west4-docker.pkg.dev/p/images/image-features:0.2.0", "gcr.io/p/i@sha256:0f"],
        ["https://gcr.io/p/i and more", "-i", ""],
    ),
    "num_shards": COUNT,
    "images_per_shard": COUNT,
    "batch_size": COUNT,
    "cpu_threads": COUNT,
    "fetch_threads": COUNT,
    "fetch_attempts": COUNT,
    "disk_size_gb": COUNT,
    "min_rows": COUNT,
    "max_megapixels": POSITIVE,
    "decode_timeout": POSITIVE,
    "max_megabytes": POSITIVE,
    "connect_timeout": POSITIVE,
    "read_timeout": POSITIVE,
    "total_timeout": POSITIVE,
    "max_duration": POSITIVE,
    "drift_threshold": POSITIVE,
}


def example(name):
    """A value that the parameter takes."""
    if name in EXAMPLES:
        return EXAMPLES[name][0][0]
    options = PARAMETERS[name].get("enumOptions")
    return options[-1]["value"] if options else "text"


def test_every_regex_has_examples():
    assert {name for name, parameter in PARAMETERS.items() if "regexes" in parameter} == set(
        EXAMPLES
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_regexes(name):
    right, wrong = EXAMPLES[name]
    # Dataflow's regexes match a whole value; these are whole with any way of matching.
    (regex,) = (re.compile(pattern) for pattern in PARAMETERS[name]["regexes"])
    for value in right:
        assert regex.search(value), value
        parse(**{**REQUIRED, name: value})
    for value in wrong:
        assert not regex.search(value), value


# What the launcher runs.

# As its log shows it in github.com/GoogleCloudPlatform/python-docs-samples/issues/4307.
LAUNCHER_ARGUMENTS = [
    "--job_name=test",
    "--region=asia-northeast1",
    "--service_account_email=1-compute@developer.gserviceaccount.com",
    "--runner=DataflowRunner",
    "--project=p",
    "--template_location=gs://b/staging/template_launches/2026-07-16_07_08_11-1/job_object",
    "--temp_location=gs://b/temp/",
    "--staging_location=gs://b/staging",
]


def launch(monkeypatch, *arguments, code=0):
    """Runs main.py as the launcher does; returns what `extract` is given."""
    given = []
    monkeypatch.setattr(cli, "main", lambda argv: given.append(argv) or code)
    monkeypatch.setattr(sys, "argv", ["/template/main.py", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(HERE / "main.py"), run_name="__main__")
    assert end.value.code == code
    (argv,) = given
    # Parts of Beam read that.
    assert sys.argv[1:] == argv
    assert (argv[0], argv[-1]) == ("extract", "--no_wait")
    return argv[1:]


@pytest.mark.parametrize("code", [0, 1, 2])
def test_main_passes_everything_on(monkeypatch, code):
    own = ["--input=gs://b/a=b,c.csv", "--output=gs://b/features", "--engine=litert"]
    argv = launch(monkeypatch, *LAUNCHER_ARGUMENTS, *own, code=code)
    assert argv == ["--log_format=json", *LAUNCHER_ARGUMENTS, *own, "--no_wait"]
    options, beam_options = parse_extract(argv)
    assert (options.wait, options.log_format) == (False, "json")
    assert options.input == ["gs://b/a=b,c.csv"]
    assert beam_options.view_as(StandardOptions).runner == "DataflowRunner"
    cloud = beam_options.view_as(GoogleCloudOptions)
    assert cloud.template_location.endswith("/job_object")


def test_main_gives_every_parameter_as_extract_takes_it(monkeypatch):
    """All at once, as a form that was filled in would send them."""
    values = {name: example(name) for name in PARAMETERS}
    values |= {n: "true" for n, p in PARAMETERS.items() if p["paramType"] == "BOOLEAN"}
    argv = launch(monkeypatch, *(f"--{name}={value}" for name, value in values.items()))
    options, beam_options = parse_extract(argv)
    assert options.allow_empty and options.keep_uri_secrets
    assert options.allow_truncated and options.allow_private_hosts
    worker = beam_options.view_as(WorkerOptions)
    assert worker.sdk_container_image == values["sdk_container_image"]


@pytest.mark.parametrize(
    ("passed", "arguments"),
    [
        ("--allow_empty=true", ["--allow_empty"]),
        ("--allow_empty=True", ["--allow_empty"]),
        ("--allow_empty", ["--allow_empty"]),
        ("--allow_empty=false", []),
        ("--allow_empty=", []),
        ("--use_public_ips=false", ["--no_use_public_ips"]),
        ("--no_use_public_ips=true", ["--no_use_public_ips"]),
        ("--run_id=true", ["--run_id=true"]),
        ("--uri_column=", []),
        ("--wait=true", ["--wait"]),
        ("--input_range=a=0,1 b=-1,1", ["--input_range=a=0,1", "--input_range=b=-1,1"]),
        ("--model=gs://b/my model", ["--model=gs://b/my model"]),
        (
            "--model=a=builtin  b-2=gs://b/my model c=https://h/x?y=z",
            ["--model=a=builtin", "--model=b-2=gs://b/my model", "--model=c=https://h/x?y=z"],
        ),
    ],
)
def test_flags_and_empty_values(monkeypatch, passed, arguments):
    argv = launch(monkeypatch, passed)
    assert argv == ["--log_format=json", *arguments, "--no_wait"]
    assert parse_extract(argv)[0].wait is False


def test_a_flag_that_is_neither_true_nor_false_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="allow_empty"):
        parse_extract(launch(monkeypatch, "--allow_empty=maybe"))


def test_what_only_the_launcher_knows_is_left_out(monkeypatch, capsys):
    argv = launch(monkeypatch, "--launcher_secret=1", "--input=gs://b/a.csv")
    assert argv == ["--log_format=json", "--input=gs://b/a.csv", "--no_wait"]
    said = capsys.readouterr().err
    assert "--launcher_secret is not an option and is left out" in said and "=1" not in said


def test_a_launch_writes_the_jobs_description(monkeypatch, tmp_path):
    """The real main.py, with Cloud Storage on loopback: what a launch on Dataflow comes to."""
    # The launcher names an account to impersonate, at Google's own address.
    with emulator(monkeypatch, "images", Access.EMULATOR) as bucket:
        bucket.blob("in/a.jpg").upload_from_string(images.encode(images.noise(1)))
        asked = [
            *(each.replace("gs://b/", "gs://images/") for each in LAUNCHER_ARGUMENTS),
            "--project=my-project",
            "--no_auth=true",
            "--input=gs://images/in",
            "--output=gs://images/out",
            "--run_id=run",
            "--model=untrained",
            "--allow_empty=false",
            "--sdk_container_image=r/i:1",
        ]
        monkeypatch.setattr(sys, "argv", ["/template/main.py", *asked])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(HERE / "main.py"), run_name="__main__")
        assert end.value.code == 0
        blobs = {blob.name: blob for blob in bucket.client.list_blobs("images")}
        (described,) = (name for name in blobs if name.endswith("/job_object"))
        job = json.loads(blobs[described].download_as_bytes())
        # Workers need it, and nobody has committed anything.
        assert "out/run/.staging/model.tflite" in blobs and "out/run/run.json" not in blobs
    assert job["name"] == "test"
    (pool,) = job["environment"]["workerPools"]
    assert [each["containerImage"] for each in pool["sdkHarnessContainerImages"]] == ["r/i:1"]
    # The image has the package.
    assert not [each for each in pool["packages"] if each["name"].endswith(".tar.gz")]
