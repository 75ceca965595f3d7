"""QdrantStore: exports to Qdrant, a server's or a directory of its client's local mode.

An alias, by which readers ask, leads to the collection that holds the rows. A whole export fills a
new collection and then moves the alias, which is one step: readers see all of it or nothing. What
has changed since is written into the collection where it stands. The record of an export is in the
collection's own metadata, so that it moves, is copied and is removed together with the rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from image_features.errors import UsageError
from image_features.system.paths import absolute
from image_features.transforms.exports.fields import RowFields, VectorType
from image_features.transforms.exports.qdrant_connection import (
    BRIEF,
    PATIENT,
    Connection,
    address_of,
    is_local,
    is_there,
    opened,
)
from image_features.transforms.exports.qdrant_session import QdrantSession
from image_features.transforms.exports.store import StoreError
from image_features.transforms.stores.retries import RetryPolicy

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import VectorParams

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,200}")
_NOTE = "image_features"


def qdrant_store(
    target: str, table: str, type_: VectorType, *, since_last: bool = False
) -> QdrantStore:
    """Returns the database of a target, with the key that the environment has for it.

    Args:
      target: A server's address, or a local directory, as the user gave it.
      table: The name by which readers ask.
      type_: The type of the vectors' values.
      since_last: Whether only what has changed is to be exported.

    Raises:
      UsageError: there is no such database, or it cannot hold what is asked.
    """
    if importlib.util.find_spec("qdrant_client") is None:
        raise UsageError(
            "--format=qdrant needs qdrant-client: pip install 'image-feature-extractor[qdrant]'"
        )
    if type_ is VectorType.INT8:
        raise UsageError(
            "--dtype=int8 is nothing that Qdrant stores; choose float32 or float16. Qdrant's own "
            "quantization makes int8 of either."
        )
    if not _NAME.fullmatch(table):
        raise UsageError(
            f"--table={table!r} cannot name a collection: up to 200 letters, digits, _, - and . do."
        )
    if is_local(target):
        return QdrantStore(absolute(target), table, since_last)
    key = os.environ.get("QDRANT_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError("QDRANT_API_KEY has characters that no key has; set it anew.")
    return QdrantStore(address_of(target), table, since_last, key or None)


@dataclasses.dataclass(frozen=True)
class QdrantStore:
    """A collection in Qdrant.

    Attributes:
      location: The server's address, or the local directory, absolute.
      table: The alias by which readers ask.
      since_last: Whether what has changed is written into the collection that is there, if one is.
      api_key: The server's key, which workers need too.
    """

    location: str
    table: str
    since_last: bool = False
    api_key: str | None = dataclasses.field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The database and the collection in it; addresses hold no credentials."""
        return f"{self.location}, collection {self.table}"

    @property
    def is_local(self) -> bool:
        """Whether it is a directory, which one process may open."""
        return is_local(self.location)

    def last_export(self) -> Mapping[str, Any] | None:
        """Returns the record of the last committed export; None if there is none.

        Raises:
          StoreError: Qdrant cannot be reached, or another's collection has the name.
        """
        if self.is_local and not is_there(self.location):
            return None
        with self._opened(BRIEF) as connection:
            current = connection.ask(self._current)
            if current is None:
                if connection.ask(lambda client: client.collection_exists(self.table)):
                    raise StoreError(
                        f"{self.shown} was not made by an export; name another by --table, or "
                        "remove that collection."
                    )
                return None
            note = connection.ask(lambda client: _note(client, current))
            if note is None:
                raise StoreError(
                    f"{self.shown} leads to the collection {current}, which was not made by an "
                    "export; name another by --table, or remove that alias."
                )
            record: Mapping[str, Any] | None = note["record"]
            return record

    def prepare(self, fields: RowFields, export: str) -> None:
        """Makes the collection of a whole export, as far as it is not there.

        Raises:
          StoreError: Qdrant cannot hold the rows beside those that are there.
        """
        there = self.last_export() is not None
        with self._opened(BRIEF) as connection:
            params = _params(fields)
            if there:
                current = connection.ask(self._current)
                _check_params(
                    connection.ask(lambda client: _params_of(client, current)), params, self.shown
                )
            if not (there and self.since_last):
                self._make(connection, params, export)

    def connect(self, export: str) -> QdrantSession:
        """Returns a connection for a bundle's rows."""
        stack = contextlib.ExitStack()
        connection = stack.enter_context(self._opened(PATIENT))
        try:
            collection = connection.ask(self._collection_of(export))
        except BaseException:
            stack.close()
            raise
        return QdrantSession(connection, collection, stack.close)

    def finish(self, record: Mapping[str, Any], *, whole: bool) -> int:
        """Commits an export: notes its record, and after a whole one moves the alias.

        Raises:
          StoreError: the collection has not as many rows as the dataset; nothing is committed.
        """
        export, rows = str(record["run_id"]), record["rows"]
        with self._opened(PATIENT) as connection:
            name = connection.ask(self._collection_of(export))
            count = connection.ask(lambda client: client.count(name, exact=True).count)
            if count != rows:
                if whole:  # What is wrong in it would be there at the next attempt too.
                    connection.ask(lambda client: client.delete_collection(name))
                raise StoreError(
                    f"{self.shown} would have {count} rows, where the dataset has {rows}: others "
                    "write to it too, or rows were removed by hand. Export without --since=last, "
                    "which begins a new collection."
                )
            note = self._noted(export, record)
            connection.ask(lambda client: client.update_collection(name, metadata=note))
            if whole:
                connection.ask(lambda client: self._move(client, name))
                connection.ask(lambda client: self._remove_others(client, name))
        return count

    def _opened(self, policy: RetryPolicy) -> contextlib.AbstractContextManager[Connection]:
        return opened(self.location, self.api_key, policy)

    def _named(self, export: str) -> str:
        return f"{self.table}-{export}"

    def _noted(self, export: str, record: Mapping[str, Any] | None) -> dict[str, Any]:
        """Returns the metadata of a collection: a text, which servers merge with nothing."""
        note = {"table": self.table, "export": export, "record": record}
        return {_NOTE: json.dumps(note)}

    def _current(self, client: QdrantClient) -> str | None:
        for alias in client.get_aliases().aliases:
            if alias.alias_name == self.table:
                return alias.collection_name
        return None

    def _collection_of(self, export: str) -> Callable[[QdrantClient], str]:
        """Returns what finds the collection of an export: a whole one's own, or the one there."""

        def find(client: QdrantClient) -> str:
            if client.collection_exists(self._named(export)):
                return self._named(export)
            current = self._current(client)
            if current is None:
                raise StoreError(f"{self.shown} is gone: it was removed during the export.")
            return current

        return find

    def _make(self, connection: Connection, params: VectorParams, export: str) -> None:
        name = self._named(export)

        def make(client: QdrantClient) -> None:
            if not client.collection_exists(name):
                client.create_collection(
                    name, vectors_config=params, metadata=self._noted(export, None)
                )

        connection.ask(make)
        if connection.ask(lambda client: _note(client, name)) is None:
            connection.ask(lambda client: client.delete_collection(name))
            raise StoreError(
                f"Qdrant at {self.location} keeps no metadata of collections; use 1.16 or later."
            )
        _check_params(connection.ask(lambda client: _params_of(client, name)), params, name)

    def _move(self, client: QdrantClient, name: str) -> None:
        from qdrant_client import models

        steps: list[Any] = []
        if self._current(client) is not None:
            gone = models.DeleteAlias(alias_name=self.table)
            steps.append(models.DeleteAliasOperation(delete_alias=gone))
        new = models.CreateAlias(collection_name=name, alias_name=self.table)
        steps.append(models.CreateAliasOperation(create_alias=new))
        client.update_collection_aliases(change_aliases_operations=steps)

    def _remove_others(self, client: QdrantClient, name: str) -> None:
        """Removes the collections of earlier exports, of those too that came to no end."""
        for found in client.get_collections().collections:
            if found.name != name and found.name.startswith(f"{self.table}-"):
                note = _note(client, found.name)
                if note is not None and note["table"] == self.table:
                    client.delete_collection(found.name)


def _params(fields: RowFields) -> VectorParams:
    from qdrant_client import models

    return models.VectorParams(
        size=fields.vector.width,
        distance=models.Distance.COSINE,
        datatype=models.Datatype(str(fields.type)),
    )


def _params_of(client: QdrantClient, collection: str | None) -> Any:
    return client.get_collection(str(collection)).config.params.vectors


def _check_params(there: Any, mine: VectorParams, shown: str) -> None:
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


def _note(client: QdrantClient, collection: str) -> dict[str, Any] | None:
    """Returns what an export has noted in a collection's metadata; None if none has."""
    metadata = client.get_collection(collection).config.metadata or {}
    try:
        note = json.loads(metadata[_NOTE])
        return note if {"table", "export", "record"} <= note.keys() else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
