"""The nightly run: its script, and the page about it."""

import datetime
import os
import re
import shutil
import subprocess
import sys

import pytest

from image_features import errors
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import committed_runs
from tests import images
from tests.deploy.cron_files import CODES, HERE, README, SCRIPT, given
from tests.deploy.files import OURS, ROOT


def scripts():
    listed = subprocess.run(["git", "ls-files", "*.sh"], cwd=ROOT, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.split()] or [SCRIPT]


def test_scripts_are_sound():
    places = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    shellcheck = shutil.which("shellcheck", path=places)
    if shellcheck is None:
        pytest.skip("There is no shellcheck; it comes with the extra [dev].")
    command = [shellcheck, "--shell=bash", "--external-sources", *scripts()]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    assert os.access(SCRIPT, os.X_OK)


def test_a_night(nightly):
    process, call = nightly()
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    assert call == given()
    _, call = nightly("--model=/my models/1", "--fetch_threads=8")
    assert call == given("--model=/my models/1", "--fetch_threads=8")


def test_settings(nightly):
    models = ["--model=a=builtin", "--model=b=gs://bucket/x"]
    assert nightly(OPTIONS=" ".join(models))[1] == given(*models)
    options = "--error_budget=0.01  --input=/more/*.csv\n--resize=pad\n"
    process, call = nightly("--x", OPTIONS=options, NOTIFY="https://h/a b", RUN_ID="once")
    assert process.returncode == 0
    more = ["--error_budget=0.01", "--input=/more/*.csv", "--resize=pad"]
    assert call == given(*more, "--x", run_id="once")
    assert nightly(OPTIONS="", RUN_ID="")[1] == given()


def test_where_to_notify_is_on_no_command_line(nightly, tmp_path):
    told = tmp_path / "calls.notify"
    assert nightly(NOTIFY="https://h/a b")[1] == given()
    assert told.read_text() == "https://h/a b"
    nightly(NOTIFY="")
    assert told.read_text() == "none"
    nightly(NOTIFY="", IMAGE_FEATURES_NOTIFY="https://h/2")
    assert told.read_text() == "https://h/2"


@pytest.mark.parametrize(
    ("job", "run_id"),
    [
        # The last one is midnight.
        ("image-features-29403300", "nightly-20251126"),
        ("image-features-29403359", "nightly-20251126"),
        ("image-features-29403360", "nightly-20251127"),
        # Made by hand.
        ("nightly-20251120", "nightly-20251120"),
        ("again", "again"),
        ("again-1", "again-1"),
    ],
)
def test_a_kubernetes_job_is_one_run(nightly, job, run_id):
    assert nightly(KUBERNETES_JOB=job)[1] == given(run_id=run_id)
    assert nightly(KUBERNETES_JOB=job, RUN_ID="mine")[1] == given(run_id="mine")


@pytest.mark.parametrize("code", sorted(CODES | {130, 143}))
def test_exit_codes_are_passed_on(nightly, code):
    assert nightly(FAKE_EXIT=str(code))[0].returncode == code


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"without": ["INPUT"]}, "INPUT is not set"),
        ({"OUTPUT": ""}, "OUTPUT is not set"),
        ({"PATH": "/nowhere"}, "image-features is not on the PATH"),
    ],
)
def test_what_is_missing_is_bad_arguments(nightly, how, says):
    process, call = nightly(command=(shutil.which("bash"), SCRIPT), **how)
    assert (process.returncode, call, process.stdout) == (errors.EXIT_USAGE, None, "")
    assert says in process.stderr and process.stderr.count("\n") == 1


@pytest.mark.long
def test_nights_add_up(tmp_path):
    """The real command, twice a night and on three nights."""
    photos = images.write_noise(tmp_path / "photos", 5)
    environment = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "INPUT": str(photos),
        "OUTPUT": str(tmp_path / "features"),
        "OPTIONS": "--model=untrained --num_shards=2",
        "IMAGE_FEATURES_CACHE": str(tmp_path / "cache"),
    }

    def night(*arguments, **variables):
        return subprocess.run(
            [SCRIPT, *arguments], env=environment | variables, capture_output=True, text=True
        )

    def runs():
        found = reversed(committed_runs(environment["OUTPUT"]))
        return [(run.run_id, run.counts.rows_out) for run in found]

    before = datetime.datetime.now(datetime.UTC)
    first = night()
    after = datetime.datetime.now(datetime.UTC)
    assert first.returncode == 0, first.stderr
    ((tonight, rows),) = runs()
    assert tonight in {f"nightly-{when:%Y%m%d}" for when in (before, after)} and rows == 5
    again = night(RUN_ID=tonight)
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() == f"{environment['OUTPUT']}/{tonight} is committed already."
    (photos / "new.jpg").write_bytes(images.encode(images.noise(77)))
    assert night("--error_budget=0.1", RUN_ID="second").returncode == errors.EXIT_OVER_BUDGET
    assert night("--max_error_rate=0.1", RUN_ID="third").returncode == errors.EXIT_GUARDED
    assert runs() == [(tonight, 5), ("second", 1)]
    assert night(RUN_ID="third").returncode == 0
    assert runs() == [(tonight, 5), ("second", 1), ("third", 0)]
    assert len(set(dataset.load_numpy(environment["OUTPUT"]).uris)) == 6
    assert night("--no_such_option", RUN_ID="fourth").returncode == errors.EXIT_USAGE


def test_the_page_tells_every_exit_code():
    rows = re.findall(r"^\| ([\d, ]+) \|", README, re.M)
    assert {int(code) for row in rows for code in row.split(", ")} == CODES


@pytest.mark.parametrize("name", ["README.md", "nightly.sh", "nightly.env"])
def test_options_that_are_named_exist(name):
    text = (HERE / name).read_text()
    named = set(re.findall(r"(?<![\w-])--([a-z]+(?:_[a-z]+)+|incremental|input|output)\b", text))
    assert named <= set(OURS)
