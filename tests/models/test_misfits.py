"""What is given for a module and is none: each is told by its content, with the way out."""

from __future__ import annotations

import bz2
import json
import lzma
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from image_features.errors import ModelError
from image_features.models.handles import resolve
from tests.models.tiny import means, save

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save(tmp_path_factory.mktemp("module") / "mean", means))


def _tflite(path: Path, module: Path) -> None:
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))


def _onnx(path: Path, module: Path) -> None:
    path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(20))


def _safetensors(path: Path, module: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))


def _torch(path: Path, module: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"")


def _pickle(path: Path, module: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": 1}))


def _zip(path: Path, module: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(module / "saved_model.pb", "saved_model.pb")


def _half_a_zip(path: Path, module: Path) -> None:
    _zip(path, module)
    path.write_bytes(path.read_bytes()[:100])


def _graph_def(path: Path, module: Path) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3])
    path.write_bytes(graph.as_graph_def().SerializeToString())


def _the_graph(path: Path, module: Path) -> None:
    shutil.copy(module / "saved_model.pb", path)


def _keras(path: Path, module: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"")


def _text(path: Path, module: Path) -> None:
    path.write_text("hello")


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("m.tflite", _tflite, "is a TFLite model, not a module: name the SavedModel"),
        ("m.onnx", _onnx, "is an ONNX model, not a module: .* onnx2tf"),
        ("m.safetensors", _safetensors, "is a safetensors file of weights.* onnx2tf"),
        ("m.pt", _torch, "is a PyTorch model.* onnx2tf"),
        ("m.pth", _pickle, "is a PyTorch model.* onnx2tf"),
        ("m.zip", _zip, "is a .zip archive, not a module: unpack it"),
        ("half.zip", _half_a_zip, "does not end as one .*; copy it afresh"),
        ("frozen.pb", _graph_def, "is a frozen graph without a signature.*names its input"),
        ("saved_model.pb", _the_graph, "is the graph of a SavedModel.*name the directory"),
        ("m.keras", _keras, "is a .keras archive.*image-features model convert"),
        ("m.bin", _text, "neither a directory nor"),
        ("short", lambda path, _: path.write_bytes(b"\x08"), "neither a directory nor"),
        ("empty", lambda path, _: path.write_bytes(b""), "is an empty file; copy it afresh"),
        ("m.tar.gz", lambda path, _: path.write_bytes(LFS), "m.tar.gz' is a Git LFS pointer"),
        ("m.h5", lambda path, _: path.write_bytes(LFS), "m.h5' is a Git LFS pointer"),
        (
            "m.tgz",
            lambda path, _: path.write_bytes(b"<!DOCTYPE html><html>Sign in</html>"),
            "not a whole gzipped tar file .it is a web page.",
        ),
    ],
)
def test_a_file_that_is_no_module(
    name: str, make: Callable[[Path, Path], object], words: str, module: Path, tmp_path: Path
) -> None:
    make(tmp_path / name, module)
    with pytest.raises(ModelError, match=words) as caught:
        resolve(str(tmp_path / name))
    assert name in str(caught.value)
    # In a directory it is named too.
    if "LFS" in words or make in (_tflite, _onnx, _safetensors, _torch, _keras):
        with pytest.raises(ModelError, match=name):
            resolve(str(tmp_path))


def test_a_directory_above_names_the_module(module: Path, tmp_path: Path) -> None:
    shutil.copytree(module, tmp_path / "model" / "1")
    with pytest.raises(ModelError, match=r"but '.*model/1' is one: name that"):
        resolve(str(tmp_path / "model"))
    with pytest.raises(ModelError, match=r"but '.*model/1' is one: name that"):
        resolve(str(tmp_path))
    shutil.copytree(module, tmp_path / "model" / "2")
    with pytest.raises(ModelError, match="the directories '1', '2' in it are: name one"):
        resolve(str(tmp_path / "model"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_archives_are_told_by_their_content(
    mode: str, module: Path, tmp_path: Path, own_cache: Path
) -> None:
    archive = tmp_path / "download"
    with tarfile.open(archive, mode) as tar:
        tar.add(module, arcname="home/me/models/mean")
        tar.add(module / "saved_model.pb", arcname="home/me/models/other.pb")
    found = resolve(str(archive))
    assert found.content_hash == resolve(str(module)).content_hash
    for name in ("half", "half.tar.gz", "half.tar"):
        half = tmp_path / name
        half.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
        with pytest.raises(ModelError, match=f"{name}' is not a whole gzipped tar file"):
            resolve(str(half))


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_a_bomb_of_another_compression_is_refused(
    compress: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from image_features.models import limits

    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 100_000)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo("zeros")
        member.size = 3_000_000
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    (tmp_path / "bomb").write_bytes(compress(plain.getvalue()))
    with pytest.raises(ModelError, match="unpacks to more than 100000 bytes"):
        resolve(str(tmp_path / "bomb"))
