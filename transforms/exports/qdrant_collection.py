"""What a collection of Qdrant says of itself: its vectors, and what an export has noted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from image_features.transforms.exports.fields import RowFields
from image_features.transforms.exports.store import StoreError

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import VectorParams

_NOTE = "image_features"


def params_for(fields: RowFields) -> VectorParams:
    """Returns the vectors of a collection that rows of these fields can go to."""
    from qdrant_client import models

    return models.VectorParams(
        size=fields.vector.width,
        distance=models.Distance.COSINE,
        datatype=models.Datatype(str(fields.type)),
    )


def params_of(client: QdrantClient, collection: str | None) -> Any:
    """Returns the vectors that a collection has."""
    return client.get_collection(str(collection)).config.params.vectors


def check_params(there: Any, mine: VectorParams, shown: str) -> None:
    """Makes sure that a collection has the vectors that it should have.

    Args:
      there: What the collection has.
      mine: What it should have.
      shown: The collection, as messages name it.

    Raises:
      StoreError: it has others.
    """
    from qdrant_client import models

    def told(params: Any) -> str:
        if not hasattr(params, "size"):
            return "named vectors"
        kind = params.datatype or models.Datatype.FLOAT32
        return f"{params.size} values of {kind.value}, {params.distance!s}"

    if told(there) != told(mine):
        raise StoreError(
            f"{shown} has vectors of {told(there)}, not of {told(mine)}; export to another --table."
        )


def note_of(client: QdrantClient, collection: str) -> dict[str, Any] | None:
    """Returns what an export has noted in a collection's metadata; None if none has."""
    metadata = client.get_collection(collection).config.metadata or {}
    try:
        note = json.loads(metadata[_NOTE])
        return note if {"table", "export", "record"} <= note.keys() else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def noted(table: str, export: str, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the metadata of an export's collection: a text, which servers merge with nothing."""
    return {_NOTE: json.dumps({"table": table, "export": export, "record": record})}
