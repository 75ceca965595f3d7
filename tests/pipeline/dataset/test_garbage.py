"""The removal of what is of no more use."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from image_features.errors import RunHeldError
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import garbage, inspection
from image_features.pipeline.dataset.claim import Claim
from image_features.pipeline.dataset.run import latest_run, read_record
from tests import datasets
from tests.datasets import compact, files


def test_garbage_is_told_before_it_goes(nights, capsys):
    compact(nights)
    whole = files(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0", "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert files(nights) == whole
    assert told.count("would remove") == 3
    assert all(f"would remove {nights}/{name} (merged into all" in told for name in "123")
    # Whoever reads them now may go on doing so.
    assert cli.main(["gc", str(nights)]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert {path.name for path in nights.iterdir()} == {"all"}


def test_what_replaces_others_must_be_whole(nights, capsys):
    run = compact(nights)
    lost = max(run.glob("features-*"), key=lambda path: path.stat().st_size)
    lost.write_bytes(lost.read_bytes()[:-1])
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 1
    assert (
        f"has lost {lost.name}: what is left of the runs that it replaces"
        in capsys.readouterr().err
    )
    assert {path.name for path in nights.iterdir()} == {"1", "2", "3", "all"}


@pytest.mark.parametrize("left", [False, True])
def test_a_run_that_has_the_place_of_a_merged_one_stays(nights, nights_photos, left):
    merged = compact(nights)
    if left:
        (nights / "1" / "run.json").unlink()
    listed = garbage.find_garbage(
        garbage.look_at(str(nights)), merged_before=time.time(), died_before=0
    )
    shutil.rmtree(nights / "1")
    datasets.extract(nights_photos, nights, "1")
    for found in listed:
        if found.directory == str(nights / "1"):
            with pytest.raises(RunHeldError):
                garbage.remove(found)
        else:
            garbage.remove(found)
    assert sorted(os.listdir(nights)) == ["1", merged.name]
    assert inspection.verify(latest_run(str(nights / "1"))) == []


def test_what_a_removal_has_left_goes_the_next_time(nights, capsys):
    compact(nights)
    (nights / "2" / "run.json").unlink()
    (nights / "2" / "errors-00000-of-00001.jsonl").unlink()
    # Begun anew under a name that was merged: that is an attempt.
    for name in os.listdir(nights / "3"):
        (nights / "3" / name).unlink()
    (nights / "3" / ".staging").mkdir()
    (nights / "3" / ".staging" / "launch.json").write_text("{}")
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert f"{nights}/2 (left of a run merged into all" in capsys.readouterr().out
    assert sorted(os.listdir(nights)) == ["3", "all"]


@pytest.mark.parametrize("ends", ["held", "committed"])
def test_what_is_taken_up_while_others_go_is_kept(nights, ends, capsys, monkeypatch):
    for name in "ab":
        staging = nights / name / ".staging"
        staging.mkdir(parents=True)
        (staging / "launch.json").write_text("{}")
        os.utime(staging / "launch.json", (1, 1))
    remove = garbage.remove_tree

    def taken_up(directory):
        remove(directory)
        if ends == "held":
            Claim(str(nights / "b" / ".staging")).take()
        else:
            shutil.copy(nights / "1" / "run.json", nights / "b")

    monkeypatch.setattr(garbage, "remove_tree", taken_up)
    assert cli.main(["gc", str(nights)]) == 0
    told = capsys.readouterr().out
    assert f"removed {nights}/a" in told
    assert f"{nights}/b is kept: " in told
    assert (nights / "b" / ".staging" / "launch.json").exists()


def test_attempts_that_nobody_takes_up_go(nights, capsys):
    out, run = nights, nights / "1"

    def attempt(name, age, **claim):
        staging = out / name / ".staging"
        staging.mkdir(parents=True)
        (staging / "launch.json").write_text("{}")
        (out / name / "features-00000-of-00001.tfrecord").write_bytes(b"x" * 100)
        if claim:
            (staging / "claim.json").write_text(json.dumps(claim))
        for path in (out / name).rglob("*"):
            os.utime(path, (time.time() - age,) * 2)

    day = 86400
    attempt("old", 8 * day)
    attempt("young", 6 * day)
    attempt("held", 8 * day, holder="x", host="elsewhere", process=1, expires=time.time() + 100)
    attempt("let-go", 8 * day, holder="x", host="elsewhere", process=1, expires=time.time() - 100)
    (run / ".staging").mkdir()
    (run / ".staging" / "x").write_text("left")
    os.utime(run / ".staging" / "x", (1, 1))
    # Not ours: a directory of somebody else's.
    (out / "theirs").mkdir()
    (out / "theirs" / "file").write_text("dear to somebody")
    os.utime(out / "theirs" / "file", (1, 1))
    committed = files(run)
    assert cli.main(["gc", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"removed {out}/old (an attempt that was not committed, 0.0 MB)" in told
    assert f"removed {run}/.staging (left in a committed run" in told
    assert {path.name for path in out.iterdir()} == {
        *"123",
        "young",
        "held",
        "theirs",
    }
    assert files(run) == [name for name in committed if not name.startswith(".staging")]
    assert inspection.verify(latest_run(str(run))) == []


def test_no_dataset_is_no_garbage(tmp_path, capsys):
    assert cli.main(["gc", str(tmp_path)]) == 2
    assert "There is no run in" in capsys.readouterr().err
    assert cli.main(["gc", str(tmp_path), "--died_days=-1"]) == 2
    assert "is not a number from 0" in capsys.readouterr().err


def test_what_cannot_be_removed_is_said(nights, capsys, monkeypatch):
    compact(nights)
    remove = shutil.rmtree

    def refuse(path, *arguments, **options):
        if path.endswith("/2"):
            raise PermissionError(13, "Permission denied", path)
        remove(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 1
    assert f"{nights}/2 cannot be removed: {nights}/2: Permission denied" in capsys.readouterr().err
    # No reader takes what is left for a run.
    assert read_record(str(nights / "2")) is None
    assert not (nights / "1").exists() and not (nights / "3").exists()
