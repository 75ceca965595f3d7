"""Directories that appear whole, and their content hash."""

from __future__ import annotations

import os
import shutil
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
