"""Datasets that are exported to Qdrant: its client's local mode, and its REST interface."""

from __future__ import annotations

import contextlib
import shutil

import numpy as np
import pytest
from qdrant_client import QdrantClient

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from image_features.pipeline.search.query import search
from image_features.transforms.exports.qdrant import QdrantStore
from tests import datasets, images
from tests.qdrant_server import QdrantServer


def export(dataset, target, *options, code=0):
    arguments = ["export", str(dataset), str(target), "--format=qdrant", "--table=photos"]
    assert cli.main([*arguments, *options]) == code


@contextlib.contextmanager
def opened(path):
    client = QdrantClient(path=str(path))
    try:
        yield client
    finally:
        client.close()


def points_of(client):
    """Returns the vectors of all points by their URIs."""
    points = client.scroll("photos", limit=100, with_vectors=True)[0]
    return {point.payload["uri"]: np.array(point.vector) for point in points}


def check(client, dataset):
    """Makes sure that a collection holds what readers of the dataset see."""
    arrays = reading.load_numpy(str(dataset))
    lengths = np.linalg.norm(arrays.features.astype(np.float64), axis=1, keepdims=True)
    units = dict(zip(arrays.uris, arrays.features / lengths, strict=True))
    points = points_of(client)
    assert points.keys() == units.keys()
    for uri, vector in points.items():
        np.testing.assert_allclose(vector, units[uri], atol=1e-6)
    return len(points)


@pytest.fixture
def night_by_night(nights, tmp_path):
    """The dataset with its first night only, and what brings the next."""
    aside = tmp_path / "aside"
    aside.mkdir()
    for name in ("2", "3"):
        shutil.move(nights / name, aside / name)
    return nights, lambda name: shutil.move(aside / name, nights / name)


def test_nights_are_exported_one_by_one(night_by_night, tmp_path, capsys):
    nights, bring = night_by_night
    target = tmp_path / "db"
    export(nights, target, "--since=last")
    with opened(target) as client:
        assert check(client, nights) == 9
    bring("2")
    export(nights, target, "--since=last")
    assert "2 rows written, 0 removed; it has 10 rows" in capsys.readouterr().out
    bring("3")
    export(nights, target, "--since=last")
    assert "0 rows written, 1 removed; it has 9 rows" in capsys.readouterr().out
    with opened(target) as client:
        assert check(client, nights) == 9
    export(nights, target, "--since=last")
    assert "nothing has changed" in capsys.readouterr().out
    # What was removed comes back.
    images.write(nights.parent / "photos" / "5.jpg", 5)
    datasets.extract(nights.parent / "photos", nights, "4", "--incremental")
    export(nights, target, "--since=last")
    with opened(target) as client:
        assert check(client, nights) == 10
        for uri, vector in points_of(client).items():
            found = client.query_points("photos", vector.tolist(), limit=4).points
            mine = [(point.payload["uri"], point.score) for point in found]
            nearest = search(str(nights), uri=uri, k=3)
            assert mine[0] == (uri, pytest.approx(1, abs=1e-6))
            assert [uri for uri, _ in mine[1:]] == [neighbour.uri for neighbour in nearest]
            scores = [1 - neighbour.distance for neighbour in nearest]
            assert [score for _, score in mine[1:]] == pytest.approx(scores, abs=1e-5)


def test_an_export_that_breaks_off_is_taken_up(night_by_night, tmp_path, monkeypatch, capsys):
    nights, bring = night_by_night
    target = tmp_path / "db"
    export(nights, target)
    finish = QdrantStore.finish

    def die(*_, **__):
        raise MemoryError("no more")

    # A whole export that dies leaves readers what they had.
    bring("2")
    bring("3")
    monkeypatch.setattr(QdrantStore, "finish", die)
    export(nights, target, code=1)
    with opened(target) as client:
        assert len(client.get_collections().collections) == 2
        assert client.count("photos").count == 9
    # So does one of what has changed, but for rows that are there by then.
    export(nights, target, "--since=last", code=1)
    store = QdrantStore(str(target), "photos")
    assert list(store.last_export()["runs"]) == ["1"]
    monkeypatch.setattr(QdrantStore, "finish", finish)
    capsys.readouterr()
    export(nights, target, "--since=last")
    assert "2 rows written, 1 removed; it has 9 rows" in capsys.readouterr().out
    assert sorted(store.last_export()["runs"]) == ["1", "2", "3"]
    export(nights, target, "--direct_running_mode=multi_threading", "--direct_num_workers=3")
    with opened(target) as client:
        assert check(client, nights) == 9
        assert len(client.get_collections().collections) == 1


def test_what_a_collection_cannot_take_is_refused_before_any_work(nights, tmp_path, capsys):
    target = tmp_path / "db"
    export(nights, target)
    other = datasets.extract(images.write_noise(tmp_path / "others", 2), tmp_path / "other", "1")
    for options, said in [
        (["--dtype=float16"], "float16"),
        (["--dtype=int8"], "--dtype=int8"),
        (["--table=a/b"], "--table='a/b'"),
        (["--direct_running_mode=multi_processing"], "one process at a time"),
        (["--runner=PrismRunner"], "one process at a time"),
    ]:
        export(nights, target, *options, code=2)
        assert said in capsys.readouterr().err
    for options in ([], ["--since=last"]):
        export(other.parent, target, *options, code=2)
        assert f"{target}, collection photos" in capsys.readouterr().err
    with opened(target) as client:
        client.create_collection("mine", vectors_config={})
    export(nights, target, "--table=mine", code=2)
    assert "was not made by an export" in capsys.readouterr().err
    with opened(target) as client:
        assert check(client, nights) == 9
        export(nights, target, code=2)
    assert "is in use" in capsys.readouterr().err
    assert not list(nights.glob(".exports/*"))


def test_a_server_takes_a_dataset(nights, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("QDRANT_API_KEY", "S3CRET")
    with QdrantServer() as server:
        server.api_key = "S3CRET"
        server.troubles = [(503, {"Retry-After": "0"})]
        export(nights, server.url)
        assert check(server.client, nights) == 9
        monkeypatch.setenv("QDRANT_API_KEY", "W0RSE")
        export(nights, server.url, code=2)
    shown = capsys.readouterr()
    assert "QDRANT_API_KEY" in shown.err
    assert not any(key in shown.out + shown.err for key in ("S3CRET", "W0RSE"))
    export(nights, server.url, code=2)
    assert "cannot be reached" in capsys.readouterr().err
