"""The order in which things reach the disk."""

from __future__ import annotations

import errno
import os

import pytest

from image_features.system import disks
from image_features.transforms.stores.files import create_once, create_whole


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_flush_will_do(tmp_path, monkeypatch, code):
    def refuse(descriptor):
        raise OSError(code, "refused")

    monkeypatch.setattr(os, "fsync", refuse)
    disks.make_directories(str(tmp_path / "a" / "b"))
    assert create_once(str(tmp_path / "a" / "x"), b"1", str(tmp_path / "part"))


def test_a_disk_that_fails_is_not_believed(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="failed"):
        create_once(str(tmp_path / "x"), b"1", str(tmp_path / "part"))
    with (
        pytest.raises(OSError, match="failed"),
        create_whole(str(tmp_path / "x"), str(tmp_path / "part")) as file,
    ):
        file.write(b"1")
    assert os.listdir(tmp_path) == []


def test_directories_are_made_where_they_can_be(tmp_path):
    (tmp_path / "file").write_text("")
    disks.make_directories(str(tmp_path / "new" / "x"))
    disks.make_directories(str(tmp_path / "new" / "x"))
    for taken in ("file", "file/below"):
        with pytest.raises(NotADirectoryError):
            disks.make_directories(str(tmp_path / taken))
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OSError):
        disks.make_directories(str(tmp_path / "link"))
    assert not (tmp_path / "nowhere").exists()
