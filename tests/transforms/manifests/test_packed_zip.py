"""The rows of .zip files: images, with the columns that lie beside them."""

import shutil
import stat
import subprocess
import zipfile

import pytest

from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.read_manifest import read_all
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import split_member
from image_features.transforms.values import ImageError
from tests.datasets import counts, extract, lines, vectors
from tests.images import encode, noise
from tests.transforms.archives.zips import contents, make, patched, rows_of


def _special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o644) << 16
    return info


def _rows(path):
    return {split_member(row.uri)[1]: row.values for row in rows_of(path)}


def test_images_are_rows_in_the_order_of_their_places(tmp_path):
    path = tmp_path / "a.zip"
    data = make({"b.jpg": b"b", "a.PNG": b"a", "notes.md": b"", "c.txt": b"c"})
    first, second = [at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2"][:2]
    size = second - first  # Both records are of one size, and change their places.
    records = data[second : second + size] + data[first:second]
    path.write_bytes(data[:first] + records + data[second + size :])
    rows = rows_of(path)
    assert [split_member(row.uri)[1] for row in rows] == ["b.jpg", "a.PNG"]
    assert [row.number for row in rows] == [1, 2]
    assert rows[0].place < rows[1].place
    assert rows[0].version.startswith("member:") and rows[0].version.endswith(":1:71beeff9")


def test_what_is_not_followed_is_counted(tmp_path, caplog):
    path = tmp_path / "a.zip"
    members = {
        "d/": b"",
        "photos.jpg/": b"",
        "__MACOSX/d/._a.jpg": b"x",
        "/abs.jpg": b"x",
        "../up.jpg": b"x",
        "d/../../up.jpg": b"x",
        "..\\up.jpg": b"x",
        "C:\\a.jpg": b"x",
        "\\\\host\\a.jpg": b"x",
        "inner.zip": b"x",
        "inner.tar.gz": b"x",
        "d/a.jpg": b"right",
    }
    special = [(_special("link.jpg", stat.S_IFLNK), b"/etc/passwd")]
    special += [
        (_special("device.jpg", stat.S_IFBLK), b""),
        (_special("n.jpg", stat.S_IFREG), b"n"),
    ]
    path.write_bytes(make([*members.items(), *special]))
    with caplog.at_level("INFO", "image_features"):
        assert contents(path, rows_of(path)) == {"d/a.jpg": b"right", "n.jpg": b"n"}
    (line,) = [line for line in caplog.messages if "passed_over" in line]
    for told in ('"links": 1', '"devices": 1', '"unsafe_names": 6', '"archives": 2'):
        assert told in line
    assert '"apple_doubles": 1' in line


def test_columns_lie_beside_images_in_whatever_order(tmp_path):
    path = tmp_path / "a.zip"
    members = {
        "x/1.jpg": b"1",
        "x/2.jpg": b"2",
        "x/1.json": b'{"label": "one"}',
        "x/2.cls": b"7",
        "x/3.txt": b"no image",
        "x/2.json": b'{"label": "two"}',
    }
    for piped in (False, True):
        path.write_bytes(make(members, method=zipfile.ZIP_DEFLATED, piped=piped))
        two = {"label": "two", "cls": 7}
        assert _rows(path) == {"x/1.jpg": {"label": "one"}, "x/2.jpg": two}
        assert contents(path, rows_of(path)) == {"x/1.jpg": b"1", "x/2.jpg": b"2"}
    assert [row.uri for row in rows_of(path, "json")] == [f"{path}!/x/{n}.json" for n in (1, 2)]


def test_what_is_wrong_beside_an_image_fails_its_rows(tmp_path):
    if not shutil.which("zip"):
        pytest.skip("zip is not here")
    for name in ("a.jpg", "a.json", "b.jpg", "b.json"):
        (tmp_path / name).write_bytes(b'{"label": "x"}' if "json" in name else b"image")
    for options in (["-P", "secret", "x.zip", "a.jpg", "a.json"], ["x.zip", "b.jpg", "b.json"]):
        subprocess.run(["zip", "-q", "-0", *options], cwd=tmp_path, check=True)
    encrypted, right = rows_of(tmp_path / "x.zip")
    assert (encrypted.reason, right.values) == ("encrypted", {"label": "x"})
    assert "a.json is encrypted" in encrypted.problem
    path = tmp_path / "y.zip"
    data = make({"a.jpg": b"a", "a.json": b'{"label": "x"}', "b.jpg": b"b", "b.txt": bytes(2**21)})
    path.write_bytes(data.replace(b'{"label"', b'{"lebal"', 1))
    damaged, large = rows_of(path)
    assert damaged.reason == "corrupt_archive" and "checksum" in damaged.problem
    assert "larger than 1048576 bytes" in large.problem


def test_archives_of_a_directory_fail_on_their_own(tmp_path):
    (tmp_path / "a.zip").write_bytes(make({"a.jpg": b"a"}))
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "none.zip").write_bytes(b"<html>")
    (tmp_path / "half.zip").write_bytes(make({"a.jpg": b"a", "b.jpg": bytes(99)})[:80])
    spec = examine(find_sources([str(tmp_path)]), uri_column=None, declared={}, http=HttpPolicy())
    rows = list(read_all(spec.spec))
    failed = {row.ref.uri: row for row in rows if isinstance(row, ImageError)}
    assert sorted(row.uri for row in rows if row not in failed.values()) == [
        f"{tmp_path}/a.zip!/a.jpg",
        f"{tmp_path}/half.zip!/a.jpg",
    ]
    assert sorted(failed) == [f"{tmp_path}/{name}.zip" for name in ("empty", "half", "none")]
    assert {str(row.reason) for row in failed.values()} == {"corrupt_archive"}
    assert failed[f"{tmp_path}/empty.zip"].message.endswith("empty.zip is empty, and no zip.")
    for name in ("empty", "none"):
        with pytest.raises(ValueError, match="no zip"):
            examine(
                find_sources([str(tmp_path / f"{name}.zip")]),
                uri_column=None,
                declared={},
                http=HttpPolicy(),
            )


