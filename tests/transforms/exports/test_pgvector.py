"""Exports to a real PostgreSQL: what is there afterwards, whatever comes between."""

from __future__ import annotations

import threading
import time

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from image_features.transforms.exports.fields import RowFields, VectorType, exported_name
from image_features.transforms.exports.pgvector import PgVectorStore
from image_features.transforms.exports.store import StoreError
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.vectors import VectorField

_COLUMNS = (
    Column("n", Kind.INT64),
    Column("real", Kind.FLOAT32, nullable=True),
    Column("yes", Kind.BOOL),
    Column("text", Kind.STRING, nullable=True),
    Column("Text", Kind.STRING),
    Column("raw", Kind.BYTES),
    Column("key", Kind.STRING),
    Column('a "quoted" 100 % {name}; DROP', Kind.STRING),
    Column("ns", Kind.INT64, repeated=True),
    Column("reals", Kind.FLOAT32, repeated=True, nullable=True),
    Column("yess", Kind.BOOL, repeated=True),
    Column("texts", Kind.STRING, repeated=True),
    Column("raws", Kind.BYTES, repeated=True),
)
_VALUES = {
    "n": [2**63 - 1, -(2**63)],
    "real": [0.1, None],
    "yes": [True, False],
    "text": ["é\n\t\\N\U0001f600", None],
    "Text": ["", "x" * 100_000],
    "raw": [b"\x00\xff", b""],
    "column/key": ["k", "K"],
    'a "quoted" 100 % {name}; DROP': ["%s", "{}"],
    "ns": [[1, -1], []],
    "reals": [[1.5, float("inf")], None],
    "yess": [[True, False], []],
    "texts": [["NULL", '"', "a,b"], [""]],
    "raws": [[b"\x00", b""], []],
}


def fields_of(width=3, type=VectorType.FLOAT32, columns=(), own=("uri",)):
    return RowFields(VectorField("", width), own, tuple(columns), type)


def rows_of(fields, rows, **columns):
    """Returns a table of rows whose vectors begin with a value: its values by the keys."""
    schema = fields.schema()
    vectors = np.zeros((len(rows), fields.vector.width), str(fields.type))
    vectors[:, 0] = list(rows.values())
    flat = pa.array(vectors.reshape(-1))
    columns = {
        "key": list(rows),
        "uri": [f"/photos/{key}.jpg" for key in rows],
        **columns,
        "vector": pa.FixedSizeListArray.from_arrays(flat, fields.vector.width),
    }
    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, schema.field(name).type)
        for name, values in columns.items()
        if name in schema.names
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def record_of(export, number, rows, out=None, removed=0):
    counts = {"rows_out": rows if out is None else out, "rows_removed": removed}
    return {"run_id": export, "number": number, "rows": rows, "counts": counts}


class Exporter:
    """What a job does with a store."""

    def __init__(self, url, table="t", fields=None):
        self.store = PgVectorStore.at(url, table)
        self.fields = fields or fields_of()

    def hand_over(self, export, rows, removed=()):
        self.store.prepare(self.fields, export)
        session = self.store.connect(export)
        session.upsert(rows_of(self.fields, rows))
        session.remove(list(removed))
        session.close()

    def whole(self, export, number, rows):
        self.hand_over(export, rows)
        return self.store.finish(record_of(export, number, len(rows)), whole=True)

    def changes(self, export, number, rows, removed, total):
        self.hand_over(export, rows, removed)
        record = record_of(export, number, total, len(rows), len(removed))
        return self.store.finish(record, whole=False)


@pytest.fixture
def exporter(database):
    """An exporter to the table t of a new database."""
    return Exporter(database.url)


def values_in(database, table="t"):
    """Returns the first values of the vectors by key."""
    rows = database.all(f"SELECT key, (vector::real[])[1] FROM {table}")
    assert len(dict(rows)) == len(rows)
    return dict(rows)


@pytest.mark.parametrize("type_", [VectorType.FLOAT32, VectorType.FLOAT16])
def test_values_of_every_type_come_back(database, type_):
    database.do('CREATE SCHEMA "Sch""ema % {x}"')
    fields = fields_of(5, type_, _COLUMNS)
    store = PgVectorStore.at(database.url, 'Sch"ema % {x}.t "%s" 1')
    store.prepare(fields, "e")
    session = store.connect("e")
    vectors = np.linspace(-1, 1, 10, dtype=str(type_)).reshape(2, 5)
    rows = rows_of(fields, {"a": 0, "b": 0}, **_VALUES)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 5)
    rows = rows.set_column(rows.schema.get_field_index("vector"), rows.schema.field("vector"), flat)
    session.upsert(rows.slice(0, 1))
    session.upsert(rows.slice(1))
    session.close()
    assert store.finish(record_of("e", 0, 2), whole=True) == 2
    with database.open() as connection:
        query = 'SELECT * FROM "Sch""ema % {x}"."t ""%s"" 1" ORDER BY key'
        found = connection.execute(query, binary=True)
        names = [column.name for column in found.description or ()]
        columns = dict(zip(names, zip(*found.fetchall(), strict=True), strict=True))
    assert names == fields.schema().names
    assert columns["key"] == ("a", "b") and columns["uri"][0] == "/photos/a.jpg"
    for column in _COLUMNS:
        expected = rows.column(exported_name(column)).to_pylist()
        assert list(columns[exported_name(column)]) == expected, column
    there = np.stack([vector.to_numpy() for vector in columns["vector"]])
    assert there.dtype == vectors.dtype and np.array_equal(there, vectors)
    assert store.last_export() == record_of("e", 0, 2)


