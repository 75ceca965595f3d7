"""The files of a SavedModel: what its graph says, and which of them are missing or damaged."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Literal

from image_features.errors import ModelError
from image_features.models.sources.form import refuse_pointer

Format = Literal["tf1_hub", "tf1_saved_model", "tf2_saved_model"]

GRAPH, TEXT_GRAPH = "saved_model.pb", "saved_model.pbtxt"
_VARIABLES = "variables"
_INDEX = f"{_VARIABLES}.index"
_SHARD = re.compile(rf"^{_VARIABLES}\.data-(\d{{5}})-of-(\d{{5}})$")
_SERVING = "serve"
# Where operations come from that are none of TensorFlow's own, by how their names begin.
_PACKAGES = {
    "TFText>": "the package tensorflow_text",
    "Addons>": "the package tensorflow_addons",
    "IO>": "the package tensorflow_io",
    "SimpleML": "the package tensorflow_decision_forests",
    "TRTEngine": "TensorFlow for TensorRT",
}
_OF_TEXT = re.compile(r"(?i)token|sentencepiece|wordpiece|utf8|ngrams|fastbert")
_VARIABLE_OPERATIONS = frozenset({"VarHandleOp", "VariableV2", "Variable"})


def has_graph(directory: str) -> bool:
    """Whether a directory may hold a SavedModel."""
    return any(os.path.isfile(os.path.join(directory, name)) for name in (GRAPH, TEXT_GRAPH))


def check_files(directory: str, name: str) -> None:
    """Looks whether the files of a SavedModel are all there, and are what they are named.

    Args:
      directory: A directory with the graph of a SavedModel.
      name: The name of the model in messages.

    Raises:
      ModelError: A file is missing, is empty, or is a pointer of Git LFS.
    """
    variables = os.path.join(directory, _VARIABLES)
    there = sorted(os.listdir(variables)) if os.path.isdir(variables) else []
    # A link may lead to nothing.
    shards = [shard for shard in there if os.path.isfile(os.path.join(variables, shard))]
    for path in [GRAPH, TEXT_GRAPH, *(os.path.join(_VARIABLES, shard) for shard in shards)]:
        full = os.path.join(directory, path)
        try:
            if os.path.isfile(full):
                refuse_pointer(full, f"{path} of the model {name!r}")
        except OSError as error:
            raise ModelError(
                f"{path} of the model {name!r} cannot be read ({error.strerror}); check its "
                "permissions, or copy the model afresh."
            ) from error
        if os.path.isfile(full) and os.path.getsize(full) == 0:
            raise _broken(name, f"{path} is empty")
    for missing in _missing(shards):
        raise _broken(name, f"{os.path.join(_VARIABLES, missing)} is missing")


def _missing(names: list[str]) -> Iterator[str]:
    """Gives the files of variables that must be there by the names of the others."""
    found = [match for match in map(_SHARD.match, names) if match]
    if found and _INDEX not in names:
        yield _INDEX
    if _INDEX in names and not found:
        yield f"{_VARIABLES}.data-00000-of-00001"
    for match in found:
        for number in range(int(match[2])):
            shard = f"{_VARIABLES}.data-{number:05d}-of-{match[2]}"
            if shard not in names:
                yield shard


def _broken(name: str, fault: str) -> ModelError:
    return ModelError(f"The model {name!r} is not whole: {fault}; copy it afresh.")


def read_graph(directory: str) -> Any:
    """Reads the SavedModel message of a directory.

    Raises:
      ModelError: There is none, or it is damaged.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    path = os.path.join(directory, GRAPH)
    try:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                message.ParseFromString(file.read())
        else:
            path = os.path.join(directory, TEXT_GRAPH)
            with open(path, encoding="utf-8") as text:
                text_format.Parse(text.read(), message)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise ModelError(
            f"TensorFlow cannot load the SavedModel in {directory!r}: its "
            f"{os.path.basename(path)} is cut short or damaged; copy it afresh, or export it again."
        ) from error
    except OSError as error:
        raise ModelError(
            f"The file {path!r} cannot be read ({error.strerror}); check its permissions, or copy "
            "the model afresh."
        ) from error
    if not message.meta_graphs:
        raise ModelError(
            f"TensorFlow cannot load the SavedModel in {directory!r}: its {os.path.basename(path)} "
            "holds no graph of a SavedModel, as a frozen graph of that name does; export the model "
            "again."
        )
    return message


