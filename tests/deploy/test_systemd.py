"""The units that start the nightly run by systemd."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from image_features.pipeline.dataset.claim import LEASE_SECONDS
from tests.deploy.cron_files import (
    HERE,
    NO_RETRY,
    README,
    SCRIPT,
    SERVICE,
    TIMER,
    one,
    seconds,
    settings,
)


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
    # It may also complain of other units of the machine.
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
