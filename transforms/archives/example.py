"""tf.train.Example, declared for protobuf's own parser without TensorFlow.

Messages: tensorflow/core/example/feature.proto (Example.features = 1, Features.feature = 1,
Feature.bytes_list = 1, float_list = 2, int64_list = 3, each list's value = 1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

# From a name to a tf.train.Feature.
Features = Mapping[str, Any]


class NotAnExampleError(ValueError):
    """Data that is no tf.train.Example; the message is a phrase for the user."""


def parse_features(data: bytes) -> Features:
    """Returns the features of an example that anyone may have written.

    Raises:
      NotAnExampleError: the data is none.
    """
    parse, decode_error = _parser()
    try:
        example = parse(data)
    except decode_error as error:
        raise NotAnExampleError("is no tf.train.Example") from error
    if example.feature_lists:
        raise NotAnExampleError("is a tf.train.SequenceExample, which is not read")
    features: Features = example.features.feature
    return features


@functools.cache
def _parser() -> tuple[Callable[[bytes], Any], type[Exception]]:
    from google.protobuf.message import DecodeError

    return example_class(packed=False).FromString, DecodeError


@functools.cache
def example_class(*, packed: bool) -> Any:
    """Returns the class of tf.train.Example.

    Args:
      packed: Whether all floats are packed, as this package writes them: on the wire they are a
        field of bytes then, and declared as such they need no conversion. Other writers may spell
        them one by one, or in several parts.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    package = "image_features"
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}/example.proto", package=package, syntax="proto3"
    )

    def declare(parent: Any, name: str, *fields: tuple[str, Any, bool]) -> Any:
        message = parent.add(name=name)
        for index, (label, kind, repeated) in enumerate(fields, 1):
            added = message.field.add(name=label, number=index)
            added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            added.type = field.TYPE_MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                added.type_name = f".{package}.{kind}"
        return message

    messages = file.message_type
    floats = field.TYPE_BYTES if packed else field.TYPE_FLOAT
    declare(messages, "BytesList", ("value", field.TYPE_BYTES, True))
    declare(messages, "FloatList", ("value", floats, not packed))
    declare(messages, "Int64List", ("value", field.TYPE_INT64, True))
    lists = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    feature = declare(messages, "Feature", *((name, kind, False) for name, kind in lists))
    feature.oneof_decl.add(name="kind")
    for added in feature.field:
        added.oneof_index = 0
    features = declare(messages, "Features", ("feature", "Features.FeatureEntry", True))
    entry = declare(
        features.nested_type,
        "FeatureEntry",
        ("key", field.TYPE_STRING, False),
        ("value", "Feature", False),
    )
    entry.options.map_entry = True
    # A tf.train.SequenceExample has the lists of its steps there, which are not taken apart.
    steps = ("feature_lists", field.TYPE_BYTES, False)
    declare(messages, "Example", ("features", "Features", False), steps)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Example"))
