"""The tables of exports to PostgreSQL: their names, and what is there of them."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from image_features.errors import UsageError
from image_features.transforms.exports.fields import KEY_NAME
from image_features.transforms.exports.store import StoreError

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

NAME_BYTES = 63
_LOG = logging.getLogger(__name__)
EXPORTS = "image_features_exports"
_STAGING = "image_features_staging_"


@dataclasses.dataclass(frozen=True)
class TableName:
    """The name of a table, as a user gives it: NAME or SCHEMA.NAME, both as they are.

    Attributes:
      schema: The schema; None for the first one in the database's search_path.
      name: The table.
    """

    schema: str | None
    name: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Reads a name.

        Raises:
          UsageError: it names no table, or one that exports use themselves.
        """
        schema, dot, name = text.rpartition(".")
        parts = [schema, name] if dot else [name]
        if not all(parts) or "." in schema or not text.isprintable():
            raise UsageError(f"--table={text} is no table; write NAME or SCHEMA.NAME.")
        for part in parts:
            if len(part.encode()) > NAME_BYTES:
                raise UsageError(
                    f"--table={text} is too long: names of PostgreSQL have at most "
                    f"{NAME_BYTES} bytes."
                )
        if name == EXPORTS or name.startswith(_STAGING):
            raise UsageError(f"--table={text} is a table of exports themselves; name another one.")
        return cls(schema or None, name)

    def __str__(self) -> str:
        """Returns the name as it was given."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


class Found(NamedTuple):
    """What is there of a table that is exported to.

    Attributes:
      oid: The number of the table; None where there is none.
      columns: The types of the columns of the last export, by their names.
      record: The record of the last export; None where the table is none of ours.
    """

    oid: int | None
    columns: Mapping[str, str]
    record: Mapping[str, Any] | None


class Tables:
    """The tables of exports to one table, all in its schema, as a transaction sees them.

    Args:
      connection: The connection; a transaction in which pgvector's types are known from here on.
      table: The table that is exported to.

    Raises:
      StoreError: there is no such schema.
    """

    def __init__(self, connection: psycopg.Connection[Any], table: TableName) -> None:
        self.connection = connection
        self.schema = _schema(connection, table)
        self.name = table.name
        self.look_for_types()

    def look_for_types(self) -> None:
        """Finds pgvector's types for the transaction, also in a schema that nobody looks into."""
        self.connection.execute(
            "SELECT set_config('search_path', concat_ws(', ', "
            "nullif(current_setting('search_path'), ''), quote_ident(nspname)), true) "
            "FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
            "WHERE extname = 'vector'"
        )

    def rows(self, export: str) -> sql.Identifier:
        """Returns the name of the table in which an export gathers rows."""
        return self.named(f"{self._staging}{_digits(export)}_rows")

    def removed(self, export: str) -> sql.Identifier:
        """Returns the name of the table in which an export gathers removed keys."""
        return self.named(f"{self._staging}{_digits(export)}_removed")

    def all_staging(self) -> list[sql.Identifier]:
        """Returns the names of the tables that exports to the table gather rows in.

        Those of other users, which only they can drop, are not among them.
        """
        found = self.connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s "
            "AND starts_with(tablename, %s) AND pg_has_role(tableowner, 'USAGE')",
            [self.schema, self._staging],
        )
        return [self.named(name) for (name,) in found.fetchall()]

    def named(self, name: str) -> sql.Identifier:
        """Returns the name of a table of the schema, for statements."""
        from psycopg import sql

        return sql.Identifier(self.schema, name)

    def execute(self, statement: str, /, **parts: Any) -> psycopg.Cursor[Any]:
        """Executes a statement, in whose braces come names, parts of statements and values."""
        from psycopg import sql

        own = {"table": self.name, "exports": EXPORTS}
        composed = {name: self.named(table) for name, table in own.items()} | {
            name: part if isinstance(part, sql.Composable) else sql.Literal(part)
            for name, part in parts.items()
        }
        # Names may hold a percent sign, which parameters of the usual kind do not go with.
        return self.connection.execute(
            sql.SQL(statement).format(key=sql.Identifier(KEY_NAME), **composed)
        )

    def count(self, query: str, **parts: Any) -> int:
        """Returns the one number that a query gives."""
        row = self.execute(query, **parts).fetchone()
        assert row is not None
        return int(row[0])

    def lock(self, name: str) -> None:
        """Keeps out other exporters that lock the same name, until the transaction ends."""
        text = f"image_features\0{self.schema}\0{name}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)
        row = self.connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [number]).fetchone()
        if row is None or not row[0]:
            _LOG.warning("Another export uses the table %s just now; waits for it.", name)
            self.connection.execute("SELECT pg_advisory_xact_lock(%s)", [number])

    def wait_for_others(self) -> None:
        """Waits until rows can be written, and tells of it where that takes a while."""
        import psycopg

        lock = "LOCK TABLE {table} IN ROW EXCLUSIVE MODE"
        try:
            with self.connection.transaction():
                self.execute(f"{lock} NOWAIT")
        except psycopg.errors.LockNotAvailable:
            _LOG.warning(
                "Others hold a lock on the table %s, as CREATE INDEX does; waits for them.",
                self.name,
            )
            self.execute(lock)

    def find(self) -> Found:
        """Looks for the table and the record of its last export."""
        exports = "(SELECT NULL AS table_name, NULL::json AS columns, NULL::jsonb AS record)"
        if self.connection.execute(
            "SELECT FROM pg_tables WHERE (schemaname, tablename) = (%s, %s)", [self.schema, EXPORTS]
        ).rowcount:
            exports = "{exports}"
        row = self.execute(
            "SELECT c.oid, e.columns, e.record FROM pg_class c "
            f"JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN {exports} e "
            "ON e.table_name = c.relname WHERE n.nspname = {schema} AND c.relname = {name}",
            schema=self.schema,
            name=self.name,
        ).fetchone()
        return Found(row[0], row[1] or {}, row[2]) if row else Found(None, {}, None)

    def columns(self, table: sql.Identifier) -> dict[str, str]:
        """Returns the types of a table's columns, by their names; none where there is no table."""
        found = self.connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [table.as_string(self.connection)],
        )
        return dict(found.fetchall())

    @property
    def _staging(self) -> str:
        return f"{_STAGING}{_digits(self.name)}_"


def _schema(connection: psycopg.Connection[Any], table: TableName) -> str:
    found = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname = coalesce(%s, current_schema())",
        [table.schema],
    ).fetchone()
    if found is not None:
        return str(found[0])
    if table.schema is not None:
        raise StoreError(
            f"there is no schema {table.schema} in the database; make it by CREATE SCHEMA"
        )
    raise StoreError("its search_path names no schema; write --table=SCHEMA.NAME")


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