def test_features_of_a_zip_are_those_of_loose_files(tmp_path):
    loose = tmp_path / "loose"
    loose.mkdir()
    data = {f"{n}.{f.lower()}": encode(noise(n), f) for n, f in enumerate(["JPEG", "PNG"] * 3)}
    for name, content in data.items():
        (loose / name).write_bytes(content)
    others = {"empty.jpg": b"", "locked.jpg": b"l" * 50, "spoiled.jpg": b"s" * 50, "c.txt": b""}
    plain = make(data | others, method=zipfile.ZIP_DEFLATED)
    stored = make(data | others, piped=True)
    spoiled = stored.replace(b"s" * 50, b"s" * 49 + b"x")
    local = spoiled.index(b"PK\3\4", spoiled.index(b"empty.jpg"))
    spoiled = patched(spoiled, local + 6, "<H", 0x9)
    (tmp_path / "x.zip").write_bytes(plain)
    (tmp_path / "y.zip").write_bytes(spoiled)
    half = stored.index(b"empty.jpg") + 3
    (tmp_path / "half.zip").write_bytes(stored[:half])
    inputs = [f"--input={tmp_path}/{name}.zip" for name in ("x", "y", "half")]
    run = extract(loose, tmp_path / "out", "r", *inputs, "--num_shards=2", "--max_error_rate=1")
    found = vectors(tmp_path / "out")
    archives = [f"{tmp_path}/{name}.zip!" for name in ("x", "y", "half")]
    assert set(found) == {f"{place}/{name}" for place in (loose, *archives) for name in data}
    for uri, vector in found.items():
        assert vector == found[f"{loose}/{uri.rpartition('/')[2]}"]
    assert len({found[f"{loose}/{name}"] for name in data}) == len(data)
    errors = {(error["uri"].rpartition("/")[2], error["reason"]) for error in lines(run, "errors")}
    assert errors == {
        ("empty.jpg", "empty_file"),
        ("locked.jpg", "not_an_image"),
        ("spoiled.jpg", "not_an_image"),
        ("locked.jpg", "encrypted"),
        ("spoiled.jpg", "corrupt_archive"),
        ("half.zip", "corrupt_archive"),
    }
    assert counts(run)[:3] == (6 * 4 + 3 + 3 + 1, 6 * 4, 7)
