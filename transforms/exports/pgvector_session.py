"""PgVectorSession: rows that are copied into the staging tables of an export."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from image_features.transforms.exports.fields import KEY_NAME, VECTOR
from image_features.transforms.exports.postgres import PATIENCE, Database
from image_features.transforms.exports.postgres_tables import TableName, Tables
from image_features.transforms.exports.postgres_values import check_values, types_of, vectors_of
from image_features.transforms.exports.store import StoreError


class PgVectorSession:
    """A connection that is made when it is needed, and again when it is lost.

    A batch whose answer was lost is sent again: it may be there twice until the export is finished.

    Args:
      database: The database.
      table: The table that is exported to.
      export: The name of the export.
    """

    def __init__(self, database: Database, table: TableName, export: str) -> None:
        self._database = database
        self._table = table
        self._export = export
        self._tables: Tables | None = None

    def upsert(self, rows: Any) -> None:
        """Copies rows into the staging table.

        Raises:
          StoreError: a value is none that PostgreSQL takes, or the rows cannot be written.
        """
        self._database.tried(lambda: check_values(rows), 0)
        types = types_of(rows.schema)
        self._copy(lambda tables: tables.rows(self._export), types, lambda: _values(rows))

    def remove(self, keys: Sequence[str]) -> None:
        """Copies keys into the staging table of those that are gone."""
        self._copy(
            lambda tables: tables.removed(self._export),
            {KEY_NAME: "text"},
            lambda: ((key,) for key in keys),
        )

    def close(self) -> None:
        """Ends the connection."""
        if self._tables is not None:
            self._tables.connection.close()
            self._tables = None

    def _copy(self, staging: Any, types: dict[str, str], rows: Any) -> None:
        self._database.tried(lambda: self._copy_once(staging, types, rows), PATIENCE)

    def _copy_once(self, staging: Any, types: dict[str, str], rows: Any) -> None:
        import psycopg
        from psycopg import sql

        try:
            tables = self._tables = self._tables or self._open()
            with (
                tables.connection.transaction(),
                tables.connection.cursor() as cursor,
                cursor.copy(
                    sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
                        staging(tables), sql.SQL(", ").join(map(sql.Identifier, types))
                    )
                ) as copy,
            ):
                # The width of a vector is the column's, and no part of the type's name.
                copy.set_types([type_.partition("(")[0] for type_ in types.values()])
                for row in rows():
                    copy.write_row(row)
        except psycopg.errors.UndefinedTable as error:
            raise StoreError(
                "the table that rows were gathered in is gone, since another export to it was "
                "committed meanwhile; run the command again"
            ) from error
        except psycopg.Error:
            self.close()
            raise

    def _open(self) -> Tables:
        from pgvector.psycopg import register_vector

        connection = self._database.connect()
        try:
            with connection.transaction():
                tables = Tables(connection, self._table)
                register_vector(connection)
            return tables
        except BaseException:
            connection.close()
            raise


def _values(rows: Any) -> Iterable[tuple[Any, ...]]:
    """Yields a table's rows as PostgreSQL's client takes them."""
    from pgvector import HalfVector

    vectors: Any = vectors_of(rows)
    if str(vectors.dtype) == "float16":
        vectors = map(HalfVector, vectors)
    columns = [
        vectors if name == VECTOR else column.to_pylist()
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    ]
    return zip(*columns, strict=True)