def test_everything_may_be_done_twice(database, exporter):
    rows = {"a": 1, "b": 2}
    exporter.hand_over("e", {"a": 1})
    assert exporter.store.last_export() is None
    assert exporter.whole("e", 0, rows) == 2
    assert exporter.store.finish(record_of("e", 0, 2), whole=True) == 2
    exporter.hand_over("e2", {"c": 3, "a": 4}, ["b", "never"])
    assert exporter.changes("e2", 1, {"a": 4, "c": 3}, ["never", "b"], 2) == 2
    assert exporter.store.finish(record_of("e2", 1, 2, 2, 2), whole=False) == 2
    assert values_in(database) == {"a": 4, "c": 3}
    assert exporter.store.last_export() == record_of("e2", 1, 2, 2, 2)
    assert database.tables() == ["image_features_exports", "t"]


def test_a_dataset_without_rows(database, exporter):
    for number, rows in enumerate([{}, {"a": 1}, {}]):
        exporter.store.prepare(exporter.fields, str(number))
        if rows:
            exporter.hand_over(str(number), rows)
        assert exporter.store.finish(record_of(str(number), number, len(rows)), whole=True) == len(
            rows
        )
        assert values_in(database) == rows


def test_rows_that_others_refer_to_stay(database, exporter):
    exporter.whole("0", 0, {"a": 1, "b": 1})
    database.do("CREATE TABLE o (k text REFERENCES t (key))", "INSERT INTO o VALUES ('a')")
    with pytest.raises(StoreError, match=r'violates .*"o".* still referenced from table "o"'):
        exporter.whole("1", 1, {"b": 2})
    assert values_in(database) == {"a": 1, "b": 1}
    assert exporter.whole("2", 1, {"a": 2, "b": 2}) == 2


def test_a_database_of_another_encoding(database):
    for encoding, text, kept in [("LATIN1", "é", True), ("LATIN1", "日", False)]:
        other = database.server.create(f"ENCODING {encoding} LOCALE 'C' TEMPLATE template0")
        fields = fields_of(columns=[Column("c", Kind.STRING)])
        store = PgVectorStore.at(other.url, "t")
        store.prepare(fields, "e")
        session = store.connect("e")
        rows = rows_of(fields, {"a": 1}, c=[text])
        if not kept:
            with pytest.raises(StoreError, match='has no equivalent in encoding "LATIN1"'):
                session.upsert(rows)
        else:
            session.upsert(rows)
            store.finish(record_of("e", 0, 1), whole=True)
            assert other.all("SELECT c FROM t") == [(text,)]
        session.close()


def test_settings_of_a_server_change_nothing(database):
    for setting in (
        "standard_conforming_strings = off",
        "backslash_quote = off",
        "default_transaction_isolation = serializable",
        "bytea_output = escape",
        "extra_float_digits = -15",
        "quote_all_identifiers = on",
        "idle_session_timeout = 100",
        "synchronous_commit = off",
        "row_security = off",
        "TimeZone = 'Asia/Kathmandu'",
        "DateStyle = 'German'",
    ):
        database.do(f"ALTER DATABASE {database.name} SET {setting}")
    fields = fields_of(columns=[Column("c\\'", Kind.STRING), Column("r", Kind.FLOAT32)])
    store = PgVectorStore.at(database.url, "t\\'")
    values = {"c\\'": ["\\'"], "r": [1 / 3]}
    store.prepare(fields, "e")
    session = store.connect("e")
    session.upsert(rows_of(fields, {"a": 1 / 3}, **values))
    time.sleep(0.3)
    session.upsert(rows_of(fields, {"b": 1 / 3}, **values))
    session.close()
    record = {**record_of("e", 0, 2), "target": "\\'\\n\"é"}
    assert store.finish(record, whole=True) == 2
    assert store.last_export() == record
    with database.open() as connection:
        found = connection.execute('SELECT "c\\\'", r, vector FROM "t\\\'"', binary=True).fetchall()
    third = float(np.float32(1 / 3))
    assert [(c, r, vector.to_list()[0]) for c, r, vector in found] == [("\\'", third, third)] * 2


