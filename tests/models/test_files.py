"""Directories that appear whole, and their content hash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from image_features.errors import ModelError
from image_features.models import files
from image_features.models.files import content_hash


def test_content_hash_ignores_only_the_fingerprint(tf1_dir: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tf1_dir, copy)
    (copy / "fingerprint.pb").write_bytes(os.urandom(8))
    assert content_hash(str(copy)) == content_hash(tf1_dir)
    (copy / "assets").mkdir()
    (copy / "assets" / "x").write_text("")
    assert content_hash(str(copy)) != content_hash(tf1_dir)


def test_existing_target_is_kept(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious").write_text("x")
    with (
        pytest.raises(ModelError, match="does not exist yet"),
        files.staged_directory(str(tmp_path / "taken")),
    ):
        pass
    assert os.listdir(tmp_path) == ["taken"]
    assert (tmp_path / "taken" / "precious").read_text() == "x"


_DIES = """
import os, sys
from image_features.models.files import staged_directory
with staged_directory(sys.argv[1]) as staging:
    open(os.path.join(staging, "half"), "w").close()
    os.kill(os.getpid(), 9)
"""


def test_what_killed_processes_left_is_removed_and_what_living_ones_make_is_not(
    tmp_path: Path,
) -> None:
    target = tmp_path / "parent" / "target"
    subprocess.run([sys.executable, "-c", _DIES, str(target)])
    (dead,) = os.listdir(target.parent)
    with files.staged_directory(str(target)) as living:
        assert dead not in os.listdir(target.parent)
        # An export renames its own directory to the one that it was given.
        with files.staged_directory(living) as inner:
            assert len(os.listdir(target.parent)) == 2
            Path(inner, "whole").touch()
        with files.staged_directory(str(target.parent / "other")):
            assert os.listdir(living) == ["whole"]
    assert sorted(os.listdir(target.parent)) == ["other", "target"]
    assert os.listdir(target) == ["whole"]
