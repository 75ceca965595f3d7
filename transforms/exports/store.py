"""Databases of vectors, and how rows come there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from image_features.errors import ImageFeaturesError
from image_features.transforms.exports.fields import RowFields


class StoreError(ImageFeaturesError, ValueError):
    """A database cannot be reached, or is not as it should be; the message is for the user."""


class VectorStore(Protocol):
    """A database of vectors, described so that it can be sent to workers; it connects in them.

    An export is known by its name, the same in every attempt at it. Whatever is done twice under
    one name must end as if it had been done once.
    """

    @property
    def shown(self) -> str:
        """The database and the collection in it, without credentials."""

    def last_export(self) -> Mapping[str, Any] | None:
        """Returns the record of the last committed export; None if there is none.

        Raises:
          ValueError: the database cannot be reached or used, in a sentence for the user.
        """

    def prepare(self, fields: RowFields, export: str) -> None:
        """Makes what an export needs, as far as it is not there: collection, tables, staging.

        Raises:
          ValueError: what is there is of another kind or dimension, in a sentence for the user.
        """

    def connect(self, export: str) -> StoreSession:
        """Returns a connection for a bundle's rows."""

    def finish(self, record: Mapping[str, Any], *, whole: bool) -> int:
        """Commits an export, all rows of which were handed over: readers see them from now on.

        Args:
          record: The record of the export, which `last_export` returns from now on.
          whole: Whether rows that the export has not are to go.

        Returns:
          The number of rows that the collection has now.

        Raises:
          ValueError: the counts of rows taken are not those of the record; nothing is committed.
        """


class StoreSession(Protocol):
    """A connection to a database, used in one thread."""

    def upsert(self, rows: Any) -> None:
        """Writes rows, a pyarrow.Table of `RowFields`; those with the same keys are replaced."""

    def remove(self, keys: Sequence[str]) -> None:
        """Removes rows by their keys; those that are not there are no error."""

    def close(self) -> None:
        """Ends the connection."""
