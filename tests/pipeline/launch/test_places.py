"""Where a run may lie, and be read from: paths, file URIs, and disks that refuse."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

import image_features
from image_features.pipeline.cli import main as cli
from image_features.pipeline.config import default_run_id, is_run_id
from tests import datasets, images


def test_file_uris_name_paths_in_every_option(tmp_path, capsys, monkeypatch):
    photos = images.write_noise(tmp_path / "my photos", 3)
    uris = [f"file://localhost{photos}/0.jpg".replace(" ", "%20"), f"FILE:{photos}/1.jpg"]
    manifest = tmp_path / "a#b.txt"
    manifest.write_text("\n".join([*uris, f"{photos}/2.jpg", "file://elsewhere/x.jpg"]))
    where = f"FILE://{tmp_path}/the%20out%25"
    run = tmp_path / "the out%" / "run"
    arguments = [f"--input=file://{tmp_path}/a%23b.txt", f"--output={where}", "--run_id=run"]
    assert cli.main(["extract", "--model=untrained", *arguments]) == 0
    (error,) = datasets.lines(run, "errors")
    assert (error["uri"], error["reason"]) == ("file://elsewhere/x.jpg", "unsupported_scheme")
    assert "names no file of this machine" in error["message"]
    assert datasets.names(where) == ["0.jpg", "1.jpg", "2.jpg"]
    assert image_features.load_numpy(where).uris[0].startswith(f"{photos}/")
    capsys.readouterr()
    assert cli.main(["search", where, uris[0], "-k", "1"]) == 0
    assert f"1.0000  {photos}/0.jpg" in capsys.readouterr().out
    for command in (["inspect", where], ["gc", where], ["compact", where]):
        assert cli.main(command) == 0
    monkeypatch.chdir(tmp_path)
    (found,) = image_features.runs("the out%")
    monkeypatch.chdir("/")
    assert os.path.exists(found.path(found.files()[0]))  # Whatever the current directory is.
    assert sorted(os.listdir(tmp_path)) == ["a#b.txt", "my photos", "the out%"]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("file://elsewhere/data", "a file of the machine elsewhere"),
        ("http://host/data", "cannot be used"),
        ("NOSUCH://host/data", "cannot be used"),
        ("/", "the root of all paths"),
        ("caf\udce9", "not UTF-8"),
        ("x" * 300, "File name too long"),
        ("abcdefgh/" * 440, "too long"),
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("broken", "Not a directory"),
        ("/proc/data", "cannot be used"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_any_work(
    tmp_path, monkeypatch, capsys, output, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").symlink_to("nowhere")
    arguments = ["--model=nowhere", "--input=nowhere", f"--output={output}"]
    assert cli.main(["extract", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("image-features: ")
    assert says in error
    assert sorted(os.listdir(tmp_path)) == ["broken", "file"]


def test_a_full_disk_costs_nothing_but_time(tmp_path):
    """A limit on files is as good as a full disk, for any user."""
    photos = images.write_noise(tmp_path / "photos", 20)
    command = [sys.executable, "-m", "image_features", "extract", "--model=untrained"]
    command += [f"--input={photos}", f"--output={tmp_path}/out", "--run_id=run", "--num_shards=1"]
    stopped = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
    )
    assert stopped.returncode == 1
    assert "The run run failed and is not committed" in stopped.stderr
    assert f"{tmp_path}/out/run/" in stopped.stderr
    run = tmp_path / "out" / "run"
    assert not [name for name in datasets.files(run) if name.endswith(".part")]
    assert not (run / "run.json").exists()
    datasets.extract(photos, tmp_path / "out", "run", "--num_shards=1")
    assert datasets.counts(run)[:2] == (21, 20)


def test_launches_of_one_second_have_names_of_their_own():
    names = [default_run_id() for _ in range(1000)]
    assert len(set(names)) == 1000
    assert all(map(is_run_id, names))
    # They sort by time, beside those of earlier versions.
    assert "20261124T125211Z-ffffff" < "20261124T125212Z" < "20261124T125212Z-000000"
    assert [name[:16] for name in names] == sorted(name[:16] for name in names)
