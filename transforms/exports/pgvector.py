"""PgVectorStore: exports to a table of PostgreSQL with vectors of pgvector.

Workers copy rows into a staging table that readers do not look at. One transaction then brings them
into the table, removes what is gone, and keeps the record of the export.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from image_features.transforms.exports.fields import KEY_NAME, RowFields
from image_features.transforms.exports.pgvector_commit import bring_in
from image_features.transforms.exports.pgvector_session import PgVectorSession
from image_features.transforms.exports.postgres import BRIEFLY, PATIENCE, Database, said
from image_features.transforms.exports.postgres_tables import EXPORTS, TableName, Tables
from image_features.transforms.exports.postgres_values import columns_of
from image_features.transforms.exports.store import StoreError

if TYPE_CHECKING:
    import psycopg

_MADE = """
CREATE TABLE IF NOT EXISTS {exports} (
  table_name text PRIMARY KEY,
  export text NOT NULL,
  columns json NOT NULL,
  record jsonb NOT NULL,
  committed timestamptz NOT NULL DEFAULT now()
)"""


@dataclasses.dataclass(frozen=True)
class PgVectorStore:
    """A table of a PostgreSQL database.

    Attributes:
      database: The database.
      table: The name of the table.
    """

    database: Database
    table: TableName

    @classmethod
    def at(cls, url: str, table: str) -> PgVectorStore:
        """Returns the table of a name in the database of an address.

        Raises:
          UsageError: the address or the name is none, or the client is not installed.
        """
        name = TableName.parse(table)
        database = Database.at(url)
        return cls(dataclasses.replace(database, shown=f"{database.shown}, table {name}"), name)

    @property
    def shown(self) -> str:
        """The database and the table in it, without credentials."""
        return self.database.shown

    def last_export(self) -> Mapping[str, Any] | None:
        """Returns the record of the last committed export; None if there is none."""
        return self.database.run(
            lambda connection: Tables(connection, self.table).find().record, BRIEFLY
        )

    def prepare(self, fields: RowFields, export: str) -> None:
        """Makes the extension, the table of records and staging tables."""

        def action(connection: psycopg.Connection[Any]) -> None:
            columns = columns_of(fields)
            tables = Tables(connection, self.table)
            # Two that make the same thing at once may fail, even if it is made where it is not.
            tables.lock(EXPORTS)
            _make_extension(tables, columns)
            tables.execute(_MADE)
            _check(tables, columns)
            _make_staging(tables, export, columns)

        self.database.run(action, BRIEFLY)

    def connect(self, export: str) -> PgVectorSession:
        """Returns a connection for a bundle's rows."""
        return PgVectorSession(self.database, self.table, export)

    def finish(self, record: Mapping[str, Any], *, whole: bool) -> int:
        """Commits an export in one transaction, so that readers see all of it or nothing."""

        def action(connection: psycopg.Connection[Any]) -> int:
            return bring_in(Tables(connection, self.table), record, whole=whole)

        return self.database.run(action, PATIENCE)


def _make_extension(tables: Tables, columns: Mapping[str, str]) -> None:
    import psycopg

    try:
        tables.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise StoreError(
            f"its extension vector cannot be made ({said(error)}); install pgvector on the server, "
            "and have one who may do so run CREATE EXTENSION vector in the database"
        ) from error
    tables.look_for_types()
    if any(type_.startswith("halfvec") for type_ in columns.values()) and not tables.count(
        "SELECT count(*) FROM pg_type WHERE typname = 'halfvec'"
    ):
        raise StoreError(
            "its pgvector has no vectors of float16, which 0.7 brings; export with "
            "--dtype=float32, or run ALTER EXTENSION vector UPDATE"
        )


def _check(tables: Tables, columns: Mapping[str, str]) -> None:
    """Makes sure that rows of such columns can be brought into what is there."""
    found = tables.find()
    if found.oid is None:
        return
    if found.record is None:
        raise StoreError(
            "something of that name is there which no export has made; choose another --table"
        )
    other = "; choose another --table, or drop the table, which makes it anew"
    there = tables.columns(tables.named(tables.name))
    for name in {**columns, **found.columns}:
        before, now = found.columns.get(name, "absent"), columns.get(name, "absent")
        if before != now:
            raise StoreError(f"its column {name} is {before}, and would be {now}{other}")
        if there.get(name) != now:
            raise StoreError(
                f"its column {name} was made {there.get(name, 'absent')} by others, and must be "
                f"{now}{other}"
            )
    for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        query = f"SELECT has_table_privilege({found.oid}, '{right}')::int"
        if not tables.count(query):
            raise StoreError(f"its user has not the right to {right} in it; GRANT it")


def _make_staging(tables: Tables, export: str, columns: Mapping[str, str]) -> None:
    """Makes the tables that rows are gathered in, where an earlier attempt has not.

    They are not logged: a server that crashes empties them, and the commit finds rows missing.
    """
    from psycopg import sql

    create = "CREATE UNLOGGED TABLE IF NOT EXISTS {staging} ({columns})"
    made = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_))
        for name, type_ in columns.items()
    ]
    tables.execute(create, staging=tables.rows(export), columns=sql.SQL(", ").join(made))
    key = sql.SQL("{} text").format(sql.Identifier(KEY_NAME))
    tables.execute(create, staging=tables.removed(export), columns=key)