def test_readers_see_whole_states_only(database, exporter):
    states = [{f"{key}": value for key in range(200 + value)} for value in range(4)]
    exporter.whole("0", 0, states[0])
    seen, ended = [], threading.Event()

    def read():
        with database.open() as connection:
            while not ended.is_set():
                query = "SELECT count(*), min((vector::real[])[1]), max((vector::real[])[1]) FROM t"
                seen.append(connection.execute(query).fetchone())

    reader = threading.Thread(target=read)
    reader.start()
    for number, rows in enumerate(states[1:], 1):
        exporter.whole(str(number), number, rows)
    ended.set()
    reader.join()
    assert len(seen) > 3 and set(seen) <= {(200 + value, value, value) for value in range(4)}


def test_rows_that_are_as_they_were_and_indexes_are_not_touched(database, exporter):
    exporter.whole("0", 0, {"a": 1, "b": 2, "c": 3})
    database.do(
        "CREATE INDEX nearest ON t USING hnsw (vector vector_l2_ops)",
        "ALTER TABLE t ADD COLUMN mine text DEFAULT 'x'",
        "UPDATE t SET mine = 'kept' WHERE key = 'a'",
    )
    before = dict(database.all("SELECT key, xmin::text FROM t"))
    exporter.whole("1", 1, {"a": 1, "b": 5, "d": 4})
    after = dict(database.all("SELECT key, xmin::text FROM t"))
    assert after["a"] == before["a"] and after["b"] != before["b"]
    assert database.all("SELECT key, mine FROM t ORDER BY 1") == [
        ("a", "kept"),
        ("b", "x"),
        ("d", "x"),
    ]
    with database.open() as connection:
        connection.execute("SET enable_seqscan = off")
        query = "SELECT key FROM t ORDER BY vector <-> '[4.2,0,0]' LIMIT 2"
        assert "nearest" in str(connection.execute(f"EXPLAIN {query}").fetchall())
        assert connection.execute(query).fetchall() == [("d",), ("b",)]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (record_of("1", 1, 2, out=3), "of 3 rows 2 have come, as after a crash of the server"),
        (record_of("1", 1, 2, removed=1), "of 1 rows 0 have come"),
        (record_of("1", 1, 9, out=2), "it would have 2 rows, where the dataset has 9"),
        (record_of("1", 2, 2), "another export to it was committed meanwhile"),
        (record_of("x", 1, 2), "the rows that were gathered are gone"),
    ],
)
def test_a_commit_that_fails_leaves_everything(database, exporter, record, says):
    exporter.whole("0", 0, {"a": 1})
    exporter.hand_over("1", {"a": 2, "b": 2})
    before = database.tables()
    with pytest.raises(StoreError, match=says):
        exporter.store.finish(record, whole=True)
    assert values_in(database) == {"a": 1} and database.tables() == before
    assert exporter.store.last_export() == record_of("0", 0, 1)
    assert exporter.store.finish(record_of("1", 1, 2), whole=True) == 2


def test_of_two_exports_at_once_one_is_committed(database, exporter):
    other = Exporter(database.url)
    exporter.whole("0", 0, {"a": 1})
    for export, each in (("1", exporter), ("2", other)):
        each.hand_over(export, {"a": int(export), "b": 2})
    results: dict[str, object] = {}

    def finish(export, each):
        try:
            results[export] = each.store.finish(record_of(export, 1, 2), whole=True)
        except StoreError as error:
            results[export] = str(error)

    # Both wait for a third one, so that they come at the same time.
    with database.open() as connection, connection.transaction():
        connection.execute("LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE")
        threads = [
            threading.Thread(target=finish, args=args) for args in (("1", exporter), ("2", other))
        ]
        for thread in threads:
            thread.start()
        threads[0].join(0.2)
        assert values_in(database) == {"a": 1}
    for thread in threads:
        thread.join()
    (winner,) = (export for export, result in results.items() if result == 2)
    (loser,) = results.keys() - {winner}
    assert "another export to it was committed meanwhile" in str(results[loser])
    assert values_in(database) == {"a": int(winner), "b": 2}
    # What the other one had gathered is gone, and who goes on with it is told.
    assert database.tables() == ["image_features_exports", "t"]
    session = exporter.store.connect(loser)
    with pytest.raises(StoreError, match="committed meanwhile; run the command again"):
        session.upsert(rows_of(exporter.fields, {"c": 1}))
    session.close()


