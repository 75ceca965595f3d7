"""What version 0.1 has written is read, taken up, extended, merged and searched as it was by it."""

from __future__ import annotations

import base64
import fcntl
import importlib.metadata
import json
import logging
import os
import pathlib
import shutil

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset.reading import load_numpy
from image_features.pipeline.dataset.run import Run
from image_features.transforms.images.policy import DecodePolicy

FIXTURE = pathlib.Path(__file__).parents[1] / "data" / "v0_1"
EXPECTED = json.loads((FIXTURE / "expected.json").read_text())
# Keys are hashes of absolute URIs, so that the dataset must lie where it was made.
ROOT = pathlib.Path(EXPECTED["root"])


def copy(source, target):
    """Copies files as a checkout does: with new times and without empty directories."""
    for path in source.rglob("*"):
        if path.is_file():
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(path.read_bytes())


@pytest.fixture(scope="module")
def root():
    """The dataset in its place, the inputs with the times of change that runs know them by."""
    with open(f"{ROOT}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(ROOT, ignore_errors=True)
        copy(FIXTURE / ROOT.name, ROOT)
        for name, time in json.loads((FIXTURE / "mtimes.json").read_text()).items():
            os.utime(ROOT / name, ns=(time, time))
        yield ROOT
        shutil.rmtree(ROOT)


def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value.item() if hasattr(value, "item") else value


@pytest.mark.parametrize("name", EXPECTED["read"])
def test_rows_are_read_as_they_were(root, name):
    arrays = load_numpy(str(root / name))
    order = arrays.keys.argsort().tolist()
    columns = arrays.columns.items()
    assert EXPECTED["read"][name] == {
        "keys": arrays.keys[order].tolist(),
        "uris": arrays.uris[order].tolist(),
        "features": arrays.features[order].tolist(),
        "columns": {column: [plain(values[row]) for row in order] for column, values in columns},
    }


@pytest.mark.parametrize("search", EXPECTED["search"], ids=lambda search: search["dataset"])
def test_rows_are_found_as_they_were(root, search, capsys):
    assert cli.main(search["arguments"]) == 0
    assert capsys.readouterr().out.splitlines() == search["lines"]


@pytest.fixture
def versions(monkeypatch):
    """The versions of the fixture, of packages and of decoding: newer ones refuse its attempts."""
    version = importlib.metadata.version
    known = EXPECTED["versions"]
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: known.get(name) or version(name)
    )
    # The fixture's files are decoded to the same pixels by every edition.
    monkeypatch.setattr(DecodePolicy, "NEWEST", 1)


@pytest.mark.parametrize("step", EXPECTED["steps"], ids=lambda step: step["name"])
def test_the_same_input_gives_the_same_bytes(root, step, versions, caplog):
    if step["copies"]:
        copy(root / step["copies"][0], root / step["copies"][1])
    for name in step["removes"]:
        shutil.rmtree(root / name)
    with caplog.at_level(logging.INFO):
        assert cli.main(step["arguments"]) == step["exit_code"]
    for sentence in step["says"]:
        assert sentence in caplog.text
    events = [json.loads(text) for text in caplog.messages if text.startswith('{"event"')]
    taken = [event for event in events if event["event"] == "taken_over"]
    assert sorted(taken, key=lambda event: event["shard"]) == step["taken_over"]

    run = Run.read(str(root / step["run"]))
    assert run is not None and inspection.verify(run) == []
    assert run.record["model"]["engine"] == "litert"
    assert run.counts.to_json() == run.record["counts"] == step["counts"]
    if step["fingerprint"]:
        assert run.fingerprint == step["fingerprint"]
    wanted = {(file["kind"], file["name"]): file["sha256"] for file in step["files"]}
    files = {(file.kind, file.name): file.sha256 for file in run.all_files}
    if importlib.metadata.version("pyarrow") != EXPECTED["versions"]["pyarrow"]:
        # An index is Parquet, which says who wrote it.
        wanted = {file: sha256 for file, sha256 in wanted.items() if file[0] != "index"}
    # Errors tell in a sentence what is wrong with a file, and sentences get better; counts tell the
    # reasons.
    wanted = {file: sha256 for file, sha256 in wanted.items() if file[0] != "errors"}
    assert wanted.items() <= files.items()
    assert {kind for kind, _ in files} - {kind for kind, _ in wanted} <= {
        "errors",
        "health",
        "metrics",
        "index",
    }
    assert not (root / step["run"] / ".staging").exists()
