"""TensorFlow.js models, written as its converter does: a model.json and shards of weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from image_features.errors import ModelError
from image_features.models import mobilenet_v2
from image_features.models.weights import NotOfFamilyError, read_weights
from tests.models.arrays import assert_same
from tests.models.sources.conftest import MULTIPLIER, assert_same_features
from tests.models.sources.graphs import as_tfjs_names, graph_of, optimized

_SHARD_BYTES = 2**17
Values = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def graph(small: mobilenet_v2.Weights) -> tuple[dict[str, Any], Values]:
    """The topology and the weights of the network as the converter has folded and fused it."""
    import tensorflow as tf
    from google.protobuf import json_format

    definition = optimized(
        graph_of(small, MULTIPLIER), "remap", "constfold", "arithmetic", "dependency"
    )
    as_tfjs_names(definition)
    values = {}
    for node in definition.node:
        if node.op == "Const":
            values[node.name] = tf.make_ndarray(node.attr["value"].tensor)
            shape = node.attr["value"].tensor.tensor_shape
            kind = node.attr["value"].tensor.dtype
            node.attr["value"].tensor.Clear()
            node.attr["value"].tensor.tensor_shape.CopyFrom(shape)
            node.attr["value"].tensor.dtype = kind
    return json_format.MessageToDict(definition), values


def _quantized(value: npt.NDArray[Any], kind: str) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    if kind == "float16":
        return value.astype(np.float16), {"dtype": kind, "original_dtype": "float32"}
    low, high = float(value.min()), float(value.max())
    scale = (high - low) / np.iinfo(kind).max or 1.0
    whole = np.rint((value - low) / scale).astype(kind)
    return whole, {"dtype": kind, "min": low, "scale": scale, "original_dtype": "float32"}


def _write(directory: Path, topology: Any, values: Values, kind: str = "") -> Path:
    """Writes a model; quantizes weights if a kind of number is given."""
    directory.mkdir()
    data, specs = b"", []
    for name, value in values.items():
        spec: dict[str, Any] = {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}
        if kind and value.dtype == np.float32:
            value, spec["quantization"] = _quantized(value, kind)
        data += np.ascontiguousarray(value).tobytes()
        specs.append(spec)
    count = math.ceil(len(data) / _SHARD_BYTES)
    names = [f"group1-shard{number + 1}of{count}.bin" for number in range(count)]
    for number, name in enumerate(names):
        shard = data[number * _SHARD_BYTES : (number + 1) * _SHARD_BYTES]
        (directory / name).write_bytes(shard)
    model = {
        "format": "graph-model" if "node" in topology else "layers-model",
        "modelTopology": topology,
        "weightsManifest": [{"paths": names, "weights": specs}],
    }
    (directory / "model.json").write_text(json.dumps(model))
    return directory


@pytest.mark.parametrize(
    ("kind", "limit"), [("", 1e-5), ("float16", 1e-2), ("uint16", 1e-2), ("uint8", None)]
)
def test_a_graph_model(
    graph: tuple[dict[str, Any], Values],
    expected: npt.NDArray[np.float32],
    tmp_path: Path,
    kind: str,
    limit: float | None,
) -> None:
    directory = _write(tmp_path / "web", *graph, kind)
    assert len(list(directory.glob("*.bin"))) > 2
    for path in (directory, directory / "model.json"):
        found = read_weights(str(path))
        assert (found.depth_multiplier, found.image_size) == (MULTIPLIER, 96)
    if limit is not None:
        assert_same_features(found.arrays, expected, limit)
    else:
        kernels = [name for name in found.arrays if name.endswith("weights")]
        whole = read_weights(str(_write(tmp_path / "whole", *graph)))
        for name in kernels:
            step = np.ptp(whole.arrays[name]) / 255
            np.testing.assert_allclose(
                found.arrays[name], whole.arrays[name], atol=step * 0.51, rtol=0
            )


def test_a_layers_model(backbone: Any, small: mobilenet_v2.Weights, tmp_path: Path) -> None:
    import keras

    whole = keras.Sequential([keras.Input((96, 96, 3)), backbone])
    values = {variable.path: variable.numpy() for variable in whole.variables}
    model = json.loads(whole.to_json())
    bare = _write(tmp_path / "bare", model, values)
    config = {"keras_version": "2.15.0", "backend": "tensorflow", "model_config": model}
    for path in (bare, _write(tmp_path / "kept", config, values)):
        found = read_weights(str(path))
        assert (found.image_size, found.matched) == (96, "names")
        assert_same(found.arrays, small)


def test_what_is_missing_or_cut_is_named(
    graph: tuple[dict[str, Any], Values], tmp_path: Path
) -> None:
    directory = _write(tmp_path / "web", *graph)
    second, last = sorted(directory.glob("*.bin"))[1::2][:1], sorted(directory.glob("*.bin"))[-1:]
    for shard in second + last:
        content = shard.read_bytes()
        for damaged in (content[:-1], b"version https://git-lfs.github.com/spec/v1\n", None):
            shard.unlink() if damaged is None else shard.write_bytes(damaged)
            with pytest.raises(ModelError, match=shard.name) as raised:
                read_weights(str(directory))
            assert not isinstance(raised.value, NotOfFamilyError)
        shard.write_bytes(content)
    read_weights(str(directory))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be understood as a TensorFlow.js model"),
        ("{}", "cannot be understood as a TensorFlow.js model"),
        ('{"modelTopology": null, "weightsManifest": []}', "cannot be understood"),
        ('{"modelTopology": {}, "weightsManifest": []}', "neither a graph nor a Keras model"),
        ('{"modelTopology": {"node": [{"attr": 3}]}, "weightsManifest": []}', "be understood"),
        ('{"modelTopology": {"node": []}, "weightsManifest": []}', "holds no MobileNet V2"),
        (
            '{"modelTopology": {"node": []}, "weightsManifest": '
            '[{"paths": ["../up.bin"], "weights": []}]}',
            "'../up.bin' is not in the directory",
        ),
        (
            '{"modelTopology": {"node": []}, "weightsManifest": [{"paths": [], "weights": '
            '[{"name": "a", "shape": [2], "dtype": "float99"}]}]}',
            "cannot be understood",
        ),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(ModelError, match=words):
        read_weights(str(tmp_path))


def test_strings_among_weights(graph: tuple[dict[str, Any], Values], tmp_path: Path) -> None:
    topology, values = graph
    directory = _write(tmp_path / "web", topology, values)
    model = json.loads((directory / "model.json").read_text())
    model["weightsManifest"][0]["weights"].insert(
        0, {"name": "labels", "shape": [2], "dtype": "string"}
    )
    first = next(directory.glob("group1-shard1of*.bin"))
    first.write_bytes(b"\x03\0\0\0cat\0\0\0\0" + first.read_bytes())
    (directory / "model.json").write_text(json.dumps(model))
    assert read_weights(str(directory)).depth_multiplier == MULTIPLIER
