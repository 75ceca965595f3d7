"""The network in TensorFlow.js's files: a model.json, and the shards that it lists."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError
from image_features.models.sources.form import refuse_pointer
from image_features.models.sources.found import Found, find, find_in_graphs
from image_features.models.sources.graphs import Graph
from image_features.models.sources.refusal import none_in
from image_features.models.sources.variables import Variable, Variables

_NAME = "model.json"
_TYPES = {
    "float32": "<f4",
    "float16": "<f2",
    "int32": "<i4",
    "uint16": "<u2",
    "uint8": "u1",
    "bool": "?",
    "complex64": "<c8",
}

Values = dict[str, npt.NDArray[Any]]


def read_tfjs(path: str, wanted: float | None) -> Found:
    """Finds the network in a TensorFlow.js graph model or layers model.

    Args:
      path: The model.json, or the directory that has it.
      wanted: The depth multiplier; None finds it.

    Raises:
      ModelError: A file is missing, cut or cannot be understood, or there is no network of the
        family.
    """
    file = os.path.join(path, _NAME) if os.path.isdir(path) else path
    try:
        refuse_pointer(file)
        with open(file, encoding="utf-8") as stream:
            model = json.load(stream)
        topology = model["modelTopology"]
        # A layers model has the model itself, or what Keras keeps beside it too.
        keras = topology.get("model_config", topology)
        is_graph = "node" in topology
        if not is_graph and "config" not in keras:
            raise ValueError("its modelTopology is neither a graph nor a Keras model")
        values = dict(_weights(model["weightsManifest"], os.path.dirname(os.path.abspath(file))))
        graph = _graph(topology, values) if is_graph else None
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(
            f"The file {error.filename!r} cannot be read ({error.strerror}); copy the model "
            "afresh, all of its files."
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{file!r} cannot be understood as a TensorFlow.js model ({error}); get it afresh, or "
            "convert it again with tensorflowjs_converter."
        ) from error
    if graph is None:
        variables = [
            Variable(name, value.shape, functools.partial(np.asarray, value))
            for name, value in values.items()
        ]
        return find(path, Variables(variables), wanted, keras)
    if found := find_in_graphs(path, [graph], wanted):
        return found
    count = len(graph.image_sizes)
    raise none_in(path, f"it is a TensorFlow.js graph with {count} convolutions that are not its")


def _graph(topology: Mapping[str, Any], values: Values) -> Graph:
    from google.protobuf import json_format
    from tensorflow.core.framework.graph_pb2 import GraphDef

    try:
        definition = json_format.ParseDict(topology, GraphDef(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error
    return Graph(definition, values)


def _weights(manifest: Any, directory: str) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Reads all weights; each group's lie one after the other in its shards."""
    for group in manifest:
        data = b"".join(_shards(group, directory))
        place = 0
        for spec in group["weights"]:
            count = math.prod(spec["shape"])
            quantization = spec.get("quantization", {})
            kind = quantization.get("dtype", spec["dtype"])
            if kind == "string":
                place = _after_strings(data, place, count)
                continue
            values = np.frombuffer(data, _TYPES[kind], count, place)
            place += values.nbytes
            if "scale" in quantization:
                values = values * float(quantization["scale"]) + float(quantization["min"])
                values = np.rint(values) if spec["dtype"] == "int32" else values
            yield spec["name"], values.astype(_TYPES[spec["dtype"]]).reshape(spec["shape"])


def _after_strings(data: bytes, place: int, count: int) -> int:
    """Returns the place after so many strings, each of which has its length before it."""
    for _ in range(count):
        place += 4 + int.from_bytes(data[place : place + 4], "little")
    return place


def _shards(group: Mapping[str, Any], directory: str) -> Iterator[bytes]:
    """Reads a group's shards, and sees that none is missing or cut."""
    sizes = []
    for name in group["paths"]:
        shard = os.path.join(directory, *name.split("/"))
        if os.path.isabs(name) or "://" in name or ".." in name.split("/"):
            raise ModelError(
                f"The shard {name!r} is not in the directory {directory!r} of its model.json; "
                "put it there, and its plain name into weightsManifest."
            )
        if not os.path.isfile(shard):
            raise ModelError(
                f"The model in {directory!r} lacks the file {name!r} with weights; copy it there, "
                "beside its model.json."
            )
        refuse_pointer(shard)
        with open(shard, "rb") as file:
            data = file.read()
        sizes.append(len(data))
        yield data
    expected = sum(map(_bytes_of, group["weights"]))
    if any(spec["dtype"] == "string" for spec in group["weights"]) or sum(sizes) == expected:
        return
    # All shards but the last one are of one size.
    cut = next((n for n, size in enumerate(sizes[:-1]) if size < max(sizes)), len(sizes) - 1)
    raise ModelError(
        f"The file {os.path.join(directory, group['paths'][cut])!r} is not whole: the weights of "
        f"its model.json take {expected} bytes, and its files have {sum(sizes)}; copy it afresh."
    )


def _bytes_of(spec: Mapping[str, Any]) -> int:
    kind = spec.get("quantization", {}).get("dtype", spec["dtype"])
    return 0 if kind == "string" else math.prod(spec["shape"]) * np.dtype(_TYPES[kind]).itemsize
