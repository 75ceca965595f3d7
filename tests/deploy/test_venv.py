"""The environment that run_local.sh and run_tests.sh make and keep."""

import os
import subprocess

import pytest

from tests.deploy.files import ROOT

EDITABLE = "lib/python3.11/site-packages/__editable__.image_feature_extractor-0.2.0.pth"


@pytest.fixture
def use_venv(tmp_path):
    """Calls use_venv on an environment whose pip only says that it was called."""
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    python = environment / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n')
    python.chmod(0o755)

    def call():
        script = f'set -euo pipefail; source deploy/venv.sh; use_venv "{environment}" samples'
        subprocess.run(["bash", "-c", script], cwd=ROOT, check=True, env={**os.environ})
        calls = tmp_path / "calls"
        said = calls.read_text() if calls.exists() else ""
        calls.unlink(missing_ok=True)
        return said

    (environment / EDITABLE).parent.mkdir(parents=True)
    return call, environment / EDITABLE


def test_a_copy_of_the_package_becomes_a_link_to_the_checkout_again(use_venv):
    call, editable = use_venv
    assert "--editable .[samples]" in call()
    editable.touch()
    assert call() == ""
    # `pip install '.[report]'` removes the link, and would keep `git pull` from changing anything.
    editable.unlink()
    assert "--editable .[samples]" in call()


def test_of_two_that_start_side_by_side_one_installs(tmp_path):
    environment = tmp_path / "venv"
    python = environment / "bin" / "python"
    python.parent.mkdir(parents=True)
    editable = environment / EDITABLE
    editable.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\necho began >> "{tmp_path}/calls"\nsleep 0.5\ntouch "{editable}"\n'
    )
    python.chmod(0o755)
    script = f'set -euo pipefail; source deploy/venv.sh; use_venv "{environment}" samples'
    both = [subprocess.Popen(["bash", "-c", script], cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "calls").read_text() == "began\n"


def test_an_environment_that_cannot_be_made_ends_the_script(tmp_path):
    environment = tmp_path / "venv"
    python = environment / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    script = f'set -euo pipefail; source deploy/venv.sh; use_venv "{environment}" samples; echo on'
    ended = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert not (environment / ".installed").exists()
