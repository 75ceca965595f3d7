"""WriteFeatureShards and WriteErrors: rows to records, records to shards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from image_features.transforms.assign_shards import error_shards
from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.jsonl import COLLISION_PREFIX, ERROR_FIELDS, encode_bytes
from image_features.transforms.runtime.packing import PackRows, unpack
from image_features.transforms.shards.index import index_note
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.record_format import (
    FORMAT,
    HEIGHT,
    KEY,
    RECORDS,
    SHA256,
    URI,
    WIDTH,
    column_field,
)
from image_features.transforms.shards.staging import ShardRow
from image_features.transforms.shards.vectors import VectorField, divided
from image_features.transforms.shards.write_shards import WriteShards
from image_features.transforms.stores.uris import redact_text, redact_uri, shard_of
from image_features.transforms.values import FieldValue, ImageError, ImageFeatures


class WriteFeatureShards(beam.PTransform):
    """Writes ImageFeatures to shards of records; returns a PCollection[ShardFile].

    Args:
      naming: Where the shards go.
      columns: The passed-through columns.
      vectors: The fields that a row's features are divided among.
      num_shards: The number of feature shards, a side input.
      keep_secrets: Whether URIs keep their credentials and signatures.
      earlier: A PCollection[StagedPiece] of rows that an earlier attempt has written.
    """

    def __init__(
        self,
        *,
        naming: ShardNaming,
        columns: tuple[Column, ...],
        vectors: Sequence[VectorField],
        num_shards: Any,
        keep_secrets: bool = False,
        earlier: Any = None,
    ) -> None:
        super().__init__()
        self._earlier = earlier
        self._naming = naming
        self._columns = {column.name: column for column in columns}
        self._vectors = tuple(vectors)
        self._num_shards = num_shards
        self._keep_secrets = keep_secrets

    def expand(self, rows: Any) -> Any:
        return (
            rows
            | "SerializeExamples"
            >> beam.Map(_feature_row, self._columns, self._vectors, self._keep_secrets)
            | "WriteShards"
            >> WriteShards(naming=self._naming, num_shards=self._num_shards, earlier=self._earlier)
        )


class WriteErrors(beam.PTransform):
    """Writes ImageError to JSONL shards that are manifests in turn; returns PCollection[ShardFile].

    The input is a dictionary of PCollections of ImageError, by the name of the step that they come
    from.

    Args:
      naming: Where the shards go.
      num_shards: The number of feature shards, a side input; errors have a tenth of it.
      keep_secrets: Whether URIs keep their credentials and signatures.
    """

    def __init__(self, *, naming: ShardNaming, num_shards: Any, keep_secrets: bool = False) -> None:
        super().__init__()
        self._naming = naming
        self._num_shards = num_shards
        self._keep_secrets = keep_secrets

    def expand(self, errors: Mapping[str, Any]) -> Any:
        count = beam.pvalue.AsSingleton(
            next(iter(errors.values())).pipeline
            | "Start" >> beam.Create([None])
            | "CountErrorShards" >> beam.Map(_error_shards, self._num_shards)
        )
        # They are packed where they come up, since they wait until the last step is through.
        packs = [
            rows
            | f"Serialize{stage}Errors" >> beam.Map(_error_line, self._keep_secrets)
            | f"Pack{stage}Errors" >> PackRows()
            for stage, rows in errors.items()
        ]
        return (
            packs
            | "CollectErrors" >> beam.Flatten()
            | "HashToShard" >> beam.FlatMap(_error_rows, count)
            | "WriteShards" >> WriteShards(naming=self._naming, num_shards=count)
        )


def _error_shards(_: None, feature_shards: int) -> int:
    return error_shards(feature_shards)


def _feature_row(
    row: ImageFeatures,
    columns: dict[str, Column],
    vectors: tuple[VectorField, ...],
    keep_secrets: bool,
) -> ShardRow:
    uri = row.ref.uri if keep_secrets else redact_uri(row.ref.uri)
    fields: dict[str, FieldValue] = {
        URI: [uri.encode()],
        KEY: [row.ref.key.encode()],
        SHA256: [row.sha256.encode()],
        FORMAT: [row.format.encode()],
        WIDTH: [row.width],
        HEIGHT: [row.height],
        **{field.key: vector for field, vector in divided(row.features, vectors)},
    }
    for name, value in row.ref.columns:
        fields[name] = column_field(value, columns[name])
    note = index_note(row.sha256, row.version, uri)
    return ShardRow(row.ref.shard, row.ref.key, RECORDS.encode(fields), note=note)


def _error_line(error: ImageError, keep_secrets: bool) -> tuple[str, str, bytes]:
    """Returns the key, the reason and the line of an error."""
    ref = error.ref
    fields: dict[str, Any] = {
        "uri": ref.uri if keep_secrets else redact_uri(ref.uri),
        "key": ref.key,
        "stage": str(error.stage),
        "reason": str(error.reason),
        "message": redact_text(error.message),
        "attempts": error.attempts,
    }
    for name, value in ref.columns:
        taken = name == "uri" or name in ERROR_FIELDS
        fields[f"{COLLISION_PREFIX}{name}" if taken else name] = value
    line = json.dumps(fields, default=encode_bytes, sort_keys=False) + "\n"
    return ref.key, str(error.reason), line.encode("utf-8", "replace")


def _error_rows(packed: bytes, num_shards: int) -> Iterator[ShardRow]:
    for key, reason, line in unpack(packed):
        yield ShardRow(shard_of(key, num_shards), key, line, reason)
