"""The variables of TensorFlow's checkpoints."""

from __future__ import annotations

import functools
import os

from image_features.errors import ModelError
from image_features.models.sources.variables import Variable, Variables

_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def prefix_of(path: str) -> str:
    """Returns the prefix of a checkpoint, given it, its index or the directory that has it.

    Raises:
      ModelError: There is no checkpoint, or it is one of several.
    """
    import tensorflow as tf

    prefix = path.removesuffix(".index").removesuffix(".meta")
    if os.path.isdir(path):
        # The state file may name a path of the machine that wrote it, so look at what is there.
        found = sorted(n for n in os.listdir(path) if n.endswith(".index"))
        latest = os.path.basename(tf.train.latest_checkpoint(path) or "")
        if f"{latest}.index" in found:
            found = [f"{latest}.index"]
        if len(found) == 1:
            return os.path.join(path, found[0].removesuffix(".index"))
        if found:
            raise ModelError(
                f"The directory {path!r} has {len(found)} checkpoints; name the prefix of one, "
                f"such as {os.path.join(path, found[-1].removesuffix('.index'))!r}."
            )
    elif os.path.isfile(f"{prefix}.index"):
        return prefix
    raise ModelError(
        f"There are no MobileNet V2 weights at {path!r}; name a Keras or TensorFlow.js file, the "
        "prefix of a checkpoint, or a module's directory with saved_model.pb."
    )


def variables_of(prefix: str) -> Variables:
    """Lists the variables of a checkpoint: by the names of its objects, or of its variables.

    Raises:
      ModelError: It cannot be read.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = reader.get_variable_to_shape_map()
        types = reader.get_variable_to_dtype_map()
        names: dict[str, str] = {}
        if _OBJECTS in shapes:
            graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECTS))
            values = [value for node in graph.nodes for value in node.attributes]
            names = {value.checkpoint_key: value.full_name for value in values}
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise _unreadable(prefix, error) from error

    def load(key: str) -> object:
        try:
            return reader.get_tensor(key)
        except (ValueError, RuntimeError, tf.errors.OpError) as error:
            raise _unreadable(prefix, error) from error

    return Variables(
        [
            _variable(key, tuple(shapes[key]), names.get(key, ""), functools.partial(load, key))
            for key in sorted(shapes)
            if types[key].is_floating and "/.OPTIMIZER_SLOT/" not in key
        ]
    )


def _variable(
    key: str, shape: tuple[int, ...], full_name: str, load: functools.partial[object]
) -> Variable:
    path = key.removesuffix(_VALUE)
    layer, _, leaf = path.rpartition("/")
    # Objects of Keras 3 have private attributes.
    place = f"{layer}/{leaf.removeprefix('_')}".removeprefix("/")
    container = layer.rpartition("/")[0]
    return Variable(place, shape, load, f"{container}/{full_name}" if full_name else "")


def _unreadable(prefix: str, error: Exception) -> ModelError:
    return ModelError(
        f"TensorFlow cannot read the checkpoint {prefix!r} ({str(error).splitlines()[0]}); get it "
        "afresh, all of its files."
    )
