"""Streams that are closed, full, or pipes that nobody reads: to tell of work is not the work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import datasets, images

_STREAMS = (
    "import os, sys\nfrom image_features.pipeline import streams\nstreams.open_closed_streams()\n"
)


def shell(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `"$@"` in a shell, with the redirections of a command; returns what came through."""
    words = ["bash", "-c", command, "bash", sys.executable, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    place = tmp_path_factory.mktemp("streams")
    photos = images.write_noise(place / "photos", 2)
    datasets.extract(photos, place / "out", "first")
    return place


def extract(dataset, run_id):
    arguments = ["-m", "image_features", "extract", "--model=untrained", f"--run_id={run_id}"]
    return [*arguments, f"--input={dataset}/photos", f"--output={dataset}/out"]


@pytest.mark.parametrize(
    ("name", "redirected"),
    [
        ("full", '"$@" > /dev/full'),
        ("closed", '"$@" <&- >&- 2>&-'),
        # The status is that of the command, not of the pipe's end.
        ("head", 'set -o pipefail; "$@" | head -0'),
    ],
)
def test_the_exit_code_of_a_run_tells_about_the_run(dataset, name, redirected):
    ended = shell(redirected, *extract(dataset, name))
    assert ended.returncode == 0, ended.stderr
    assert "Error" not in ended.stderr
    assert datasets.counts(dataset / "out" / name)[:3] == (3, 2, 1)


@pytest.mark.parametrize(
    ("redirected", "code", "says"),
    [
        ('"$@" > /dev/full', 1, "Standard output cannot be written to: No space left on device."),
        ('"$@" >&-', 1, "Standard output cannot be written to: Bad file descriptor."),
        ('set -o pipefail; "$@" | head -0', 141, ""),
        ('"$@" 2>&-', 0, ""),
        ('"$@" 2> /dev/full', 0, ""),
    ],
)
def test_output_that_was_asked_for_and_is_lost_is_an_error(dataset, redirected, code, says):
    ended = shell(redirected, "-m", "image_features", "inspect", dataset / "out")
    assert ended.returncode == code
    assert ended.stderr.strip() == (says and f"image-features: {says}")
    assert ("verified  every checksum" in ended.stdout) is (code == 0)


@pytest.mark.parametrize("redirected", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_is_taken_for_a_stream_that_is_closed(tmp_path, redirected):
    script = (
        f"{_STREAMS}"
        "with open(sys.argv[1], 'w') as file:\n"
        "    streams.say('said')\n"
        "    streams.complain('complained')\n"
        "    os.write(2, b'written')\n"
        "    assert file.fileno() > 2 and sys.stdin.read() == ''\n"
    )
    path = tmp_path / "shard"
    ended = shell(
        f'"$@" {redirected if "<" in redirected else redirected + " < /dev/null"}',
        "-c",
        script,
        path,
    )
    assert ended.returncode == 0, ended.stderr
    assert path.read_text() == ""


def test_a_name_that_no_encoding_holds_is_shown_escaped():
    script = f"{_STREAMS}streams.say('caf\\udce9 \\u4e16', '\\ud800')\n"
    ended = shell('LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$@"', "-c", script)
    assert (ended.returncode, ended.stdout) == (0, "caf\\udce9 \\u4e16\n\\ud800\n")


@pytest.mark.parametrize("command", [["--help"], ["inspect", "--help"], ["model", "--help"]])
def test_help_that_is_lost_is_an_error(command):
    ended = shell('"$@" > /dev/full', "-m", "image_features", *command)
    assert ended.returncode == 1
    assert "Standard output cannot be written to" in ended.stderr
