"""The nightly run: its script, and what starts it on a machine of one's own."""

import datetime
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from cronsim import CronSim, CronSimError

from image_features import errors as exits
from image_features.errors import UsageError
from image_features.pipeline.cli.parsing import parse_extract
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.claim import LEASE_SECONDS
from image_features.pipeline.dataset.run import committed_runs
from tests import images
from tests.deploy.files import OURS, ROOT

HERE = ROOT / "deploy" / "cron"
SCRIPT = HERE / "nightly.sh"
RECORD = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$CALLS"
printf '%s' "${IMAGE_FEATURES_NOTIFY-none}" > "$CALLS.notify"
exit "${FAKE_EXIT:-0}"
"""
VARIABLES = {"INPUT": "/photos", "OUTPUT": "/features"}
CODES = {value for name, value in vars(exits).items() if name.startswith("EXIT_")}
NO_RETRY = {exits.EXIT_USAGE, exits.EXIT_OVER_BUDGET, exits.EXIT_GUARDED}
# date's answer to what it is asked about now; of another time it tells the truth.
CLOCK = """#!/usr/bin/env bash
case "$*" in *-d*) exec {date} "$@" ;; *) exec {date} -d @1764201599 "$@" ;; esac
"""
TONIGHT = "nightly-20251126"  # In Greenwich; the 27th in Berlin.


@pytest.fixture
def nightly(tmp_path):
    """Runs nightly.sh on a PATH of its own; returns the process and what extract was given."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name in ("bash", "env"):
        (programs / name).symlink_to(shutil.which(name))
    for name, text in (
        ("image-features", RECORD),
        ("date", CLOCK.format(date=shutil.which("date"))),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(*arguments, without=(), command=(SCRIPT,), **variables):
        environment = {"PATH": str(programs), "CALLS": str(calls), "TZ": "Europe/Berlin"}
        environment |= VARIABLES | variables
        process = subprocess.run(
            [*command, *arguments],
            env={name: value for name, value in environment.items() if name not in without},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        return process, calls.read_text().splitlines() if calls.exists() else None

    return run


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


def given(*more, run_id=TONIGHT):
    return [
        *("extract", "--incremental", "--input=/photos", "--output=/features"),
        f"--run_id={run_id}",
        *more,
    ]


def test_a_night(nightly):
    process, call = nightly()
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    assert call == given()
    _, call = nightly("--model=/my models/1", "--fetch_threads=8")
    assert call == given("--model=/my models/1", "--fetch_threads=8")


def test_settings(nightly):
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
    assert (process.returncode, call, process.stdout) == (exits.EXIT_USAGE, None, "")
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
        return [(run["run_id"], run["counts"]["rows_out"]) for _, run in found]

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
    assert night("--error_budget=0.1", RUN_ID="second").returncode == exits.EXIT_OVER_BUDGET
    assert night("--max_error_rate=0.1", RUN_ID="third").returncode == exits.EXIT_GUARDED
    assert runs() == [(tonight, 5), ("second", 1)]
    assert night(RUN_ID="third").returncode == 0
    assert runs() == [(tonight, 5), ("second", 1), ("third", 0)]
    assert len(set(dataset.load_numpy(environment["OUTPUT"]).uris)) == 6
    assert night("--no_such_option", RUN_ID="fourth").returncode == exits.EXIT_USAGE


# systemd.


def unit(name):
    """A unit file: section to name to values."""
    text = re.sub(r"\\\n", " ", (HERE / name).read_text())
    sections = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def seconds(text):
    units = {"h": 3600, "min": 60, "s": 1, "": 1}
    number, name = re.fullmatch(r"(\d+)(h|min|s|)", text).groups()
    return int(number) * units[name]


SERVICE, TIMER = unit("image-features.service"), unit("image-features.timer")


def one(section, key, of=SERVICE):
    (value,) = of[section][key]
    return value


def test_the_service_heeds_exit_codes():
    assert one("Service", "Type") == "oneshot"
    assert one("Service", "Restart") == "on-failure"
    assert {int(code) for code in one("Service", "RestartPreventExitStatus").split()} == NO_RETRY
    # What is committed over its budget must be seen: 0 is a success, and to be stopped is none's
    # failure, before Python has a handler for the signal and after.
    assert one("Service", "SuccessExitStatus").split() == [str(128 + signal.SIGTERM), "SIGTERM"]
    assert seconds(one("Service", "RestartSec")) > LEASE_SECONDS


def test_the_service_has_limits_within_a_night():
    interval = seconds(one("Unit", "StartLimitIntervalSec"))
    attempts = int(one("Unit", "StartLimitBurst"))
    assert attempts * seconds(one("Service", "RestartSec")) < interval < 24 * 3600
    assert seconds(one("Service", "TimeoutStartSec")) < interval
    duration = dict(re.findall(r"--(\w+)=(\S+)", settings()["OPTIONS"]))["max_duration"]
    assert float(duration) < seconds(one("Service", "TimeoutStartSec"))


def test_the_service_may_write_where_the_settings_say():
    assert one("Service", "ProtectSystem") == "strict"
    state = f"/var/lib/{one('Service', 'StateDirectory')}"
    cache = f"/var/cache/{one('Service', 'CacheDirectory')}"
    assert settings()["OUTPUT"].startswith(f"{state}/")
    environment = dict(value.split("=", 1) for value in SERVICE["Service"]["Environment"])
    assert environment["IMAGE_FEATURES_CACHE"] == cache
    command = one("Service", "ExecStart")
    assert os.path.basename(command) == SCRIPT.name
    assert environment["PATH"].split(":")[0] == os.path.dirname(command)
    assert command in README or os.path.dirname(command) + "/" in README


def test_the_timer_leaves_a_night_its_date():
    assert one("Timer", "Persistent", TIMER) == "true"
    assert one("Install", "WantedBy", TIMER) == "timers.target"
    when = re.fullmatch(r"\*-\*-\* (\d+):00:00 UTC", one("Timer", "OnCalendar", TIMER))
    last = int(when[1]) * 3600 + seconds(one("Timer", "RandomizedDelaySec", TIMER))
    assert last + seconds(one("Unit", "StartLimitIntervalSec")) < 24 * 3600


def analyze(directory, *replaced):
    """What systemd says about the units; the script is where it can be found."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("There is no systemd-analyze; it comes with systemd.")
    names = ("image-features.service", "image-features.timer")
    for name in names:
        text = (HERE / name).read_text().replace(one("Service", "ExecStart"), str(SCRIPT))
        for old, new in replaced:
            text = text.replace(old, new)
        (directory / name).write_text(text)
    command = [program, "verify", "--man=no", *(str(directory / name) for name in names)]
    found = subprocess.run(command, capture_output=True, text=True)
    # Of other units of the machine it may say something too.
    lines = [line for line in found.stderr.splitlines() if "image-features" in line]
    return found.returncode, lines


def test_systemd_takes_the_units(tmp_path):
    assert analyze(tmp_path) == (0, [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Nice=10", "Niceness=10"),
        ("RestartSec=150", "RestartSec=a while"),
        ("Restart=on-failure", "Restart=always"),
        ("RestartPreventExitStatus=2", "RestartPreventExitStatus=many"),
        ("143 SIGTERM", "143 SIGEND"),
        ("01:00:00 UTC", "25:00:00 UTC"),
        ("@system-service", "@no-such-set"),
    ],
)
def test_systemd_would_say_what_is_wrong(tmp_path, old, new):
    assert analyze(tmp_path, (old, new))[1] != []


# The settings, and cron.


def settings():
    """nightly.env as systemd reads it, with what is commented out."""
    lines = (HERE / "nightly.env").read_text().splitlines()
    pairs = [re.fullmatch(r"(?:# )?([A-Z_]+)=\"([^\"$`\\]*)\"", line) for line in lines]
    return {pair[1]: pair[2] for pair in pairs if pair}


def test_a_shell_reads_the_settings_as_systemd_does():
    text = (HERE / "nightly.env").read_text().replace("# NOTIFY", "NOTIFY")
    names = [name for name in settings() if name != "GOOGLE_APPLICATION_CREDENTIALS"]
    script = f'{text}\nfor name in {" ".join(names)}; do echo "${{!name}}"; done'
    told = subprocess.run(["bash", "-c", script], env={}, capture_output=True, text=True)
    assert told.stdout.splitlines() == [settings()[name] for name in names]
    read = set(re.findall(r"\$\{([A-Z_]+):", SCRIPT.read_text())) - {"KUBERNETES_JOB", "RUN_ID"}
    assert set(names) == read


def test_extract_takes_the_settings():
    found = settings()
    parse_extract([*given(f"--notify={found['NOTIFY']}")[2:], *found["OPTIONS"].split()])
    with pytest.raises(UsageError):
        parse_extract([*given()[2:], *found["OPTIONS"].replace("_rate", "_rat").split()])


def crontab():
    """The variables of the crontab, and its jobs: a schedule, a user and a command."""
    lines = (HERE / "crontab").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    variables = [line.split("=", 1) for line in lines if re.match(r"\w+=", line)]
    jobs = [line.split(None, 6) for line in lines if not re.match(r"\w+=", line)]
    return dict(variables), [(" ".join(job[:5]), job[5], job[6]) for job in jobs]


def test_cron_starts_it_in_the_night():
    _, ((schedule, user, command),) = crontab()
    assert user == one("Service", "User")
    assert "%" not in command  # Cron would end the line there.
    start = datetime.datetime(2026, 3, 1, 12)
    times = CronSim(schedule, start)
    assert [next(times) - start for _ in range(6)] == [
        datetime.timedelta(hours=hours) for hours in (13, 14, 15, 16, 17, 37)
    ]


@pytest.mark.parametrize("schedule", ["0 1-5 * *", "0 25 * * *", "60 1 * * *", "0 1-5 * * * *x"])
def test_a_schedule_that_cron_would_refuse_is_refused(schedule):
    with pytest.raises(CronSimError):
        CronSim(schedule, datetime.datetime(2026, 3, 1))


def test_crons_command_runs(nightly, tmp_path):
    variables, ((_, _, command),) = crontab()
    assert (
        variables["PATH"]
        == dict(v.split("=", 1) for v in SERVICE["Service"]["Environment"])["PATH"]
    )
    (tmp_path / "bin" / "nightly.sh").symlink_to(SCRIPT)
    (tmp_path / "bin" / "nice").symlink_to(shutil.which("nice"))
    environment = one("Service", "EnvironmentFile")
    assert environment in command
    command = command.replace(environment, str(HERE / "nightly.env"))
    process, call = nightly(command=(variables["SHELL"], "-c", command), without=VARIABLES)
    assert process.returncode == 0, process.stderr
    found = settings()
    assert call == [
        *("extract", "--incremental", f"--input={found['INPUT']}", f"--output={found['OUTPUT']}"),
        f"--run_id={TONIGHT}",
        *shlex.split(found["OPTIONS"]),
    ]


README = (HERE / "README.md").read_text()


def test_the_page_tells_every_exit_code():
    rows = re.findall(r"^\| ([\d, ]+) \|", README, re.M)
    assert {int(code) for row in rows for code in row.split(", ")} == CODES


@pytest.mark.parametrize("name", ["README.md", "nightly.sh", "nightly.env"])
def test_options_that_are_named_exist(name):
    text = (HERE / name).read_text()
    named = set(re.findall(r"(?<![\w-])--([a-z]+(?:_[a-z]+)+|incremental|input|output)\b", text))
    assert named <= set(OURS)
