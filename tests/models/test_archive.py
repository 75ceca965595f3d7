"""Hostile and damaged archives."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from image_features.errors import ModelError
from image_features.models import limits
from image_features.models.archive import is_archive, unpack


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def _archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([_member("../escaped")], r"contains '\.\.'"),
        ([_member("a/../../escaped")], r"contains '\.\.'"),
        ([_member("/tmp/escaped")], "is absolute"),
        ([_member("link", tarfile.SYMTYPE, "../..")], "outside the destination"),
        ([_member("link", tarfile.SYMTYPE, "/etc/passwd")], "absolute path"),
        ([_member("hard", tarfile.LNKTYPE, "../secret")], "outside the destination"),
        ([_member("null", tarfile.CHRTYPE)], "device"),
        ([_member("pipe", tarfile.FIFOTYPE)], "device"),
    ],
)
def test_unsafe_members_are_refused(
    members: list[tarfile.TarInfo], reason: str, tmp_path: Path
) -> None:
    path = _archive(tmp_path / "m.tar.gz", *((member, b"") for member in members))
    target = tmp_path / "in" / "side"
    target.mkdir(parents=True)
    with pytest.raises(ModelError, match=f"refused because of its member .*{reason}"):
        unpack(path, str(target), "m.tar.gz")
    assert os.listdir(target) == []
    assert sorted(os.listdir(tmp_path)) == ["in", "m.tar.gz"]


def test_write_through_a_link_is_refused(tmp_path: Path) -> None:
    path = _archive(
        tmp_path / "m.tar.gz",
        (_member("d", tarfile.SYMTYPE, ".."), b""),
        (_member("d/escaped"), b"x"),
    )
    (tmp_path / "to").mkdir()
    with pytest.raises(ModelError, match="refused"):
        unpack(path, str(tmp_path / "to"), "m.tar.gz")
    assert not (tmp_path / "escaped").exists()


def _bomb(path: Path) -> str:
    return _archive(path, (_member("zeros"), bytes(100_001)))


def _crowd(path: Path) -> str:
    return _archive(path, *((_member(str(index)), b"") for index in range(11)))


def _header_bomb(path: Path) -> str:
    member = _member("small")
    member.pax_headers = {"comment": "x" * 3_000_000}
    return _archive(path, (member, b""))


@pytest.mark.parametrize("make", [_bomb, _crowd, _header_bomb])
def test_bombs_are_refused(
    make: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 100_000)
    monkeypatch.setattr(limits, "MAX_MEMBERS", 10)
    (tmp_path / "to").mkdir()
    with pytest.raises(ModelError, match="unpacks to more than 100000 bytes or 10 files"):
        unpack(make(tmp_path / "m.tar.gz"), str(tmp_path / "to"), "m.tar.gz")


@pytest.mark.parametrize("cut", [0, 40, 0.5])
def test_damaged_archives_are_refused(cut: float, archive: str, tmp_path: Path) -> None:
    data = Path(archive).read_bytes()
    kept = data[: int(cut * len(data)) if cut < 1 else int(cut)] if cut else b"<html>no</html>"
    (tmp_path / "m.tar.gz").write_bytes(kept)
    (tmp_path / "to").mkdir()
    with pytest.raises(ModelError, match="not a whole gzipped tar file"):
        unpack(str(tmp_path / "m.tar.gz"), str(tmp_path / "to"), "m.tar.gz")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.tar.gz", True), ("A.TGZ", True), ("a.tar", True), ("a.tar.xz", True), ("a.gz", False)],
)
def test_is_archive(name: str, expected: bool) -> None:
    assert is_archive(name) is expected
