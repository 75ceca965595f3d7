"""The descriptions beside the shards: features.json, dataset_info.json, schema.pbtxt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.shards.vectors import VectorField

_TFDS = "tensorflow_datasets.core.features"
_DTYPES = {
    Kind.INT64: "int64",
    Kind.FLOAT32: "float32",
    Kind.BOOL: "bool",
    Kind.STRING: "string",
    Kind.BYTES: "string",
}
IMAGE_FIELDS = (
    ("image/uri", Kind.STRING, "Where the image was read, credentials removed."),
    ("image/key", Kind.STRING, "Stable id: half of the SHA-256 of the URI, hexadecimal."),
    ("image/sha256", Kind.STRING, "SHA-256 of the encoded file, hexadecimal."),
    ("image/format", Kind.STRING, "Encoding of the file: jpeg, png, ..."),
    ("image/width", Kind.INT64, "Width in pixels, after EXIF orientation."),
    ("image/height", Kind.INT64, "Height in pixels, after EXIF orientation."),
)


def features_json(columns: tuple[Column, ...], vectors: Sequence[VectorField]) -> str:
    """Returns features.json as tensorflow_datasets.features.FeaturesDict.save_config's.

    A name with slashes is a nested dictionary there: `image/uri` is `["image"]["uri"]`.
    """
    tree: dict[str, Any] = {}
    for name, kind, _ in IMAGE_FIELDS:
        _insert(tree, name, _scalar(kind))
    for field in vectors:
        _insert(tree, field.key, _tensor(str(field.width), "float32"))
    for column in columns:
        leaf = _scalar(column.kind)
        _insert(tree, column.name, _sequence(leaf) if column.is_sequence else leaf)
    return json.dumps(_dict_feature(tree), indent=2, sort_keys=True) + "\n"


def dataset_info_json(name: str, version: str, shard_rows: list[int], num_bytes: int) -> str:
    """Returns dataset_info.json (tensorflow_datasets' DatasetInfo proto as JSON)."""
    info = {
        "name": name,
        "version": version,
        "description": "Image feature vectors, one record an image.",
        "fileFormat": RECORDS.name,
        "moduleName": "pipeline.extract",
        "splits": [
            {
                "name": "features",
                "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                "numBytes": str(num_bytes),
                "shardLengths": [str(rows) for rows in shard_rows],
            }
        ],
    }
    return json.dumps(info, indent=2) + "\n"


def schema_pbtxt(columns: tuple[Column, ...], vectors: Sequence[VectorField]) -> str:
    """Returns the records' tensorflow_metadata Schema in protobuf text format."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    types = {Kind.INT64: schema_pb2.INT, Kind.BOOL: schema_pb2.INT, Kind.FLOAT32: schema_pb2.FLOAT}
    schema = schema_pb2.Schema()
    for name, kind, annotation in IMAGE_FIELDS:
        feature = schema.feature.add(name=name, type=types.get(kind, schema_pb2.BYTES))
        feature.presence.min_fraction = 1.0
        feature.shape.SetInParent()
        feature.annotation.comment.append(annotation)
    for field in vectors:
        vector = schema.feature.add(name=field.key, type=schema_pb2.FLOAT)
        vector.presence.min_fraction = 1.0
        vector.shape.dim.add(size=field.width)
    for column in columns:
        feature = schema.feature.add(
            name=column.name, type=types.get(column.kind, schema_pb2.BYTES)
        )
        if column.kind is Kind.BOOL:
            feature.bool_domain.SetInParent()
        if not column.is_sequence:
            feature.presence.min_fraction = 1.0
            feature.shape.SetInParent()
        elif column.repeated:
            feature.value_count.min = 0
        else:
            feature.value_count.max = 1
    return str(text_format.MessageToString(schema))


def check_column_names(columns: tuple[Column, ...]) -> None:
    """Refuses names that the record or TFDS's nesting cannot hold.

    Raises:
      ValueError: a name is not UTF-8, collides with the record's own or nests under another column.
    """
    names = {column.name for column in columns}
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"The manifest's column {name!r} is not UTF-8; rename it.") from None
    for name in names:
        parts = name.split("/")
        above = {"/".join(parts[:i]) for i in range(1, len(parts))}
        if name == "image" or name.startswith("image/"):
            raise ValueError(
                f"The manifest has a column {name!r}, a name the records keep for themselves; "
                "rename it."
            )
        if not all(parts) or above & names:
            raise ValueError(f"The manifest's column {name!r} cannot be nested; rename it.")


def _insert(tree: dict[str, Any], name: str, leaf: dict[str, Any]) -> None:
    *path, last = name.split("/")
    for part in path:
        tree = tree.setdefault(part, {})
    tree[last] = leaf


def _dict_feature(tree: dict[str, Any]) -> dict[str, Any]:
    features = {
        name: node if "pythonClassName" in node else _dict_feature(node)
        for name, node in tree.items()
    }
    return {
        "pythonClassName": f"{_TFDS}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


def _scalar(kind: Kind) -> dict[str, Any]:
    if kind is Kind.STRING:
        return {"pythonClassName": f"{_TFDS}.text_feature.Text", "text": {}}
    return {
        "pythonClassName": f"{_TFDS}.scalar.Scalar",
        "tensor": {"shape": {}, "dtype": _DTYPES[kind], "encoding": "none"},
    }


def _tensor(size: str, dtype: str) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_TFDS}.tensor_feature.Tensor",
        "tensor": {"shape": {"dimensions": [size]}, "dtype": dtype, "encoding": "none"},
    }


def _sequence(leaf: dict[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": f"{_TFDS}.sequence_feature.Sequence",
        "sequence": {"feature": leaf, "length": "-1"},
    }
