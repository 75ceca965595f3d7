"""Programs that stand in for those that the scripts of deploy/cron call."""

import shutil
import subprocess

import pytest

from tests.deploy.cron_files import SCRIPT, VARIABLES

RECORD = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$CALLS"
printf '%s' "${IMAGE_FEATURES_NOTIFY-none}" > "$CALLS.notify"
exit "${FAKE_EXIT:-0}"
"""
# A date that tells a fixed time if it is asked for now, and is the real one otherwise.
CLOCK = """#!/usr/bin/env bash
case "$*" in *-d*) exec {date} "$@" ;; *) exec {date} -d @1764201599 "$@" ;; esac
"""


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
