"""Rows that go to Qdrant: into its client's local mode, and over its REST interface."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import pickle
import shutil
import time
import warnings

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from image_features.errors import UsageError
from image_features.transforms.exports import qdrant_connection, qdrant_session
from image_features.transforms.exports.fields import RowFields, VectorType
from image_features.transforms.exports.qdrant import QdrantStore, qdrant_store
from image_features.transforms.exports.store import StoreError
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.record_format import (
    FEATURES,
    FORMAT,
    HEIGHT,
    KEY,
    RECORDS,
    SHA256,
    URI,
    WIDTH,
    column_field,
)
from image_features.transforms.shards.vectors import VectorField
from tests.qdrant_server import QdrantServer

COLUMNS = (
    Column("number", Kind.INT64),
    Column("real", Kind.FLOAT32),
    Column("flag", Kind.BOOL),
    Column("data", Kind.BYTES),
    Column("tags", Kind.STRING, repeated=True),
    Column("maybe", Kind.INT64, nullable=True),
    Column("a.b[0]", Kind.STRING),
    Column("key", Kind.STRING),
)
VALUES = (2**63 - 1, 0.5, True, b"\0\xff", ["é", "\0"], None, "dotted", "theirs")
RECORD = {"run_id": "c", "rows": 9}
FIELDS = RowFields(VectorField("", 4), columns=COLUMNS, normalize=True)


def key_of(number):
    return f"{number:032x}"


def rows(vectors, values=VALUES, fields=FIELDS):
    """Returns rows as they are handed to a session; the first one has key 0."""
    payloads = []
    for number, vector in enumerate(vectors):
        record = {
            KEY: [key_of(number).encode()],
            FEATURES: np.array(vector, np.float32),
            URI: [f"/photos/{number}.jpg".encode()],
            SHA256: [b"ab" * 32],
            FORMAT: [b"jpeg"],
            WIDTH: [640],
            HEIGHT: [480],
        }
        for column, value in zip(COLUMNS, values, strict=True):
            record[column.name] = column_field(value, column)
        payloads.append(RECORDS.encode(record))
    return fields.table(payloads)


def export(store, name, table, *, removed=(), fields=FIELDS, whole=True, total=None):
    """Does what a job does; returns what `finish` does."""
    store.prepare(fields, name)
    session = store.connect(name)
    try:
        if len(table):
            session.upsert(table)
        session.remove(list(removed))
    finally:
        session.close()
    total = len(table) if total is None else total
    return store.finish({"run_id": name, "rows": total}, whole=whole)


@contextlib.contextmanager
def opened(path):
    client = QdrantClient(path=str(path))
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def local(tmp_path):
    return QdrantStore(str(tmp_path / "db"), "photos")


@pytest.fixture
def server():
    with QdrantServer() as server:
        yield server


@pytest.fixture
def no_waits(monkeypatch):
    """Waits between attempts take no time, as long as a server need not hang."""
    monkeypatch.setattr(qdrant_connection.time, "sleep", lambda _: None)


def test_what_manifests_hold_comes_back(local):
    odd = (-(2**63), math.nan, False, b"", [], 2**53 + 1, "", "theirs")
    assert export(local, "a", rows([[3, 4, 0, 0]])) == 1
    with opened(local.location) as client:
        (point,) = client.retrieve("photos", ["00000000-0000-0000-0000-000000000000"])
    assert point.payload == {
        "key": key_of(0),
        "uri": "/photos/0.jpg",
        "sha256": "ab" * 32,
        "format": "jpeg",
        "width": 640,
        "height": 480,
        "number": 2**63 - 1,
        "real": 0.5,
        "flag": True,
        "data": {"base64": "AP8="},
        "tags": ["é", "\0"],
        "maybe": None,
        "a.b[0]": "dotted",
        "column/key": "theirs",
    }
    export(local, "b", rows([[3, 4, 0, 0]], odd))
    with opened(local.location) as client:
        (point,) = client.scroll("photos")[0]
    found = [point.payload[name] for name in ("number", "real", "flag", "data", "tags", "maybe")]
    assert found == [-(2**63), "NaN", False, {"base64": ""}, [], 2**53 + 1]


@pytest.mark.parametrize("type_", [VectorType.FLOAT32, VectorType.FLOAT16])
def test_vectors_have_length_one_whatever_theirs_was(local, type_):
    fields = RowFields(VectorField("", 4), type=type_, normalize=True, columns=COLUMNS)
    vectors = [[3, 4, 0, 0], [0, 0, 0, 0], [1e-5, 0, 0, 0], [0, 1e30, 1e30, 0], [6e-44, 0, 0, 0]]
    export(local, "a", rows(vectors, fields=fields), fields=fields)
    with opened(local.location) as client:
        points = client.scroll("photos", with_vectors=True)[0]
        found = client.query_points("photos", [1.0, 0, 0, 0], limit=5).points
        config = client.get_collection("photos").config.params.vectors
    half = math.sqrt(0.5)
    expected = [[0.6, 0.8, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, half, half, 0], [1, 0, 0, 0]]
    stored = [point.vector for point in sorted(points, key=lambda point: point.payload["key"])]
    np.testing.assert_allclose(stored, expected, atol=1e-7 if type_ == "float32" else 5e-4)
    assert [round(point.score, 2) for point in found] == [1, 1, 0.6, 0, 0]
    assert (config.datatype, config.distance) == (str(type_), "Cosine")


def test_a_whole_export_is_seen_at_once(local):
    export(local, "a", rows([[1, 0, 0, 0], [0, 1, 0, 0]]))
    local.prepare(FIELDS, "b")
    session = local.connect("b")
    session.upsert(rows([[0, 0, 1, 0]]))
    session.close()
    with opened(local.location) as client:
        assert client.count("photos").count == 2
    assert local.last_export()["run_id"] == "a"
    for _ in range(2):  # A bundle may be repeated.
        assert local.finish({"run_id": "b", "rows": 1}, whole=True) == 1
    assert local.last_export() == {"run_id": "b", "rows": 1}
    with opened(local.location) as client:
        assert [c.name for c in client.get_collections().collections] == ["photos-b"]
        assert client.count("photos").count == 1


def test_changes_are_written_in_place(local):
    export(local, "a", rows([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]))
    since = QdrantStore(local.location, "photos", since_last=True)
    for _ in range(2):
        changed = rows([[0, 0, 0, 1]])
        gone = [key_of(2), key_of(7)]
        assert export(since, "b", changed, removed=gone, whole=False, total=2) == 2
    assert since.last_export()["run_id"] == "b"
    with opened(local.location) as client:
        assert [c.name for c in client.get_collections().collections] == ["photos-a"]
        points = client.scroll("photos", with_vectors=True)[0]
    assert sorted(point.vector for point in points) == [[0, 0, 0, 1], [0, 1, 0, 0]]


def test_what_an_export_has_left_is_removed_by_the_next(local):
    export(local, "a", rows([[1, 0, 0, 0]]))
    local.prepare(FIELDS, "dead")
    with opened(local.location) as client:  # Somebody else's, of a name that could be ours.
        params = models.VectorParams(size=4, distance=models.Distance.COSINE)
        client.create_collection("photos-mine", params, metadata={"image_features": "[1]"})
    export(QdrantStore(local.location, "photos-x"), "a", rows([[1, 0, 0, 0]]))
    export(local, "b", rows([[1, 0, 0, 0]]))
    with opened(local.location) as client:
        names = sorted(c.name for c in client.get_collections().collections)
    assert names == ["photos-b", "photos-mine", "photos-x-a"]


def test_counts_that_differ_are_not_committed(local):
    export(local, "a", rows([[1, 0, 0, 0]]))
    with pytest.raises(StoreError, match="would have 1 rows, where the dataset has 2"):
        export(local, "b", rows([[0, 1, 0, 0]]), total=2)
    assert local.last_export()["run_id"] == "a"
    since = QdrantStore(local.location, "photos", since_last=True)
    with pytest.raises(StoreError, match="Export without --since=last"):
        export(since, "c", rows([[0, 1, 0, 0]]), whole=False, total=2)
    assert local.last_export()["run_id"] == "a"
    # Nothing is left that could be in the way of the next attempt.
    assert export(local, "b", rows([[0, 1, 0, 0], [1, 0, 0, 0]])) == 2


@pytest.mark.parametrize(
    "fields",
    [
        RowFields(VectorField("", 5), normalize=True),
        RowFields(VectorField("", 4), type=VectorType.FLOAT16, normalize=True),
    ],
)
@pytest.mark.parametrize("since_last", [False, True])
def test_vectors_of_another_kind_are_refused(local, fields, since_last):
    export(local, "a", rows([[1, 0, 0, 0]]))
    store = QdrantStore(local.location, "photos", since_last=since_last)
    with pytest.raises(StoreError, match="has vectors of 4 values of float32, Cosine, not of"):
        store.prepare(fields, "b")
    with opened(local.location) as client:
        assert len(client.get_collections().collections) == 1


@pytest.mark.parametrize("vectors", ["same", "dot", "named"])
@pytest.mark.parametrize("alias", [False, True])
def test_a_collection_of_others_is_refused(local, vectors, alias):
    params = models.VectorParams(size=4, distance=models.Distance.COSINE)
    if vectors == "dot":
        params.distance = models.Distance.DOT
    name = "theirs" if alias else "photos"
    with opened(local.location) as client:
        client.create_collection(name, {"image": params} if vectors == "named" else params)
        if alias:
            to = models.CreateAlias(collection_name="theirs", alias_name="photos")
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=to)])
    with pytest.raises(StoreError, match="was not made by an export; name another by --table"):
        local.last_export()
    with pytest.raises(StoreError):
        local.prepare(FIELDS, "a")
    store = QdrantStore(local.location, name[:-2])
    with opened(local.location) as client:
        client.create_collection(f"{store.table}-{name[-1]}", params)
    with pytest.raises(StoreError, match="was not made by an export"):
        store.prepare(FIELDS, name[-1])
    with opened(local.location) as client:
        assert len(client.get_collections().collections) == 2


def test_a_directory_that_is_used_otherwise(tmp_path, local):
    assert local.last_export() is None
    assert not (tmp_path / "db").exists()  # To look makes nothing.
    (tmp_path / "db").mkdir()
    assert local.last_export() is None
    (tmp_path / "db" / "thesis.txt").touch()
    with pytest.raises(StoreError, match="is no directory of Qdrant's local mode"):
        local.last_export()
    (tmp_path / "db" / "meta.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        local.last_export()
    with pytest.raises(StoreError, match="is no directory"):
        QdrantStore(str(tmp_path / "db" / "thesis.txt"), "photos").last_export()


def test_a_directory_that_another_uses(local):
    export(local, "a", rows([[1, 0, 0, 0]]))
    with opened(local.location):
        for use in (local.last_export, lambda: local.connect("a")):
            with pytest.raises(StoreError, match="is in use"):
                use()
    assert local.last_export()["run_id"] == "a"


def test_sessions_of_one_process_share_a_directory(local):
    local.prepare(FIELDS, "a")
    first, second = local.connect("a"), pickle.loads(pickle.dumps(local)).connect("a")
    first.upsert(rows([[1, 0, 0, 0]]))
    first.close()
    second.upsert(rows([[1, 0, 0, 0], [0, 1, 0, 0]]))
    second.remove([])
    second.close()
    assert local.finish({"run_id": "a", "rows": 2}, whole=True) == 2
    with opened(local.location) as client:  # Nobody holds it any more.
        assert client.count("photos").count == 2


def test_a_collection_that_is_removed_meanwhile(local):
    local.prepare(FIELDS, "a")
    with opened(local.location) as client:
        client.delete_collection("photos-a")
    with pytest.raises(StoreError, match="is gone"):
        local.connect("a")
    with pytest.raises(StoreError, match="is gone"):
        local.finish({"run_id": "a", "rows": 0}, whole=True)
    # What readers have is neither written to nor removed then.
    export(local, "b", rows([[1, 0, 0, 0]]))
    for whole in (lambda: local.connect("c"), lambda: local.finish(RECORD, whole=True)):
        with pytest.raises(StoreError, match="is gone"):
            whole()
    local.prepare(FIELDS, "d")
    session = local.connect("d")
    shutil.rmtree(f"{local.location}/collection/photos-d")
    with pytest.raises(StoreError, match="cannot be used"):
        session.upsert(rows([[1, 0, 0, 0]]))
    session.close()
    with opened(local.location) as client:
        assert client.count("photos").count == 1


def test_a_dataset_without_rows(local):
    assert export(local, "a", rows([])) == 0
    assert local.last_export() == {"run_id": "a", "rows": 0}


@pytest.mark.parametrize(
    ("target", "table", "type_", "match"),
    [
        ("http://:6333", "t", "float32", "is no address of Qdrant"),
        ("http://host:x", "t", "float32", "is no address of Qdrant"),
        ("http://host:99999", "t", "float32", "is no address of Qdrant"),
        ("http://[host", "t", "float32", "is no address of Qdrant"),
        ("localhost:6333", "t", "float32", "is no directory; write http"),
        (":memory:", "t", "float32", "is no directory; write http"),
        ("gs://bucket/db", "t", "float32", "is no address of Qdrant"),
        ("http://user:S3CRET@host:6333", "t", "float32", "a key belongs into QDRANT_API_KEY"),
        ("http://host:6333?api_key=S3CRET", "t", "float32", "a key belongs into QDRANT_API_KEY"),
        ("http://host", "t", "int8", "--dtype=int8"),
        ("http://host", "", "float32", "--table=''"),
        ("http://host", "..", "float32", r"--table='\.\.'"),
        ("http://host", "a/b", "float32", "--table='a/b'"),
        ("db", "x" * 201, "float32", "--table='xxx"),
    ],
)
def test_targets_that_are_none(target, table, type_, match):
    with pytest.raises(UsageError, match=match) as raised:
        qdrant_store(target, table, VectorType(type_))
    assert "S3CRET" not in str(raised.value)


def test_addresses(monkeypatch, tmp_path):
    def shown(target):
        return qdrant_store(target, "t", VectorType.FLOAT32).shown

    assert shown("http://host") == "http://host:6333, collection t"
    assert shown("https://HOST:443/prefix/") == "https://host:443/prefix, collection t"
    assert shown("http://[::1]:80") == "http://[::1]:80, collection t"
    monkeypatch.chdir(tmp_path)
    assert shown("db") == f"{tmp_path}/db, collection t"


def test_a_client_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"image-feature-extractor\[qdrant\]"):
        qdrant_store("http://host", "t", VectorType.FLOAT32)


def test_every_request_to_a_server_may_fail_once(server, no_waits):
    date = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.troubles = [
        *((500, {}), (502, {}), (429, {}), (429, {"Retry-After": "1"}), (503, date), (429, date)),
        ("hang up", {}),
    ]
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)
    export(store, "a", rows([[1, 0, 0, 0]]))
    export(store, "b", rows([[1, 0, 0, 0], [0, 1, 0, 0]]))
    since = QdrantStore(store.location, "photos", since_last=True)
    assert export(since, "c", rows([]), removed=[key_of(0)], whole=False, total=1) == 1
    assert since.last_export() == {"run_id": "c", "rows": 1}
    assert [c.name for c in server.client.get_collections().collections] == ["photos-b"]
    (point,) = server.client.scroll("photos", with_vectors=True)[0]
    assert (point.payload["number"], point.vector) == (2**63 - 1, [0, 1, 0, 0])


def test_a_server_that_does_not_answer_is_asked_again(server, monkeypatch):
    monkeypatch.setattr(qdrant_connection, "_TIMEOUT_SECONDS", 1)
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)
    store.prepare(FIELDS, "a")
    session = store.connect("a")
    server.troubles = [("hang", {})]
    begun = time.monotonic()
    session.upsert(rows([[1, 0, 0, 0]]))
    session.close()
    assert 1 <= time.monotonic() - begun < 4
    assert server.client.count("photos-a").count == 1


def test_a_server_that_stays_away(server, no_waits):
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)
    server.__exit__(None, None, None)
    with pytest.raises(StoreError, match=r"cannot be reached: .*refused\. 3 tries were made"):
        store.last_export()


def test_a_write_that_is_not_done_yet_is_repeated(server, no_waits):
    server.late = 2
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)
    assert export(store, "a", rows([[1, 0, 0, 0]])) == 1
    paths = [path for method, path, _ in server.requests if method == "PUT"]
    assert [path for path in paths if "points" in path] == [
        "/collections/photos-a/points?wait=true"
    ] * 3


def test_requests_are_no_larger_than_servers_take(server, monkeypatch):
    monkeypatch.setattr(qdrant_session, "_REQUEST_BYTES", 20_000)
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)
    vectors = np.random.default_rng(0).normal(size=(200, 4))
    assert export(store, "a", rows(vectors)) == 200
    sizes = [length for method, path, length in server.requests if "points?" in path]
    assert len(sizes) > 3
    assert max(sizes) < 20_000
    np.testing.assert_allclose(
        [point.vector for point in server.client.scroll("photos", limit=200, with_vectors=True)[0]],
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        atol=1e-6,
    )
    one = rows([[1, 0, 0, 0]], (0, 0.0, True, b"x" * 30_000, [], None, "", ""))
    assert export(store, "b", one) == 1


def test_a_key_is_sent_and_never_shown(server, monkeypatch, caplog, no_waits):
    caplog.set_level(logging.DEBUG)
    server.api_key = "S3CRET"
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)
    with pytest.raises(StoreError, match=r"answered 401: Must provide an API key; QDRANT_API_KEY"):
        store.last_export()
    monkeypatch.setenv("QDRANT_API_KEY", " S3CRET\n")
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)
    monkeypatch.delenv("QDRANT_API_KEY")  # As in a worker of another machine.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert export(pickle.loads(pickle.dumps(store)), "a", rows([[1, 0, 0, 0]])) == 1
    told = json.dumps([repr(store), str(store), store.shown, caplog.text])
    assert "S3CRET" not in told
    monkeypatch.setenv("QDRANT_API_KEY", "S3CRET\nX-Other: 1")
    with pytest.raises(UsageError) as raised:
        qdrant_store(server.url, "photos", VectorType.FLOAT32)
    assert "S3CRET" not in str(raised.value)


def test_a_key_that_others_could_read_is_warned_of(monkeypatch, caplog):
    monkeypatch.setenv("QDRANT_API_KEY", "S3CRET")
    for host in ("https://example.com", "http://localhost:80", "http://[::1]", "http://127.0.0.2"):
        qdrant_store(host, "photos", VectorType.FLOAT32)
    assert caplog.text == ""
    qdrant_store("http://example.com", "photos", VectorType.FLOAT32)
    assert "goes to http://example.com:6333 unencrypted" in caplog.text
    assert "S3CRET" not in caplog.text


def test_a_server_that_is_too_old_for_metadata(server):
    server.keeps_metadata = False
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)
    with pytest.raises(StoreError, match=r"use 1\.16 or later"):
        store.prepare(FIELDS, "a")
    assert server.client.get_collections().collections == []


def test_a_server_that_is_not_qdrants(server, monkeypatch):
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)
    monkeypatch.setattr(server, "answer", lambda *_: {"hello": "world"})
    with pytest.raises(StoreError, match="does not answer as Qdrant does"):
        store.last_export()


def test_what_a_server_refuses_is_told_in_its_words(server, monkeypatch):
    store = qdrant_store(server.url, "photos", VectorType.FLOAT32)

    def answer(*_):
        raise ValueError("Wrong input: no more collections.")

    monkeypatch.setattr(server, "answer", answer)
    with pytest.raises(StoreError, match=r"answered 400: Wrong input: no more collections\.$"):
        store.last_export()
