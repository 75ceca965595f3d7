"""Models that cannot be converted: one sentence each, and no code of theirs is run."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from image_features.errors import ModelError
from image_features.models.conversion.keras_objects import check_objects
from image_features.models.convert import Conversion, convert
from image_features.models.handles import resolve
from tests.models.conversion import networks
from tests.models.conversion.networks import pooled


def _refusal(source: str, wanted: Conversion, target: Path) -> str:
    with pytest.raises(ModelError) as caught:
        convert(source, str(target / "module"), wanted)
    assert not (target / "module").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("shape", "head", "wanted", "words"),
    [
        ((16, 16, 1), pooled, Conversion(), "1 channel,"),
        ((16, 16, 4), pooled, Conversion(), "4 channels"),
        ((3, 16, 16), pooled, Conversion(), "channels first"),
        ((None, None, 3), pooled, Conversion(), "--image_size"),
        ((16, 16, 3), pooled, Conversion(image_size=32), "16x16 pixels and no others"),
        ((16, 16, 3), pooled, Conversion(layer="pool", pooling="max"), "leave --pooling out"),
        ((16, 16, 3), pooled, Conversion(layer="poll"), "no layer 'poll'.*pool"),
        (
            (16, 16, 3),
            lambda k, x: k.layers.Reshape((25, 6), name="tokens")(x),
            Conversion(),
            "tokens.*--pooling=avg",
        ),
    ],
)
def test_what_is_no_model_of_images_or_has_no_features(
    shape: tuple[int, ...], head: Any, wanted: Conversion, words: str, tmp_path: Path
) -> None:
    keras = networks.library(3)
    before = (lambda k, x: k.layers.Permute((2, 3, 1))(x)) if shape[0] == 3 else None
    model = networks.network(keras, head, shape=shape, before=before)
    source = networks.save(keras, model, tmp_path, "keras")
    assert re.search(words, _refusal(source, wanted, tmp_path))


@pytest.mark.parametrize("form", ["keras", "h5"])
@pytest.mark.parametrize("version", [3, 2])
def test_the_code_of_a_lambda_is_never_run(
    version: int, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keras = networks.library(version)
    harmful = keras.layers.Lambda(
        lambda values: (values, __import__("pathlib").Path("trace").touch())[0], name="harmful"
    )
    model = networks.network(keras, lambda k, x: harmful(pooled(k, x)))
    source = networks.save(keras, model, tmp_path, form)
    os.remove("trace")
    assert "layer 'harmful' of the class 'Lambda'" in _refusal(source, Conversion(), tmp_path)
    assert not os.path.exists("trace")


def test_custom_classes_and_functions_are_refused() -> None:
    layer: dict[str, Any] = {
        "class_name": "Mine",
        "config": {"name": "own"},
        "module": "builtins",
        "registered_name": "Custom>Mine",
    }
    for changed, legacy in (
        ({}, False),
        ({"module": "my_package.layers", "registered_name": "Mine"}, False),
        ({"module": "keras_hub.layers", "registered_name": "Mine"}, False),
        ({"module": None, "registered_name": None}, True),
        ({"class_name": "TorchModuleWrapper", "module": "keras.layers"}, False),
        ({"class_name": "function", "module": "keras.utils", "registered_name": None}, False),
        ({"class_name": "TFOpLambda", "config": {"function": "io.write_file"}}, True),
        ({"class_name": "TFOpLambda", "config": {"function": "py_function"}}, True),
    ):
        with pytest.raises(ModelError, match=r"is not loaded, as its (layer 'own' of the )?class"):
            check_objects({"config": {"layers": [layer | changed]}}, "model", legacy=legacy)
    fine = {"class_name": "TFOpLambda", "config": {"name": "half", "function": "math.divide"}}
    check_objects({"config": {"layers": [fine]}}, "model", legacy=True)


def test_files_that_lie_about_themselves(tmp_path: Path) -> None:
    keras = networks.library(3)
    source = networks.save(keras, networks.network(keras, networks.classified), tmp_path, "keras")
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(members["config.json"])
    (dense,) = (x for x in description["config"]["layers"] if x["class_name"] == "Dense")
    dense["config"]["units"] = 10**10

    def rewritten(**changed: bytes) -> str:
        path = str(tmp_path / "changed.keras")
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (members | changed).items():
                archive.writestr(name, content)
        return path

    large = rewritten(**{"config.json": json.dumps(description).encode()})
    assert "more weights than" in _refusal(large, Conversion(), tmp_path)
    torn = rewritten(**{"config.json": members["config.json"][:-9]})
    assert "cannot be read" in _refusal(torn, Conversion(), tmp_path)
    torn = rewritten(**{"model.weights.h5": members["model.weights.h5"][:500]})
    assert "cannot be read" in _refusal(torn, Conversion(), tmp_path)
    (tmp_path / "weights.h5").write_bytes(members["model.weights.h5"])
    with h5py.File(tmp_path / "weights.h5", "a") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/other.h5", "/")
    linked = rewritten(**{"model.weights.h5": (tmp_path / "weights.h5").read_bytes()})
    assert "refers to another file" in _refusal(linked, Conversion(), tmp_path)


def test_a_file_that_wants_converting_is_told_how(tmp_path: Path) -> None:
    keras = networks.library(3)
    model = networks.network(keras, networks.classified)
    for form in ("keras", "h5"):
        source = networks.save(keras, model, tmp_path, form)
        with pytest.raises(ModelError, match=f"not a module: run.*model convert {source} DIR"):
            resolve(source)
