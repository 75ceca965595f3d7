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
import logging
import os
import re
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from image_features.errors import UsageError
from image_features.system.paths import absolute
from image_features.transforms.exports.fields import RowFields, VectorType
from image_features.transforms.exports.qdrant_collection import (
    check_params,
    note_of,
    noted,
    params_for,
    params_of,
)
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

_LOG = logging.getLogger(__name__)

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import VectorParams

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,200}")
# Who leaves http:// out means a server.
_NO_DIRECTORY = re.compile(r":memory:|[^/]*:\d+/?")


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
    if _NO_DIRECTORY.fullmatch(target):
        raise UsageError(f"{target} is no directory; write http://HOST:6333, or ./{target}.")
    if is_local(target):
        return QdrantStore(absolute(target), table, since_last)
    key = os.environ.get("QDRANT_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError("QDRANT_API_KEY has characters that no key has; set it anew.")
    address = address_of(target)
    if key and address.startswith("http://") and not _is_here(address):
        _LOG.warning("QDRANT_API_KEY goes to %s unencrypted; https:// would hide it.", address)
    return QdrantStore(address, table, since_last, key or None)


def _is_here(address: str) -> bool:
    host = urllib.parse.urlsplit(address).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


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
            note = connection.ask(lambda client: note_of(client, current))
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
            params = params_for(fields)
            if there:
                current = connection.ask(self._current)
                check_params(
                    connection.ask(lambda client: params_of(client, current)), params, self.shown
                )
            if not (there and self.since_last):
                self._make(connection, params, export)

    def connect(self, export: str) -> QdrantSession:
        """Returns a connection for a bundle's rows."""
        stack = contextlib.ExitStack()
        connection = stack.enter_context(self._opened(PATIENT))
        try:
            collection = connection.ask(
                lambda client: self._collection_of(client, export, not self.since_last)
            )
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
            name = connection.ask(lambda client: self._collection_of(client, export, whole))
            count = connection.ask(lambda client: client.count(name, exact=True).count)
            if count != rows:
                if whole:  # What is wrong in it would be there at the next attempt too.
                    connection.ask(lambda client: client.delete_collection(name))
                raise StoreError(
                    f"{self.shown} would have {count} rows, where the dataset has {rows}: others "
                    "write to it too, or rows were removed by hand. Export without --since=last, "
                    "which begins a new collection."
                )
            note = noted(self.table, export, record)
            connection.ask(lambda client: client.update_collection(name, metadata=note))
            if whole:
                connection.ask(lambda client: self._move(client, name))
                connection.ask(lambda client: self._remove_others(client, name))
        return count

    def _opened(self, policy: RetryPolicy) -> contextlib.AbstractContextManager[Connection]:
        return opened(self.location, self.api_key, policy)

    def _named(self, export: str) -> str:
        return f"{self.table}-{export}"

    def _current(self, client: QdrantClient) -> str | None:
        for alias in client.get_aliases().aliases:
            if alias.alias_name == self.table:
                return alias.collection_name
        return None

    def _collection_of(self, client: QdrantClient, export: str, whole: bool) -> str:
        """Returns the collection of an export: a whole one's own, or the one that is there.

        The first export is a whole one, even if only changes were asked for.
        """
        if client.collection_exists(self._named(export)):
            return self._named(export)
        current = None if whole else self._current(client)
        if current is None:
            raise StoreError(f"{self.shown} is gone: it was removed during the export.")
        return current

    def _make(self, connection: Connection, params: VectorParams, export: str) -> None:
        name = self._named(export)
        was_there = connection.ask(lambda client: client.collection_exists(name))

        def make(client: QdrantClient) -> None:
            if not client.collection_exists(name):  # An attempt may have got that far.
                client.create_collection(
                    name, vectors_config=params, metadata=noted(self.table, export, None)
                )

        connection.ask(make)
        if connection.ask(lambda client: note_of(client, name)) is None:
            if was_there:
                raise StoreError(
                    f"The collection {name} of {self.location} was not made by an export; name "
                    "another by --table."
                )
            connection.ask(lambda client: client.delete_collection(name))
            raise StoreError(
                f"Qdrant at {self.location} keeps no metadata of collections; use 1.16 or later."
            )
        check_params(connection.ask(lambda client: params_of(client, name)), params, name)

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
                note = note_of(client, found.name)
                if note is not None and note["table"] == self.table:
                    client.delete_collection(found.name)
