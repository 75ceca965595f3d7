"""The model cache: what is lost or spoiled in it is made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from image_features.errors import ModelError
from image_features.models import compiler
from image_features.models.cache import cached
from image_features.models.compiler import CompiledModel, compile_module
from image_features.models.handles import ResolvedModule
from image_features.models.identity import Precision

Damage = Callable[[Path], object]


def _cut(name: str, size: int = 3) -> Damage:
    return lambda entry: os.truncate(entry / name, size)


def _lose(name: str) -> Damage:
    def lose(entry: Path) -> None:
        path = entry / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return lose


def _write(name: str, data: bytes) -> Damage:
    return lambda entry: (entry / name).write_bytes(data)


def _as_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("")


def _as_a_link(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.symlink_to("nowhere")


@pytest.mark.parametrize(
    "damage",
    [
        _cut("saved_model.pb"),
        _cut("saved_model.pb", 0),
        _lose("saved_model.pb"),
        _lose("variables"),
        _lose("variables/data"),
        _cut("variables/data"),
        _write("variables/data", b"0123456780"),
        _cut(".image-features-seal.json", 0),
        _write(".image-features-seal.json", b"[]"),
        _as_a_file,
        _as_a_link,
    ],
)
def test_a_module_that_is_damaged_is_made_again(
    damage: Damage, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[str] = []

    def make(staging: str) -> None:
        made.append(staging)
        (Path(staging) / "saved_model.pb").write_bytes(b"0123456789")
        (Path(staging) / "variables").mkdir()
        (Path(staging) / "variables" / "data").write_bytes(b"0123456789")

    directory, digest = cached("key", make)
    assert cached("key", make) == (directory, digest)
    assert len(made) == 1
    damage(Path(directory))
    assert cached("key", make) == (directory, digest)
    assert len(made) == 2
    assert f"{directory} in the model cache is damaged: it is made anew." in caplog.text
    assert cached("key", make) == (directory, digest)
    assert len(made) == 2
    assert os.listdir(own_cache) == [os.path.basename(directory)]


def test_a_module_of_an_earlier_version_is_taken_as_it_is(own_cache: Path) -> None:
    """It has no seal, and may come from where nothing can be fetched now."""

    def make(staging: str) -> None:
        (Path(staging) / "saved_model.pb").write_bytes(b"0")

    directory, digest = cached("key", make)
    (Path(directory) / ".image-features-seal.json").unlink()
    assert cached("key", lambda _: pytest.fail("made again")) == (directory, digest)


@pytest.mark.parametrize(
    "damage",
    [
        _cut("model.tflite"),
        _lose("model.tflite"),
        _write("model.tflite", b"0123456780"),
        _cut("model.json", 0),
        _cut("model.json", 30),
        _lose("model.json"),
        _write("model.json", b"[1]"),
        _write("model.json", b"\xff\x00"),
        _as_a_file,
    ],
)
def test_a_compiled_model_that_is_damaged_is_compiled_again(
    damage: Damage, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def compile_it(module: ResolvedModule, precision: Precision, *rest: object) -> None:
        staging = str(rest[-1])
        compiled.append(staging)
        data = b"0123456789"
        path = os.path.join(staging, "model.tflite")
        digest = compiler.hashlib.sha256(data).hexdigest()
        model = CompiledModel(path, digest, (96, 96), 1280, 0.0, 0.0)
        Path(path).write_bytes(data)
        description = compiler.json.dumps(model.to_json())
        (Path(staging) / "model.json").write_text(description)

    monkeypatch.setattr(compiler, "_write", compile_it)
    module = ResolvedModule("m", "/m", "hash")
    found = compile_module(module)
    damage(Path(found.path).parent)
    assert compile_module(module) == found
    assert compile_module(module) == found
    assert len(compiled) == 2


def test_a_cache_that_cannot_be_written_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        monkeypatch.setenv("IMAGE_FEATURES_CACHE", str(place))
        with pytest.raises(ModelError, match=r"cannot be written .*set IMAGE_FEATURES_CACHE"):
            cached("key", lambda _: None)
