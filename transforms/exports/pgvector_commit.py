"""The commit of an export to PostgreSQL: one transaction that brings gathered rows into a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from image_features.transforms.exports.postgres_tables import Found, Tables
from image_features.transforms.exports.store import StoreError

if TYPE_CHECKING:
    from psycopg import sql

_COUNT = "SELECT count(*) FROM {table}"
# A batch that was sent twice has left its rows twice. Rows that are as they were are not touched,
# which would cost their indexes as much as new ones.
_UPSERT = """
INSERT INTO {table} AS old ({columns})
SELECT DISTINCT ON ({key}) {columns} FROM {rows} ORDER BY {key}, ctid DESC
ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE ({mine}) IS DISTINCT FROM ({new})"""
_REMOVE = """
DELETE FROM {table} t WHERE EXISTS (SELECT FROM {removed} r WHERE r.{key} = t.{key})"""
_REMOVE_OTHERS = """
DELETE FROM {table} t WHERE NOT EXISTS (SELECT FROM {rows} r WHERE r.{key} = t.{key})"""
_RECORD = """
INSERT INTO {exports} (table_name, export, columns, record)
VALUES ({name}, {export}, {columns}, {record})
ON CONFLICT (table_name) DO UPDATE SET export = excluded.export, columns = excluded.columns,
  record = excluded.record, committed = excluded.committed"""


def bring_in(tables: Tables, record: Mapping[str, Any], *, whole: bool) -> int:
    """Makes an export visible, when the transaction ends; does nothing if it is.

    Args:
      tables: The tables.
      record: The record of the export.
      whole: Whether rows that the export has not are to go.

    Returns:
      The number of rows that the table has then.

    Raises:
      StoreError: rows are missing, or another export came between.
    """
    from psycopg.types.json import Json

    tables.lock(tables.name)
    found = tables.find()
    export = str(record["run_id"])
    if found.record is not None and found.record["run_id"] == export:
        return tables.count(_COUNT)
    following = 0 if found.record is None else int(found.record["number"]) + 1
    if record["number"] != following:
        raise StoreError(
            "another export to it was committed meanwhile; run the command again, which goes on "
            "from there"
        )
    columns = _gathered(tables, export, record["counts"])
    _merge(tables, export, found, columns, whole=whole)
    rows = tables.count(_COUNT)
    if rows != record["rows"]:
        raise StoreError(
            f"it would have {rows} rows, where the dataset has {record['rows']}: others have "
            "written to it, or rows were removed by hand; export without --since=last, which puts "
            "that right"
        )
    tables.execute(
        _RECORD, name=tables.name, export=export, columns=Json(columns), record=Json(dict(record))
    )
    # What others have gathered cannot be committed any more, as this one came before them.
    for staging in tables.all_staging():
        tables.execute("DROP TABLE IF EXISTS {staging}", staging=staging)
    return rows


def _gathered(tables: Tables, export: str, counts: Mapping[str, int]) -> dict[str, str]:
    """Makes sure that every row has come; returns the types of their columns."""
    rows, removed = tables.rows(export), tables.removed(export)
    columns = tables.columns(rows)
    if not columns:
        raise StoreError(
            "the rows that were gathered are gone, as after another export to it; run the command "
            "again"
        )
    for staging, expected in ((rows, counts["rows_out"]), (removed, counts["rows_removed"])):
        # Nobody may add to it from here on. Without statistics joins with it would be guesses.
        tables.execute("LOCK TABLE {staging} IN SHARE MODE", staging=staging)
        tables.execute("ANALYZE {staging}", staging=staging)
        come = tables.count("SELECT count(DISTINCT {key}) FROM {staging}", staging=staging)
        if come != expected:
            raise StoreError(
                f"of {expected} rows {come} have come, as after a crash of the server; run the "
                "command again"
            )
    return columns


def _merge(
    tables: Tables, export: str, found: Found, columns: Mapping[str, str], *, whole: bool
) -> None:
    from psycopg import sql

    rows, removed = tables.rows(export), tables.removed(export)
    if found.oid is None:
        tables.execute("CREATE TABLE {table} (LIKE {rows})", rows=rows)
        tables.execute("ALTER TABLE {table} ADD PRIMARY KEY ({key})")
    tables.wait_for_others()

    def listed(form: str) -> sql.Composed:
        each = [sql.SQL(form).format(name=sql.Identifier(name)) for name in columns]
        return sql.SQL(", ").join(each)

    tables.execute(
        _UPSERT,
        rows=rows,
        columns=listed("{name}"),
        changes=listed("{name} = excluded.{name}"),
        mine=listed("old.{name}"),
        new=listed("excluded.{name}"),
    )
    if whole:
        tables.execute(_REMOVE_OTHERS, rows=rows)
    else:
        tables.execute(_REMOVE, removed=removed)
