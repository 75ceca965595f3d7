"""What a loss of power may leave: nothing is listed that has not reached the disk."""

from __future__ import annotations

import os
import pathlib

import pytest

from image_features.models.cache import make_entry
from image_features.pipeline.dataset.claim import Claim
from tests import datasets, images


class Recorder:
    """The calls that order what reaches the disk, with the paths that they are about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        fsync, replace, link, rename, mkdir = os.fsync, os.replace, os.link, os.rename, os.mkdir

        def record_fsync(descriptor):
            self.calls.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
            fsync(descriptor)

        def recorded(name, call):
            def record(source, target):
                call(source, target)
                self.calls.append((name, f"{source} {target}"))

            return record

        def record_mkdir(path, *mode):
            mkdir(path, *mode)
            self.calls.append(("mkdir", str(path)))

        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "replace", recorded("named", replace))
        monkeypatch.setattr(os, "link", recorded("named", link))
        monkeypatch.setattr(os, "rename", recorded("named", rename))
        monkeypatch.setattr(os, "mkdir", record_mkdir)

    def named(self, path: object) -> int:
        """Returns when a path got its name, and checks that its content was flushed before."""
        (when,) = (
            position
            for position, (call, what) in enumerate(self.calls)
            if call == "named" and what.split(" ")[1] == str(path)
        )
        part = self.calls[when][1].split(" ")[0]
        assert ("sync", part) in self.calls[:when], f"{path} has a name before a content."
        return when

    def synced(self, path: object, *, after: int) -> int:
        """Returns when a path was flushed next."""
        return self.calls.index(("sync", str(path)), after)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Linux tells a descriptor's path.")
def test_a_commit_lists_only_what_has_reached_the_disk(tmp_path, monkeypatch):
    photos = images.write_noise(tmp_path / "photos", 5)
    recorder = Recorder(monkeypatch)
    run = datasets.extract(photos, tmp_path / "new" / "out", "run", "--num_shards=2")
    listed = [entry["name"] for entry in datasets.record_of(run)["files"]]
    assert len(listed) >= 10
    last = max(recorder.named(run / name) for name in listed)
    committed = recorder.named(run / "run.json")
    assert last < recorder.synced(run, after=last) < committed
    assert recorder.synced(run, after=committed)
    for made in (tmp_path / "new", tmp_path / "new" / "out", run, run / ".staging"):
        recorder.synced(made.parent, after=recorder.calls.index(("mkdir", str(made))))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Linux tells a descriptor's path.")
def test_a_claim_and_an_entry_of_the_cache_appear_with_their_content(tmp_path, monkeypatch):
    recorder = Recorder(monkeypatch)
    Claim(str(tmp_path)).take()
    recorder.named(tmp_path / "claim.json")
    target = tmp_path / "cache" / "entry"

    def make(staging: str) -> None:
        (pathlib.Path(staging) / "variables").mkdir()
        (pathlib.Path(staging) / "variables" / "x").write_text("1")

    make_entry(str(target), make)
    when = recorder.named(target)
    part = recorder.calls[when][1].split(" ")[0]
    for inside in ("variables/x", "variables"):
        assert ("sync", f"{part}/{inside}") in recorder.calls[:when]
    assert recorder.synced(target.parent, after=when)
