"""Modules that are not whole, of other tags, or of operations that are not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from image_features.errors import ModelError
from image_features.models.engines import prepare
from image_features.models.handles import resolve
from image_features.models.identity import Engine
from image_features.models.module import FeatureModule
from image_features.models.saved_model_files import choose_graph, read_graph
from tests.models.tiny import images, means, save, save_tf1

DATA, INDEX = "variables/variables.data-00000-of-00001", "variables/variables.index"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module with variables, of either version of TensorFlow."""
    place = tmp_path_factory.mktemp("sound")
    weights = tf.Variable(np.eye(3, 400, dtype=np.float32))
    save(place / "tf2", lambda batch: means(batch) @ weights, weights=weights)
    save_tf1(place / "tf1", [], ["train"])
    return place


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("version", ["tf1", "tf2"])
@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        (DATA, os.remove, f"{DATA} is missing"),
        (DATA, _cut, f"{DATA} is cut short or damaged"),
        (DATA, _spoil, f"{DATA} is cut short or damaged"),
        (DATA, lambda path: path.write_bytes(b""), f"{DATA} is empty"),
        (DATA, lambda path: path.write_bytes(LFS), rf"{DATA} of the model .* is a Git LFS pointer"),
        (DATA, _dangle, f"{DATA} is missing"),
        (INDEX, os.remove, f"{INDEX} is missing"),
        (INDEX, _cut, f"{INDEX} is cut short or damaged"),
        (INDEX, lambda path: path.write_bytes(LFS), rf"{INDEX} of the model .* Git LFS pointer"),
        ("variables", shutil.rmtree, f"{INDEX} is missing"),
        ("saved_model.pb", os.remove, r"saved_model\.pb is missing"),
        ("saved_model.pb", _cut, r"saved_model\.pb is cut short or damaged"),
        ("saved_model.pb", lambda path: path.write_bytes(b""), r"saved_model\.pb is empty"),
        ("saved_model.pb", lambda path: path.write_bytes(LFS), r"saved_model\.pb of .* Git LFS"),
    ],
)
def test_a_module_that_is_not_whole_says_which_file(
    version: str, file: str, damage: Callable[[Path], Any], words: str, sound: Path, tmp_path: Path
) -> None:
    shutil.copytree(sound / version, tmp_path / "m")
    damage(tmp_path / "m" / file)
    with pytest.raises(ModelError, match=words) as caught:
        FeatureModule.load(resolve(str(tmp_path / "m")).directory)
    assert str(tmp_path / "m") in str(caught.value)
    assert str(caught.value).endswith(("afresh.", "again.", "download the file."))


def test_a_frozen_graph_of_a_modules_name(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound / "tf1", tmp_path / "m")
    graph = read_graph(str(tmp_path / "m")).meta_graphs[0].graph_def
    (tmp_path / "m" / "saved_model.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match=r"saved_model\.pb holds no graph of a SavedModel"):
        FeatureModule.load(str(tmp_path / "m"))


def test_one_of_several_shards_is_missing(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound / "tf2", tmp_path / "m")
    os.rename(tmp_path / "m" / DATA, tmp_path / "m/variables/variables.data-00000-of-00002")
    with pytest.raises(ModelError, match=r"variables\.data-00001-of-00002 is missing"):
        resolve(str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("tag_sets", "format"),
    [
        ([[], ["train"]], "tf1_hub"),
        ([["train"], []], "tf1_hub"),
        ([["serve"]], "tf1_saved_model"),
        ([["train"], ["serve"]], "tf1_saved_model"),
        ([["serve", "tpu"], ["serve"]], "tf1_saved_model"),
        ([["serve", "gpu"]], "tf1_saved_model"),
    ],
)
def test_the_format_is_told_by_the_tags(
    tag_sets: list[list[str]], format: str, tmp_path: Path
) -> None:
    module = FeatureModule.load(save_tf1(tmp_path / "m", *tag_sets))
    assert module.format == format
    white = np.full((1, 8, 8, 3), 255, np.uint8)
    np.testing.assert_allclose(module(white), [[1, 1, 1, 0]], rtol=1e-6)


def test_a_marker_beside_a_module_of_tensorflow_2_means_nothing(
    sound: Path, tmp_path: Path
) -> None:
    shutil.copytree(sound / "tf2", tmp_path / "m")
    (tmp_path / "m" / "tfhub_module.pb").write_bytes(b"\x08\x03")
    assert FeatureModule.load(str(tmp_path / "m")).format == "tf2_saved_model"


def test_a_hub_module_is_one_without_its_marker(tf1_dir: str) -> None:
    graph, format = choose_graph(read_graph(tf1_dir), tf1_dir)
    assert (list(graph.meta_info_def.tags), format) == ([], "tf1_hub")


def test_other_tags_are_named(tmp_path: Path) -> None:
    directory = save_tf1(tmp_path / "m", ["mine", "best"], ["train"])
    with pytest.raises(ModelError, match=r"\['best', 'mine'\] and \['train'\]; export it for ser"):
        FeatureModule.load(directory)


def test_a_graph_in_text_is_read(sound: Path, tmp_path: Path) -> None:
    from google.protobuf import text_format

    shutil.copytree(sound / "tf2", tmp_path / "m")
    text = tmp_path / "m" / "saved_model.pbtxt"
    text.write_text(text_format.MessageToString(read_graph(str(tmp_path / "m"))))
    (tmp_path / "m" / "saved_model.pb").unlink()
    assert prepare(str(tmp_path / "m"), engine=Engine.TENSORFLOW).num_features == 400
    text.write_text(text.read_text()[:-100])
    with pytest.raises(ModelError, match=r"saved_model\.pbtxt is cut short or damaged"):
        FeatureModule.load(str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("operation", "package"),
    [
        ("CaseFoldUTF8", "the package tensorflow_text"),
        ("Addons>Resampler", "the package tensorflow_addons"),
        ("OurOwn", "another package or version"),
    ],
)
def test_an_unknown_operation_is_named_with_its_package(
    operation: str, package: str, sound: Path, tmp_path: Path
) -> None:
    shutil.copytree(sound / "tf2", tmp_path / "m")
    message = read_graph(str(tmp_path / "m"))
    for function in message.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            node.op = operation if node.op == "Mean" else node.op
    (tmp_path / "m" / "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(ModelError, match=f"the operation '{operation}'.*{package}.*export"):
        FeatureModule.load(str(tmp_path / "m"))


def test_python_code_that_is_not_in_the_files(tmp_path: Path) -> None:
    def run(batch: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(lambda b: b[:, 0, 0], [batch], tf.float32), [2, 3])

    directory = save(tmp_path / "m", run, images(batch=2))
    # Another process has no such functions.
    message = read_graph(directory)
    for function in message.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if "token" in node.attr:
                node.attr["token"].s = b"pyfunc_of_another_program"
    Path(directory, "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(ModelError, match="calls Python code of the program that saved it"):
        FeatureModule.load(directory)
