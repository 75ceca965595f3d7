"""What is said of a database, a name or a table that cannot be used; and never the password."""

from __future__ import annotations

import pickle
import socket

import pytest

from image_features.errors import UsageError
from image_features.transforms.exports.fields import VectorType
from image_features.transforms.exports.pgvector import PgVectorStore
from image_features.transforms.exports.store import StoreError
from image_features.transforms.manifests.columns import Column, Kind
from tests.transforms.exports.test_pgvector import Exporter, fields_of, record_of, values_in

_SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://u:{_SECRET}@h/db",
        f"/photos/{_SECRET}",
        f"postgresql://u:%zz{_SECRET}@h/db",
        f"postgresql://u:p/{_SECRET}@h/db",
        f"postgresql://u:p#{_SECRET}@h/db",
        f"postgresql://u:p?{_SECRET}@h/db",
        f"postgresql://u:p@{_SECRET}@h/db",
        f"postgresql://u:p@x/{_SECRET}@h/db",
        f"postgresql://h:{_SECRET}/db",
        f"postgresql://h/db?unknown={_SECRET}",
    ],
)
def test_addresses_that_are_none_are_refused_and_not_shown(url):
    with pytest.raises(UsageError, match=r"TARGET .*; write postgresql://HOST:PORT") as error:
        PgVectorStore.at(url, "t")
    assert _SECRET not in str(error.value) and _SECRET not in str(error.value.__cause__ or "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://u:{_SECRET}@h:5433/db", "postgresql://h:5433/db, table s.t"),
        (
            f"postgres://u@h1,h2:1/d%20b?password={_SECRET}",
            "postgresql://h1,h2:1/d%20b, table s.t",
        ),
        ("postgresql://[::1]:5433,h2/db?port=1,2", "postgresql://::1:1,h2:2/db, table s.t"),
        ("postgresql://u%40tenant:a%2Fb@h/db", "postgresql://h/db, table s.t"),
        ("postgresql:///db?host=/run/pg&user=u@x", "postgresql://%2Frun%2Fpg/db, table s.t"),
        ("postgresql://?service=nights", "postgresql://envhost/?service=nights, table s.t"),
    ],
)
def test_addresses_are_shown_without_secrets(url, shown, monkeypatch):
    monkeypatch.setenv("PGHOST", "envhost")
    store = PgVectorStore.at(url, "s.t")
    assert store.shown == shown
    assert _SECRET not in repr(store)
    assert pickle.loads(pickle.dumps(store)) == store


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "is no table"),
        ("a.b.c", "is no table"),
        (".b", "is no table"),
        ("a.", "is no table"),
        ("a\0b", "is no table"),
        ("a\udc80", "is no table"),
        ("x" * 64, "is too long"),
        ("s" * 64 + ".t", "is too long"),
        ("é" * 32, "is too long"),
        ("image_features_exports", "is a table of exports themselves"),
        ("s.image_features_staging_x", "is a table of exports themselves"),
    ],
)
def test_names_that_are_none_are_refused(table, says):
    with pytest.raises(UsageError, match=f"{says}"):
        PgVectorStore.at("postgresql://h/db", table)


def refused(url, fields=None, table="t"):
    """Returns the sentence with which a store is refused before any work."""
    store = PgVectorStore.at(url, table)
    with pytest.raises(StoreError) as error:
        store.last_export()
        store.prepare(fields or fields_of(), "e")
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{store.shown}: ")
    assert _SECRET not in str(error.value)
    return str(error.value)


def test_servers_and_databases_that_cannot_be_reached(database, tmp_path):
    assert "No such file or directory" in refused(f"postgresql://u:{_SECRET}@/db?host={tmp_path}")
    assert refused(f"postgresql://u:{_SECRET}@127.0.0.1:1/db") == (
        'postgresql://127.0.0.1:1/db, table t: connection to server at "127.0.0.1", port 1 failed: '
        "Connection refused."
    )
    assert "name or service" in refused(f"postgresql://u:{_SECRET}@no.invalid/db").lower()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://u:{_SECRET}@127.0.0.1:{silent.getsockname()[1]}/db"
        assert "timeout expired" in refused(f"{address}?connect_timeout=2")
    assert 'database "nosuch" does not exist' in refused(database.server.url("nosuch"))
    assert 'role "nobody" does not exist' in refused(database.server.url("postgres", "nobody"))


