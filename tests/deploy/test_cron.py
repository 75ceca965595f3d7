"""The settings of the nightly run, and the crontab that starts it."""

import datetime
import re
import shlex
import shutil
import subprocess

import pytest
from cronsim import CronSim, CronSimError

from image_features.errors import UsageError
from image_features.pipeline.cli.parsing import parse_extract
from tests.deploy.cron_files import HERE, SCRIPT, SERVICE, TONIGHT, VARIABLES, given, one, settings


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