def choose_graph(message: Any, directory: str) -> tuple[Any, Format]:
    """Chooses the graph of a SavedModel that computes, and not the one that trains.

    Args:
      message: The SavedModel message.
      directory: The directory of the model, for messages.

    Returns:
      The MetaGraphDef, and the format that its tags and its objects tell.

    Raises:
      ModelError: It has no such graph.
    """
    graphs = list(message.meta_graphs)
    if len(graphs) == 1 and graphs[0].HasField("object_graph_def"):
        return graphs[0], "tf2_saved_model"
    by_tags = {frozenset(graph.meta_info_def.tags): graph for graph in graphs}
    if frozenset() in by_tags:
        return by_tags[frozenset()], "tf1_hub"
    # One for an accelerator has further tags.
    serving = sorted((tags for tags in by_tags if _SERVING in tags), key=len)
    if serving:
        return by_tags[serving[0]], "tf1_saved_model"
    found = " and ".join(f"[{', '.join(map(repr, sorted(tags)))}]" for tags in by_tags)
    raise ModelError(
        f"The model in {directory!r} has no graph to compute with: it needs one tagged "
        f"{_SERVING!r}, or one of TensorFlow Hub's without a tag, and the tags of its graphs are "
        f"{found}; export it for serving."
    )


def check_graph(graph: Any, directory: str) -> None:
    """Looks whether TensorFlow has all that a graph needs.

    Args:
      graph: A MetaGraphDef.
      directory: The directory of the model.

    Raises:
      ModelError: It needs variables that are not there, or operations that TensorFlow lacks.
    """
    needs = graph.HasField("object_graph_def") or not _VARIABLE_OPERATIONS.isdisjoint(
        operations(graph.graph_def)
    )
    index = os.path.join(_VARIABLES, _INDEX)
    if needs and not os.path.isfile(os.path.join(directory, index)):
        raise _broken(directory, f"{index} is missing")
    lacking = _unknown_operations(graph.graph_def)
    if lacking:
        import tensorflow as tf

        raise ModelError(
            f"The model in {directory!r} needs the operation {', '.join(map(repr, lacking[:3]))}, "
            f"which TensorFlow {tf.__version__} does not have: {_origin_of(lacking[0])}, so export "
            "the part of the model that computes features without it."
        )


def operations(graph: Any) -> set[str]:
    """Returns the names of all operations in a GraphDef and its library of functions."""
    return {node.op for node in nodes(graph)}


def nodes(graph: Any) -> Iterator[Any]:
    """Gives the nodes of a GraphDef and of its library of functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _unknown_operations(graph: Any) -> list[str]:
    from tensorflow.python.framework import op_def_registry

    functions = {function.signature.name for function in graph.library.function}
    return sorted(n for n in operations(graph) - functions if op_def_registry.get(n) is None)


def _origin_of(operation: str) -> str:
    package = next((p for start, p in _PACKAGES.items() if operation.startswith(start)), "")
    if _OF_TEXT.search(operation):
        package = "the package tensorflow_text"
    elif not package:
        package = "another package or version of TensorFlow"
    return f"it comes with {package}, which is not loaded here"


def find_damage(directory: str) -> str:
    """Reads all variables of a SavedModel; returns the name of a damaged file, "" if none is."""
    import tensorflow as tf

    variables = os.path.join(directory, _VARIABLES)
    damaged = _INDEX
    try:
        reader = tf.train.load_checkpoint(os.path.join(variables, _VARIABLES))
        shapes = reader.get_variable_to_shape_map()
        damaged = next((name for name in os.listdir(variables) if _SHARD.match(name)), _INDEX)
        for name in shapes:
            reader.get_tensor(name)
    except Exception:  # TensorFlow raises many types here, and all of them mean the same.
        return os.path.join(_VARIABLES, damaged)
    return ""
