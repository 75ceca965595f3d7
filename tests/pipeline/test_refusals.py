"""What a machine refuses ends in one sentence that names the file: full disks, damaged shards."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil

import pytest

from image_features.errors import DamagedRunError, UnreadableRunError
from image_features.models.engines import prepare
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset.reading import load, load_numpy
from tests import datasets, images

# How the system calls a disk where no file can become larger, which fails as a full one does.
FULL = "File too large"


@contextlib.contextmanager
def full_disk(size):
    """A disk on which no file can have more bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def refused(capfd, caplog):
    """Runs a command that must end in a sentence; returns it, and what is said after it."""

    def run(code, *arguments):
        capfd.readouterr()
        assert cli.main([str(argument) for argument in arguments]) == code
        told = capfd.readouterr().err
        assert "Traceback" not in told + caplog.text
        lines = [line for line in told.splitlines() if line.startswith("image-features: ")]
        assert lines == told.splitlines()
        return lines[0]

    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    prepare("untrained")  # What is in the cache needs no room.
    return images.write_noise(tmp_path_factory.mktemp("made") / "photos", 20)


def test_a_full_output(photos, tmp_path, refused):
    arguments = ["extract", "--model=untrained", f"--input={photos}", f"--output={tmp_path}/out"]
    with full_disk(20_000):
        said = refused(1, *arguments, "--run_id=r")
    assert f"The run r failed and is not committed: {tmp_path}/out/r/.staging/" in said
    assert said.endswith(f": {FULL}.")
    assert cli.main([*arguments, "--run_id=r"]) == 0
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading", "multi_processing"])
def test_a_guard(photos, tmp_path, refused, mode):
    """Workers in threads and processes, of which many cores get several, print no traceback."""
    options = ["--model=untrained", f"--input={photos}", f"--output={tmp_path}/out"]
    if mode != "in_memory":
        options += [f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    said = refused(5, "extract", *options, "--min_rows=100")
    assert "fewer than --min_rows=100" in said


@pytest.mark.parametrize("command", ["report", "samples", "convert", "slim"])
def test_a_full_disk_keeps_no_half_of_anything(photos, tmp_path, refused, command):
    dataset = datasets.extract(photos, tmp_path / "out", "run") if command == "report" else ""
    target = tmp_path / "made" / "here"
    target.parent.mkdir()
    convert = ["model", "convert", "untrained", target]
    arguments = {
        "report": ["report", dataset, f"--output={target}"],
        "samples": ["samples", target],
        "convert": [*convert, "--format=tf2"],
        "slim": [*convert, "--format=slim"],
    }[command]
    with full_disk(10_000):
        said = refused(2, *arguments)
    assert str(target) in said and FULL in said
    assert not [path for path in target.parent.rglob("*") if path.is_file()]


@pytest.mark.parametrize("command", ["extract", "describe"])
def test_a_full_cache(photos, tmp_path, refused, own_cache, command):
    arguments = {
        "extract": ["extract", "--model=untrained", f"--input={photos}", f"--output={tmp_path}/o"],
        "describe": ["model", "describe", "untrained"],
    }[command]
    with full_disk(10_000):
        said = refused(2, *arguments)
    assert f"The model cache '{own_cache}' cannot be written ({FULL})" in said
    assert "IMAGE_FEATURES_CACHE" in said
    assert not list(own_cache.iterdir())


def test_a_training_is_refused_before_it_starts(tmp_path, refused):
    """Not at its end, after hours."""
    (tmp_path / "file").touch()
    for option in ("--output", "--work"):
        places = {"--output": tmp_path / "model", "--work": tmp_path / "work"}
        places[option] = tmp_path / "file" / "here" / "below"
        given = [f"{name}={place}" for name, place in places.items()]
        assert option in refused(2, "model", "finetune", "--train=none.csv", *given)


DAMAGES = {
    "length": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "data": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "cut": lambda data: data[:-100],
}


@pytest.fixture(scope="module")
def sound(photos, tmp_path_factory):
    output = tmp_path_factory.mktemp("sound")
    for name, option in (("1", "--compression=none"), ("2", "--compression=gzip")):
        datasets.extract(photos, output, name, "--num_shards=2", option)
    return output


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("run", ["1", "2"])
def test_a_damaged_shard_is_named(photos, sound, tmp_path, refused, damage, run):
    dataset = tmp_path / "dataset"
    shutil.copytree(sound, dataset)
    if run == "1":  # Readers would see the later one's rows only.
        shutil.rmtree(dataset / "2")
    (shard,) = dataset.glob(f"{run}/features-00001*")
    shard.write_bytes(DAMAGES[damage](shard.read_bytes()))
    assert f"{shard.name} is not the file" in refused(1, "inspect", dataset / run)
    for command in (
        ["search", dataset, photos / "1.jpg"],
        ["report", dataset, f"--output={tmp_path}/page.html"],
    ):
        said = refused(2, *command)
        assert shard.name in said
        if damage != "cut":
            assert f"{shard} is damaged (" in said
    with pytest.raises(DamagedRunError, match=shard.name):
        load_numpy(str(dataset))
    if damage == "cut":
        with pytest.raises(ValueError, match=f"has lost {shard.name}"):
            load(str(dataset))


@pytest.mark.parametrize("kind", ["features", "index"])
def test_a_merging_names_what_is_damaged(sound, tmp_path, refused, kind):
    dataset = tmp_path / "dataset"
    shutil.copytree(sound, dataset)
    (file,) = dataset.glob(f"2/{kind}-00001*")
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 0x55]))
    said = refused(1, "compact", dataset, "--num_shards=3")
    assert f"is not committed: {file} is damaged (" in said and "while running" not in said


def test_a_commit_file_that_lacks_something_is_named(sound, tmp_path, refused):
    dataset = tmp_path / "dataset"
    shutil.copytree(sound, dataset)
    file = dataset / "2" / "run.json"
    for content in ('{"format_version": 1}', "[]", "", '{"format_version": "x"}'):
        file.write_text(content)
        for command in ("inspect", "report", "compact", "gc"):
            assert f"{file} is not a run's commit file" in refused(2, command, dataset)
        with pytest.raises(UnreadableRunError, match=str(file)):
            load_numpy(str(dataset))
    record = json.loads((dataset / "1" / "run.json").read_text())
    file.write_text(json.dumps({**record, "format_version": 99}))
    assert "upgrade" in refused(2, "inspect", dataset)