def test_passwords_come_from_where_libpq_looks(database, tmp_path, monkeypatch):
    server = database.server
    database.do(
        "DROP ROLE IF EXISTS guarded",
        f"CREATE ROLE guarded LOGIN PASSWORD '{_SECRET}/@#'",
        "GRANT ALL ON SCHEMA public TO guarded",
        "CREATE EXTENSION vector",
    )
    rules = server.directory / "pg_hba.conf"
    before = rules.read_text()
    try:
        rules.write_text(f"local all guarded scram-sha-256\n{before}")
        database.do("SELECT pg_reload_conf()")
        plain = server.url(database.name, "guarded")
        assert "no password supplied" in refused(plain)
        wrong = server.url(database.name, f"guarded:{_SECRET}x")
        assert "password authentication failed" in refused(wrong)
        urls = [
            server.url(database.name, f"guarded:{_SECRET}%2F%40%23"),
            server.url(database.name, "guarded", password=f"{_SECRET}/@#"),
        ]
        for url in urls:
            assert PgVectorStore.at(url, "t").last_export() is None
        with monkeypatch.context() as patch:
            patch.setenv("PGPASSWORD", f"{_SECRET}/@#")
            assert PgVectorStore.at(plain, "t").last_export() is None
        with monkeypatch.context() as patch:
            (tmp_path / "pass").write_text(f"*:*:*:guarded:{_SECRET}/@#\n")
            (tmp_path / "pass").chmod(0o600)
            patch.setenv("PGPASSFILE", str(tmp_path / "pass"))
            assert PgVectorStore.at(plain, "t").last_export() is None
        with monkeypatch.context() as patch:
            (tmp_path / "services").write_text(
                f"[nights]\nhost={server.socket}\ndbname={database.name}\nuser=guarded\n"
                f"password={_SECRET}/@#\n"
            )
            patch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
            assert Exporter("postgresql://?service=nights").whole("0", 0, {"a": 1}) == 1
    finally:
        rules.write_text(before)
        database.do("SELECT pg_reload_conf()")


def test_tables_that_are_of_others_or_otherwise_are_refused(database):
    url = database.url
    assert "no schema s in the database; make it by CREATE" in refused(url, table="s.t")
    nowhere = f"{url}&options=-c%20search_path%3Dnowhere"
    assert "its search_path names no schema; write --table" in refused(nowhere)
    exporter = Exporter(url)
    exporter.whole("0", 0, {"a": 1})
    for made in ("TABLE o (key text)", "VIEW v AS SELECT 1", "SEQUENCE q"):
        database.do(f"CREATE {made}")
        assert "which no export has made" in refused(url, table=made.split()[1])
    same = "; choose another --table, or drop the table, which makes it anew."
    assert f"its column vector is vector(3), and would be vector(4){same}" in refused(
        url, fields_of(4)
    )
    assert "vector is vector(3), and would be halfvec(3)" in refused(
        url, fields_of(type=VectorType.FLOAT16)
    )
    assert "its column uri is text, and would be absent" in refused(url, fields_of(own=()))
    more = fields_of(columns=[Column("n", Kind.INT64)])
    assert "its column n is absent, and would be bigint" in refused(url, more)
    database.do("ALTER TABLE t ALTER uri TYPE varchar(99)")
    assert "uri was made character varying(99) by others, and must be text" in refused(url)
    database.do("ALTER TABLE t DROP COLUMN uri")
    assert "uri was made absent by others" in refused(url)
    assert values_in(database) == {"a": 1}
    assert exporter.store.last_export() == record_of("0", 0, 1)


def test_columns_that_postgres_cannot_have_are_refused(database):
    for name, says in [
        ("x" * 64, "has a name of more than 63 bytes"),
        ("é" * 32, "has a name of more than 63 bytes"),
        ("a\0b", "holds a zero byte"),
        ("ctid", 'column name "ctid" conflicts with a system column name'),
    ]:
        fields = fields_of(columns=[Column(name, Kind.STRING)])
        assert says in refused(database.url, fields)
    many = fields_of(columns=[Column(f"c{number}", Kind.STRING) for number in range(1600)])
    assert "tables can have at most 1600 columns" in refused(database.url, many)
    assert "have 16001 values, and those of pgvector at most 16000" in refused(
        database.url, fields_of(16_001)
    )
    assert database.tables() == []
    widest = Exporter(database.url, fields=fields_of(16_000))
    assert widest.whole("0", 0, {"a": 1}) == 1


def test_rights_that_lack_are_told(database):
    database.do("DROP ROLE IF EXISTS weak", "CREATE ROLE weak LOGIN")
    weak = database.server.url(database.name, "weak")
    says = refused(weak)
    assert "its extension vector cannot be made (permission denied to create extension" in says
    assert "run CREATE EXTENSION vector in the database" in says
    database.do("CREATE EXTENSION vector")
    assert "permission denied for schema public" in refused(weak)
    database.do("GRANT CREATE ON SCHEMA public TO weak")
    Exporter(database.url).whole("0", 0, {"a": 1})
    assert "permission denied for table image_features_exports" in refused(weak)
    database.do(
        "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO weak",
    )
    assert "its user has not the right to DELETE in it" in refused(weak)
    database.do("GRANT DELETE ON t TO weak")
    # What another user has gathered, and has left, is in nobody's way.
    Exporter(database.url).hand_over("dead", {"c": 1})
    assert Exporter(weak).whole("1", 1, {"b": 1}) == 1
    read_only = f"{weak}&options=-c%20default_transaction_read_only%3Don"
    assert "in a read-only transaction" in refused(read_only)
    database.do("DROP OWNED BY weak", "DROP ROLE weak")


def test_a_pgvector_of_old_has_no_float16(database):
    database.do("CREATE EXTENSION vector VERSION '0.8.5'")
    database.do("ALTER EXTENSION vector DROP TYPE halfvec", "ALTER TYPE halfvec RENAME TO other")
    says = refused(database.url, fields_of(type=VectorType.FLOAT16))
    assert "its pgvector has no vectors of float16, which 0.7 brings" in says
    assert Exporter(database.url).whole("0", 0, {"a": 1}) == 1
