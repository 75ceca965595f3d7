"""`image-features export --format=pgvector`: tables of a real PostgreSQL, night by night."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from image_features.pipeline.search.query import search
from image_features.transforms.manifests.columns import Column, Kind
from tests.datasets import files
from tests.written import key_of, provenance, write_run


def export(dataset: pathlib.Path, database: Any, *options: str, code: int = 0) -> None:
    """Runs `export` in this process."""
    arguments = [str(dataset), database.url, "--format=pgvector", "--table=t", *options]
    assert cli.main(["export", *arguments]) == code


def rows_in(database: Any) -> dict[str, np.ndarray]:
    """Returns the vectors of the table by key."""
    rows = dict(database.all("SELECT key, vector FROM t"))
    return {key: vector.to_numpy() for key, vector in rows.items()}


def check_same(dataset: pathlib.Path, database: Any) -> None:
    """Makes sure that the table has what readers of the dataset see."""
    arrays = reading.load_numpy(str(dataset))
    there = rows_in(database)
    assert sorted(there) == sorted(arrays.keys)
    for key, vector in zip(arrays.keys, arrays.features, strict=True):
        assert np.array_equal(there[key], vector)


@pytest.fixture
def out(tmp_path):
    """A dataset of one night."""
    write_run(tmp_path / "out", "1", {"a": 1, "b": -1, "c": 9})
    return tmp_path / "out"


def test_nights_are_brought_in_as_they_come(out, database, capsys):
    export(out, database)
    said = capsys.readouterr().out
    assert ", table t: 3 rows written, 0 removed; it has 3 rows of 4 values" in said
    check_same(out, database)
    found = database.all("SELECT key, uri, sha256, format, width, height FROM t WHERE uri ~ '/a'")
    (row,) = found
    assert (row[0], row[1], row[3:]) == (key_of("a"), "/photos/a.jpg", ("JPEG", 640, 480))
    nearest = (
        "SELECT b.key FROM t a, t b WHERE a.key = '{}' AND b.key <> a.key "
        "ORDER BY a.vector <=> b.vector"
    )
    for name in "abc":
        expected = [(neighbour.key,) for neighbour in search(str(out), key=key_of(name))]
        assert len(expected) == 2 and database.all(nearest.format(key_of(name))) == expected
    write_run(out, "2", {"b": 2, "d": 2}, gone=["a", "never"], day=2)
    capsys.readouterr()
    export(out, database, "--since=last", "--json")
    record = json.loads(capsys.readouterr().out)
    counts = record["counts"]
    assert (counts["rows_out"], counts["rows_removed"], record["rows"]) == (2, 1, 3)
    check_same(out, database)
    export(out, database, "--since=last")
    assert "nothing has changed since the last export" in capsys.readouterr().out
    # What others did is found, and nothing is committed; all rows put it right.
    database.do("DELETE FROM t WHERE uri ~ '/c'")
    write_run(out, "3", {"e": 3}, day=3)
    export(out, database, "--since=last", code=1)
    assert "it would have 3 rows, where the dataset has 4" in capsys.readouterr().err
    assert key_of("e") not in rows_in(database)
    export(out, database)
    check_same(out, database)
    assert database.tables() == ["image_features_exports", "t"]
    assert not [file for file in files(out) if "exports" in file]


def test_options_are_kept_and_others_are_refused(out, database, capsys):
    export(out, database, "--dtype=int8", code=2)
    assert "which has no such vectors; export float16" in capsys.readouterr().err
    assert database.tables() == []
    export(out, database, "--dtype=float16", "--normalize", "--columns=uri")
    columns = "SELECT string_agg(column_name, ',') FROM information_schema.columns WHERE "
    assert database.all(f"{columns} table_name = 't'") == [("key,uri,vector",)]
    for vector in rows_in(database).values():
        assert vector.dtype == np.float16 and np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)
    for options in [(), ("--dtype=float16",), ("--dtype=float16", "--normalize", "--since=last")]:
        export(out, database, *options, code=2)
        assert "was exported otherwise" in capsys.readouterr().err
    assert not [file for file in files(out) if "exports" in file]


def test_text_that_postgres_does_not_take_ends_the_export(tmp_path, database, capsys):
    out = tmp_path / "out"
    made = provenance(columns=[Column("caption", Kind.STRING)])
    write_run(out, "1", {"a": 1}, made=made, values={"caption": "x\0y"})
    export(out, database, code=1)
    says = capsys.readouterr().err
    assert f"the column caption of the row {key_of('a')} has a zero byte in its text" in says
    assert "leave the column out by --columns" in says and "running" not in says
    assert "t" not in database.tables()
    export(out, database, "--columns=uri")
    check_same(out, database)


def test_a_password_is_shown_nowhere(out, database, capsys, tmp_path):
    secret = "s3cr3t%2F%40x"
    database.url = database.url.replace("postgres@", f"postgres:{secret}@")
    assert secret in database.url
    export(out, database, "--json")
    printed = capsys.readouterr()
    database.do("DROP TABLE t", "CREATE TABLE t ()")
    export(out, database, code=2)
    database.do("DROP TABLE t")
    write_run(out, "1b", {"z": float("nan")}, day=2)
    export(out, database, code=1)
    refused = capsys.readouterr()
    assert "REDACTED" in refused.err  # The command that takes it up.
    everything = [*printed, *refused, str(database.all("SELECT * FROM image_features_exports"))]
    for file in files(tmp_path):
        everything.append((tmp_path / file).read_bytes().decode("latin-1"))
    assert not any("s3cr3t" in text for text in everything)


def test_an_export_that_is_killed_is_taken_up(out, database):
    export(out, database)
    before = {key: tuple(vector) for key, vector in rows_in(database).items()}
    write_run(out, "2", {"b": 2, "d": 2}, gone=["a"], day=2)
    arguments = ["export", out, database.url, "--format=pgvector", "--table=t", "--since=last"]
    gathered = "SELECT tablename FROM pg_tables WHERE tablename LIKE '%staging%rows'"
    with database.open() as connection, connection.transaction():
        connection.execute("LOCK TABLE t IN SHARE MODE")  # Nothing is brought in meanwhile.
        command = [sys.executable, "-m", "image_features", *map(str, arguments)]
        with subprocess.Popen(command, start_new_session=True) as process:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                if connection.execute(waiting).fetchall() == [(1,)]:
                    break
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)
        ((staging,),) = connection.execute(gathered).fetchall()
        assert connection.execute(f"SELECT count(*) FROM {staging}").fetchall() == [(2,)]
    assert {key: tuple(vector) for key, vector in rows_in(database).items()} == before
    export(out, database, "--since=last")
    check_same(out, database)
    assert database.tables() == ["image_features_exports", "t"]
