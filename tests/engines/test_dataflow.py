"""A job for Dataflow up to the wire, and its work as its workers would do it."""

import functools
import json
import re
import signal

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset.run import latest_run, read_record
from tests import gcs, images, runs
from tests.engines import dataflow
from tests.engines.dataflow_jobs import (
    GPU,
    ROOT,
    SDIST,
    SECONDS,
    arguments,
    begin,
    console,
    last_line,
    launch,
    names,
    options_of,
    pipeline_of,
    pool,
    setup_of,
    staged,
    work,
)
from tests.gcs import Access

PHOTOS = 8
IMAGE = "europe-docker.pkg.dev/my-project/images/image-features:1"
INSTALLED = "submission_environment_dependencies.txt"  # Beam's, of the launcher: for people.
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 3, in process\nOSError: gone'


@pytest.fixture(scope="module")
def bucket():
    with (
        pytest.MonkeyPatch.context() as patch,
        gcs.server(patch, "images", Access.EMULATOR) as (bucket, _),
    ):
        for i in range(PHOTOS):
            bucket.blob(f"in/{i}.jpg").upload_from_string(images.encode(images.noise(i)))
        rows = [f"{i}.jpg,{i}" for i in range(PHOTOS)]
        bucket.blob("in/m.csv").upload_from_string("\n".join(["uri,label", *rows, "gone.jpg,99"]))
        yield bucket


@pytest.fixture
def service(bucket, tmp_path):
    with dataflow.Service(tmp_path) as service:
        yield service


@pytest.fixture(scope="module")
def launched(bucket, tmp_path_factory):
    """One job that was not waited for, and what its launcher said."""
    with dataflow.Service(tmp_path_factory.mktemp("dataflow")) as service:
        options = ["--no_wait", "--labels=team=vision", "--labels=run=nightly"]
        yield service, launch(service, *options, run_id="Run_1.x")


def test_a_whole_job(bucket, service):
    service.run = functools.partial(work, bucket, service)
    code, output, error = launch(service)
    assert code == 0, error
    (job,) = service.jobs
    assert output.startswith(f"submitted job {job.id}: {console(job)}\n")
    assert f"gs://images/out/run: {PHOTOS} of {PHOTOS + 1} images, 1 failed" in output
    assert "added up over threads: fetch 9.00 s" in output
    local = ["--no_auth", *arguments(output="gs://images/local", runner=None)]
    assert cli.main(["extract", *local]) == 0
    assert runs.shard_files("gs://images/out/run") == runs.shard_files("gs://images/local/run")
    assert "tensorflow" not in read_record("gs://images/out/run")["versions"]
    assert inspection.verify(latest_run("gs://images/out")) == []
    assert not [name for name in names(bucket, "out/run/") if ".staging" in name]


def test_no_wait_ends_when_the_job_is_taken(launched):
    service, (code, output, error) = launched
    assert code == 0, error
    (job,) = service.jobs
    assert output == f"submitted job {job.id}: {console(job)}\n"
    assert service.asked("POST", "/jobs") == 1
    assert service.asked("GET", job.id) <= 1
    assert service.asked("GET", "/messages") == 0


def test_what_the_job_asks_for(bucket, launched):
    (job,) = launched[0].jobs
    request, environment = job.request, job.request["environment"]
    assert (request["name"], request["type"]) == ("image-features-run-1-x", "JOB_TYPE_BATCH")
    # A user's label is kept, also where there is one of ours.
    ours = "image-features"
    assert request["labels"] == {"application": ours, "team": "vision", "run": "nightly"}
    assert (pool(job)["machineType"], pool(job)["diskSizeGb"]) == ("e2-standard-4", 30)
    assert pool(job)["autoscalingSettings"] == {"maxNumWorkers": 20}
    assert pool(job)["numThreadsPerWorker"] == 2
    assert pool(job)["workerHarnessContainerImage"].endswith("/beam_python3.11_sdk:2.77.0")
    (container,) = pool(job)["sdkHarnessContainerImages"]
    assert container["useSingleCorePerContainer"]
    assert {"use_multiple_sdk_containers", "use_runner_v2"} <= set(environment["experiments"])
    assert environment["tempStoragePrefix"].startswith("storage.googleapis.com/images/temp/")
    assert options_of(job)["input"] == ["gs://images/in/m.csv"]
    assert options_of(job)["save_main_session"] is False
    (hints,) = [e.resource_hints for e in pipeline_of(bucket, job).components.environments.values()]
    assert dict(hints) == {"beam:resources:min_ram_bytes:v1": b"4000000000"}


def test_what_is_staged(bucket, launched):
    (job,) = launched[0].jobs
    files = staged(bucket, job)
    assert set(files) == {SDIST, "extra_packages.txt", "pipeline.pb", INSTALLED}
    folder = options_of(job)["pipelineUrl"].removeprefix("gs://images/").rpartition("/")[0]
    assert names(bucket, folder) == {f"{folder}/{name}" for name in files}
    staging = "out/Run_1.x/.staging"
    ours = {"claim.json", "launch.json", "model.tflite"}
    assert names(bucket, "out/Run_1.x") == {f"{staging}/{name}" for name in ours}
    sizes = [bucket.get_blob(f"{staging}/model.tflite").size, *map(len, files.values())]
    assert sum(sizes) < 6e6
    assert re.findall(r"'tensorflow[\w-]*", setup_of(bucket, job)) == ["'tensorflow-metadata"]
    assert files["extra_packages.txt"].decode().split() == [SDIST]