def test_exports_to_different_tables_do_not_meet(database):
    for name in ("t", "T", "public.u"):
        exporter = Exporter(database.url, name)
        assert exporter.whole("0", 0, {name: 1}) == 1
    assert Exporter(database.url, "public.t").store.last_export() == record_of("0", 0, 1)
    assert values_in(database) == {"t": 1} and values_in(database, '"T"') == {"T": 1}


def test_a_table_that_was_dropped_is_made_anew(database, exporter):
    exporter.whole("0", 0, {"a": 1})
    database.do("DROP TABLE t")
    assert exporter.store.last_export() is None
    exporter.fields = fields_of(4)
    assert exporter.whole("0", 0, {"b": 2}) == 1
    assert values_in(database) == {"b": 2}


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_started_again_is_waited_for(database, exporter, mode):
    exporter.whole("0", 0, {"z": 1})
    exporter.store.prepare(exporter.fields, "1")
    session = exporter.store.connect("1")
    session.upsert(rows_of(exporter.fields, {"a": 1}))
    database.server.control("stop", "-m", mode)
    restart = threading.Timer(0.5, database.server.restart, args=(mode,))
    restart.start()
    session.upsert(rows_of(exporter.fields, {"b": 2}))
    restart.join()
    database.do(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    session.upsert(rows_of(exporter.fields, {"c": 3}))
    session.close()
    if mode == "immediate":  # A crash empties what is gathered; that is found out.
        with pytest.raises(StoreError, match="of 3 rows 2 have come"):
            exporter.store.finish(record_of("1", 1, 3), whole=True)
        assert values_in(database) == {"z": 1}
        exporter.hand_over("1", {"a": 1, "b": 2, "c": 3})
    assert exporter.store.finish(record_of("1", 1, 3), whole=True) == 3
    assert values_in(database) == {"a": 1, "b": 2, "c": 3}


def test_an_extension_in_a_schema_of_its_own(database, exporter):
    database.do(
        "CREATE SCHEMA elsewhere",
        "CREATE EXTENSION vector SCHEMA elsewhere",
        f"ALTER DATABASE {database.name} SET search_path = public",
    )
    exporter.whole("0", 0, {"a": 1})
    exporter.whole("1", 1, {"a": 2})
    assert exporter.changes("2", 2, {"b": 3}, ["a"], 1) == 1
    assert values_in(database) == {"b": 3}


def test_locks_of_others_are_waited_for_as_long_as_the_server_says(database, caplog):
    limited = f"{database.url}&options=-c%20statement_timeout%3D300ms"
    Exporter(database.url).whole("0", 0, {"a": 1})
    exporter = Exporter(limited)
    exporter.hand_over("1", {"a": 2})
    with database.open() as connection, connection.transaction():
        connection.execute("LOCK TABLE t IN SHARE MODE")
        with pytest.raises(StoreError, match="statement timeout; if that is by its"):
            exporter.store.finish(record_of("1", 1, 1), whole=True)
        locked = Exporter(limited.replace("statement", "lock"))
        with pytest.raises(StoreError, match="lock timeout; run the command again when nobody"):
            locked.store.finish(record_of("1", 1, 1), whole=True)
    assert caplog.text.count("Others hold a lock on the table t, as CREATE INDEX does") == 2
    assert exporter.store.finish(record_of("1", 1, 1), whole=True) == 1
    assert values_in(database) == {"a": 2}


def test_values_that_postgres_does_not_take_are_named(database):
    fields = fields_of(columns=[Column("c", Kind.STRING), Column("l", Kind.STRING, repeated=True)])
    store = PgVectorStore.at(database.url, "t")
    store.prepare(fields, "e")
    session = store.connect("e")
    rows = {"a": 1, "b": 2}
    with pytest.raises(StoreError, match=r"column c of the row b has a zero byte .* --columns"):
        session.upsert(rows_of(fields, rows, c=["x", "\0"], l=[[], []]))
    with pytest.raises(StoreError, match="column l of the row b has a zero byte"):
        session.upsert(rows_of(fields, rows, c=["x", "y"], l=[["1", "2"], ["3", "\0"]]))
    for bad in (np.nan, np.inf):
        with pytest.raises(StoreError, match=r"vector of the row b has a value .* float32 holds"):
            session.upsert(rows_of(fields, {"a": 1, "b": bad}, c=["", ""], l=[[], []]))
    session.close()
    with pytest.raises(StoreError, match=r"of 2 rows 0 have come"):
        store.finish(record_of("e", 0, 2), whole=True)


def test_connections_are_closed(database, exporter):
    exporter.whole("0", 0, {"a": 1})
    with pytest.raises(StoreError):
        exporter.store.finish(record_of("1", 5, 1), whole=True)
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'image-features%'"
    assert database.all(query) == [(0,)]
    assert isinstance(psycopg.__version__, str)
