import itertools

import numpy as np
import pyarrow as pa
import pytest

from image_features.transforms.compare_known import Comparison
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.shards import ref_table
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.stores import versions
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.uris import image_key
from image_features.transforms.values import ImageRef
from tests.http_server import ImageServer


@pytest.fixture
def comparison():
    comparison = Comparison(FetchPolicy(threads=4), verify_content=False)
    yield comparison
    comparison.close()


def _table(uris, told=None):
    told = itertools.repeat("") if told is None else told
    return RefTable.of(
        [
            ImageRef(uri, image_key(uri), "m", row, version=version)
            for row, (uri, version) in enumerate(zip(uris, told, strict=False))
        ],
        (),
    )


def test_known_rows_become_no_objects(tmp_path, comparison, monkeypatch):
    made = []
    monkeypatch.setattr(ref_table, "ImageRef", lambda *values: made.append(ImageRef(*values)))
    for number in range(50):
        (tmp_path / str(number)).write_bytes(bytes(number))
    files = [tmp_path / str(number) for number in range(50)]
    known = [versions.of_file(path.stat()) for path in files]
    table = _table(map(str, files))
    asked = np.ones(50, np.bool_)
    assert comparison.same(table, pa.array(known, pa.binary()), asked).all()
    told = ["column:1"] * 49 + ["column:2"]
    table = _table([f"https://a.example/{number}.jpg" for number in range(50)], told)
    same = comparison.same(table, pa.array(["column:1"] * 50, pa.binary()), asked)
    assert same.tolist() == [True] * 49 + [False]
    assert made == []


def test_each_version_is_compared_with_what_tells_it(tmp_path):
    path = str(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"a")
    is_there = versions.of_file((tmp_path / "a.jpg").stat())
    with ImageServer({"a.jpg": b"a"}) as server:
        server.validators["a.jpg"] = {"ETag": '"1"'}
        loopback = FetchPolicy(HttpPolicy(allow_private_hosts=True), threads=4)
        comparison = Comparison(loopback, verify_content=False)
        rows = {
            # uri, what the input tells, what is known: whether it is the same
            (path, "", is_there): True,
            # No version is known.
            (path, "", ""): False,
            (path, "", "file:1:1"): False,
            # A version of another origin says nothing of the file.
            (path, "", "column:1"): False,
            (path, is_there, "column:1"): False,
            (path, "column:1", "column:1"): True,
            (f"{path}/no", "", is_there): False,
            (server.url("a.jpg"), "", 'etag:"1"'): True,
            (server.url("a.jpg"), "", 'etag:"2"'): False,
            # That of a file is never that of a server's answer.
            (server.url("a.jpg"), "", is_there): False,
            ("gs://b/a.jpg", "generation:1", "generation:1"): True,
            ("gs://b/a.jpg", "generation:1", "generation:10"): False,
        }
        uris, told, known = zip(*rows, strict=True)
        asked = np.array([bool(version) for version in known])
        same = comparison.same(_table(uris, told), pa.array(known, pa.binary()), asked)
        assert same.tolist() == list(rows.values())
        asked[0] = False
        assert not comparison.same(_table(uris, told), pa.array(known, pa.binary()), asked)[0]
        comparison.close()