def test_the_graph_reads_like_its_picture(bucket, launched):
    transforms = pipeline_of(bucket, launched[0].jobs[0]).components.transforms.values()
    steps = {transform.unique_name.partition("/")[0] for transform in transforms}
    named = set(re.findall(r'"(\w+)"\s+>>', (ROOT / "pipeline/extract.py").read_text()))
    assert {"ReadManifest", "FetchImages", "WriteFeatureShards", "CommitRun"} <= named
    only_incremental = {"SkipKnown", "WriteRemoved"}
    assert {step for step in steps if not step.startswith("ref_")} == named - only_incremental


def test_an_image_of_ones_own_needs_no_package(bucket, service):
    code, _, error = launch(service, "--no_wait", f"--sdk_container_image={IMAGE}", run_id="image")
    assert code == 0, error
    (job,) = service.jobs
    assert set(staged(bucket, job)) == {"pipeline.pb", INSTALLED}
    assert pool(job)["workerHarnessContainerImage"] == IMAGE


def test_a_gpu_has_one_process_and_tensorflow(bucket, service):
    options = ["--no_wait", f"--dataflow_service_options={GPU}", "--engine=tensorflow"]
    code, _, error = launch(service, *options, run_id="gpu")
    assert code == 0, error
    (job,) = service.jobs
    assert (pool(job)["machineType"], pool(job)["diskSizeGb"]) == ("n1-standard-4", 50)
    assert "numThreadsPerWorker" not in pool(job)
    assert "no_use_multiple_sdk_containers" in job.request["environment"]["experiments"]
    assert job.request["environment"]["serviceOptions"] == [GPU]
    wanted = re.findall(r"'(tensorflow(?:-hub)?)==", setup_of(bucket, job))
    assert wanted == ["tensorflow", "tensorflow-hub"]
    assert "out/gpu/.staging/module.tar.gz" in names(bucket, "out/gpu/")


def test_a_flex_template_gets_the_job_described(bucket, service):
    options = ["--no_wait", "--template_location=gs://images/flex/job.json"]
    code, _, error = launch(service, *options, run_id="flex")
    assert code == 0, error
    described = json.loads(bucket.blob("flex/job.json").download_as_bytes())
    assert described["name"] == "image-features-flex"
    assert service.jobs == []


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "(a1): The caller does not have permission"),
        (409, "(a1): There is already an active job named image-features-run."),
        (429, "Quota exceeded for quota metric 'Create requests'."),
    ],
)
def test_a_job_that_is_refused(service, status, message):
    service.refusals = [(status, message)]
    code, output, error = launch(service, run_id=f"refused-{status}")
    assert (code, output) == (1, "")
    assert last_line(error).startswith(f"image-features: The run refused-{status} failed and is")
    assert last_line(error).endswith(message)
    assert "Traceback" not in error
    assert error.count(message) == 1
    assert service.asked("POST", "/jobs") == 1


def test_a_job_that_is_refused_keeps_nobody_waiting(service):
    service.refusals = [(403, "The caller does not have permission")]
    assert launch(service, "--no_wait", run_id="second-try")[0] == 1
    code, _, error = launch(service, "--no_wait", run_id="second-try")
    assert code == 0, error


def test_a_service_that_is_away_is_asked_again(service):
    service.refusals = [(503, "The service is currently unavailable.")]
    code, _, error = launch(service, "--no_wait", run_id="again")
    assert code == 0, error
    assert service.asked("POST", "/jobs") == 2


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        (["Workflow failed. Causes: No machines."], "Workflow failed. Causes: No machines."),
        (["Workflow failed.", TRACEBACK, "The work item was attempted 4 times."], "OSError: gone"),
    ],
)
def test_a_job_that_fails(service, messages, says):
    def fail(job):
        raise dataflow.JobFailedError(*messages)

    service.run = fail
    code, output, error = launch(service, run_id=f"failed-{len(messages)}")
    assert (code, output[:14]) == (1, "submitted job ")
    assert last_line(error).startswith("image-features: The run failed-")
    assert last_line(error).endswith(says)
    assert error.count("Traceback") == str(messages).count("Traceback")


def test_a_launcher_that_is_interrupted_leaves_the_job(service):
    process = begin(service, run_id="interrupted")
    assert process.stdout.readline().startswith("submitted job ")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert last_line(error).endswith("interrupted; a job that was submitted goes on.")
    assert service.asked("PUT", "") == 0


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"project": None}, "needs --project"),
        ({"region": None}, "needs --region"),
        ({"temp_location": None}, "needs --temp_location"),
        ({"temp_location": "/tmp/x"}, "must be on gs://"),
        ({"temp_location": "gs://images"}, "temp_location"),
        ({"temp_location": "gs://no-such-bucket/x"}, "gs://no-such-bucket/x cannot be used"),
        ({"staging_location": "/tmp/x"}, "staging_location"),
        ({"output": "out"}, "/out is on this machine"),
        ({"input": "m.csv"}, "/m.csv is on this machine"),
        ({"project": "12345", "dataflow_endpoint": None}, "not project number"),
        ({"job_name": "My_Job", "dataflow_endpoint": None}, "Invalid job_name (My_Job)"),
        ({"template_location": "gs://images/t"}, "use the Flex Template"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(bucket, service, capsys, changed, says):
    before = names(bucket)
    options = arguments("usage", **{"dataflow_endpoint": service.url, **changed})
    assert cli.main(["extract", *options, "--no_auth"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert names(bucket) == before
    assert service.requests == []


def test_a_launcher_without_credentials_says_so(service):
    service.key_file = service.key_file.with_name("absent.json")
    code, output, error = launch(service, run_id="anonymous")
    assert (code, output) == (2, "")
    assert last_line(error).startswith("image-features: --runner=DataflowRunner finds no Google")
    assert service.requests == []
