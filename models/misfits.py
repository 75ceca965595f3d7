"""What is no module of ours, in words: models of other libraries, and what lies beside a module."""

from __future__ import annotations

import os
import zipfile

from image_features.models.saved_model_files import GRAPH, has_graph
from image_features.models.sources.form import Form, recognise

_HEAD_BYTES = 4096
# An ONNX model begins with its version, and the number of the field that follows.
_ONNX_VERSIONS = tuple(bytes((version,)) for version in range(3, 21))
_ONNX_FIELDS = (b"\x12", b"\x1a", b'"', b"(", b":", b"B")
_DEPTH = 4  # A search through a whole disk would be no help.
_BY_ONNX = "make a SavedModel of it, as by exporting it to ONNX and converting that with onnx2tf"
_WRAP = (
    "make a SavedModel of it that names its input and its output, as by "
    "tf.compat.v1.saved_model.simple_save"
)
_CONVERT = "run `image-features model convert {} DIRECTORY`, and name the directory"


def why_no_module(path: str, name: str) -> str:
    """Says in a sentence why a path is no module, and what to do.

    Args:
      path: A file or a directory of this machine without a SavedModel's graph.
      name: Its name in messages.

    Raises:
      ModelError: It is a pointer of Git LFS, or cannot be read.
    """
    try:
        return _of_directory(path, name) if os.path.isdir(path) else _of_file(path, name)
    except OSError as error:
        return (
            f"The model {name!r} cannot be read ({error.strerror or error}); check the file and "
            "its permissions."
        )


def what_file(path: str) -> tuple[str, str] | None:
    """Tells what a file is that is no module, by its content, and what to do with it.

    Returns:
      Two phrases; None if it is nothing that is known.

    Raises:
      ModelError: It is a pointer of Git LFS, or cannot be read.
    """
    form = recognise(path)
    if form is not None and form.wants_converting:
        return str(form.value), _CONVERT.format(path)
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[:2] == b"\x08\x01" and head[2:3] == b"\x12":
        return "the graph of a SavedModel", "name the directory that holds it"
    if head[4:8] == b"TFL3":
        return "a TFLite model", "name the SavedModel that it was made of"
    if head[:1] == b"\x08" and head[1:2] in _ONNX_VERSIONS and head[2:3] in _ONNX_FIELDS:
        return "an ONNX model", "make a SavedModel of it, as by the package onnx2tf"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < os.path.getsize(path):
        return "a safetensors file of weights", _BY_ONNX
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")) or _is_torch(path):
        return "a PyTorch model, or another pickle", _BY_ONNX
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page", "check that the address names the model itself"
    if head.startswith(b"PK"):
        return "a .zip archive", "unpack it, and name the directory"
    if path.endswith(".pb") and _is_graph(path):
        return "a frozen graph without a signature", _WRAP
    return None


def modules_below(directory: str) -> list[str]:
    """Finds the SavedModels in a directory; returns their relative paths, sorted."""
    found = []
    for root, directories, _ in os.walk(directory):
        depth = os.path.relpath(root, directory).count(os.sep)
        if root != directory and has_graph(root):
            found.append(os.path.relpath(root, directory))
        if has_graph(root) or depth >= _DEPTH:
            directories.clear()
    return sorted(found)


def _is_torch(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("data.pkl") for name in archive.namelist())


def _is_graph(path: str) -> bool:
    """Whether a file is a GraphDef, the form of frozen graphs."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import graph_pb2

    graph = graph_pb2.GraphDef()
    try:
        with open(path, "rb") as file:
            graph.ParseFromString(file.read())
    except DecodeError:
        return False
    return any(node.op for node in graph.node)


def _of_file(path: str, name: str) -> str:
    found = what_file(path)
    if found:
        what, way_out = found
        return f"The model {name!r} is {what}, not a module: {way_out}."
    if os.path.getsize(path) == 0:
        return f"The model {name!r} is an empty file; copy it afresh."
    return (
        f"The model {name!r} is neither a directory nor a .tar.gz or .tgz archive; pass the "
        f"directory that holds {GRAPH}."
    )


def _of_directory(directory: str, name: str) -> str:
    missing = f"The model {name!r} has no {GRAPH} at its top, so it is not a SavedModel"
    names = sorted(os.listdir(directory))
    below = modules_below(directory)
    if len(below) == 1:
        return f"{missing}, but {os.path.join(name, below[0])!r} is one: name that."
    if below:
        return f"{missing}, but the directories {', '.join(map(repr, below))} in it are: name one."
    if "variables" in names:
        return f"The model {name!r} is not whole: {GRAPH} is missing; copy it afresh."
    if recognise(directory) in (Form.TFJS, Form.CHECKPOINT):
        way_out = _CONVERT.format(name)
        return f"The model {name!r} is {recognise(directory)}, not a module: {way_out}."
    for file in names:
        path = os.path.join(directory, file)
        told = os.path.isfile(path) and not file.endswith(".json")  # Settings lie beside weights.
        found = what_file(path) if told else None
        if found:
            what, way_out = found
            return f"{missing}; it holds {file!r}, which is {what}: {way_out}."
    return f"{missing}; name the directory, or an archive of the directory, that holds the file."
