"""QdrantSession: rows that become points of a collection."""

from __future__ import annotations

import functools
import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from image_features.transforms.exports.fields import KEY_NAME, VECTOR
from image_features.transforms.exports.qdrant_connection import Connection
from image_features.transforms.manifests.jsonl import encode_bytes
from image_features.transforms.stores.retries import PassingError
from image_features.transforms.values import Reason

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

# Servers refuse requests of more than 32 MB. A value takes up to 24 digits.
_REQUEST_BYTES = 8 * 2**20
_VALUE_BYTES = 24


class QdrantSession:
    """A bundle's connection to Qdrant.

    Args:
      connection: The connection.
      collection: The name of the collection.
      close: What ends the connection.
    """

    def __init__(self, connection: Connection, collection: str, close: Callable[[], None]) -> None:
        self._connection = connection
        self._collection = collection
        self._close = close

    def upsert(self, rows: Any) -> None:
        """Writes rows; those with the same keys are replaced."""
        from qdrant_client import models

        table = rows.combine_chunks()
        payloads = [_payload(row) for row in table.drop_columns([VECTOR]).to_pylist()]
        vectors = table.column(VECTOR).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = vectors.astype("float32").reshape(len(payloads), -1)
        for some in _requests(payloads, vectors.shape[1]):
            points = models.Batch(
                ids=[_point_id(payload[KEY_NAME]) for payload in payloads[some]],
                vectors=vectors[some].tolist(),
                payloads=payloads[some],
            )
            self._update(functools.partial(self._upsert, points))

    def remove(self, keys: Sequence[str]) -> None:
        """Removes rows by their keys."""
        if keys:
            ids: Any = [_point_id(key) for key in keys]
            self._update(lambda client: client.delete(self._collection, ids))

    def close(self) -> None:
        """Ends the connection."""
        self._close()

    def _upsert(self, points: Any, client: QdrantClient) -> Any:
        return client.upsert(self._collection, points)

    def _update(self, action: Callable[[QdrantClient], Any]) -> None:
        def update(client: QdrantClient) -> None:
            status = str(action(client).status)
            if status != "completed":  # The server has waited as long as it may.
                said = f"{self._collection} is not written yet: {status}."
                raise PassingError(Reason.TIMEOUT, said)

        self._connection.ask(update)


def _requests(payloads: Sequence[Mapping[str, Any]], width: int) -> Iterator[slice]:
    """Yields which rows are sent together, by what they will take as JSON."""
    begin = size = 0
    for position, payload in enumerate(payloads):
        bytes_ = len(json.dumps(payload)) + width * _VALUE_BYTES
        if size and size + bytes_ > _REQUEST_BYTES:
            yield slice(begin, position)
            begin, size = position, 0
        size += bytes_
    if size:
        yield slice(begin, len(payloads))


def _point_id(key: str) -> str:
    return str(uuid.UUID(hex=key))


def _payload(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _as_json(value) for name, value in row.items()}


def _as_json(value: Any) -> Any:
    """Returns a value as JSON has it: bytes as in error rows, and what is no number by its name."""
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, bytes):
        return encode_bytes(value)
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return value
