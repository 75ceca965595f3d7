"""Zip files are listed and read member by member, however they were written or damaged."""

import itertools
import pathlib
import random
import shutil
import struct
import subprocess
import tracemalloc
import zipfile
import zlib

import pytest

from image_features.transforms.archives import zip_contents
from image_features.transforms.archives.archive import read_members
from image_features.transforms.archives.member import Wanted
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.manifests.packed import read_packed
from image_features.transforms.manifests.rows import ManifestError
from image_features.transforms.stores import versions
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import ArchiveFormat, split_member
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Place
from tests.range_server import RangeServer
from tests.transforms.archives.zips import contents, make, patched, read, rows_of

_RANDOM = random.Random(1)
_MEMBERS = {f"d/{number}.jpg": _RANDOM.randbytes(40 + number) for number in range(4)}
_METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
_ENCRYPTED, _DESCRIBED = 0x1, 0x8
# Offsets in a record of the directory, and in a header before the data.
_FLAGS, _METHOD, _CRC, _PACKED, _SIZE, _ATTRIBUTES, _BEGIN = 8, 10, 16, 20, 24, 38, 42
_LOCAL_FLAGS, _LOCAL_METHOD, _LOCAL_PACKED = 6, 8, 18


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


def _names(rows):
    return [split_member(row.uri)[1] for row in rows if not row.problem]


def _records(data):
    """Returns where the records of the directory begin."""
    start = data.index(b"PK\x01\x02")
    return [at for at in range(start, len(data)) if data[at : at + 4] == b"PK\x01\x02"]


@pytest.mark.parametrize("method", _METHODS)
@pytest.mark.parametrize("piped", [False, True])
def test_what_zipfile_writes_is_read(path, method, piped):
    large = {"large.png": bytes(2**20 - 1), "empty.jpg": b""}
    path.write_bytes(make(_MEMBERS | large, method=_METHODS[method], piped=piped))
    rows = rows_of(path)
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert _names(rows) == list(_MEMBERS | large)
    assert contents(path, rows) == _MEMBERS | large
    assert contents(path, rows, placed=False) == _MEMBERS | large
    with open_ranged(str(path), http=HttpPolicy()) as file:
        version = file.version
    taken = read(path, [Wanted(split_member(row.uri)[1], row.place) for row in rows])
    assert [versions.of_member(version, one.detail) for one in taken] == [r.version for r in rows]


def test_zip64_is_read(path, monkeypatch):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in _MEMBERS.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    assert contents(path, rows_of(path)) == _MEMBERS
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    for piped in (False, True):
        path.write_bytes(make(_MEMBERS, piped=piped))
        assert b"PK\x06\x06" in path.read_bytes()
        assert contents(path, rows_of(path)) == _MEMBERS
        assert contents(path, rows_of(path), placed=False) == _MEMBERS


@pytest.mark.parametrize("options", [["-0"], ["-9"], ["-fd"], ["-fz"]])
def test_what_info_zip_writes_is_read(path, tmp_path, options):
    if not shutil.which("zip"):
        pytest.skip("zip is not here")
    for name, data in _MEMBERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    subprocess.run(["zip", "-qr", *options, "a.zip", "d"], cwd=tmp_path, check=True)
    assert contents(path, rows_of(path)) == _MEMBERS


def test_what_shutil_packs_is_read(tmp_path):
    (tmp_path / "d").mkdir()
    for name, data in _MEMBERS.items():
        (tmp_path / name).write_bytes(data)
    path = pathlib.Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path, "d"))
    rows = rows_of(path)
    assert contents(path, rows) == _MEMBERS


@pytest.mark.parametrize(("method", "piped"), [("stored", True), ("deflate", False)])
def test_every_cut_keeps_the_members_before_it(path, method, piped):
    data = make(_MEMBERS, method=_METHODS[method], piped=piped, comment=b"comment")
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        begins = [info.header_offset for info in archive.infolist()]
        ends = [*begins[1:], archive.start_dir]
    for cut in range(1, len(data)):
        path.write_bytes(data[:cut])
        *rows, damage = rows_of(path)
        assert (damage.uri, damage.reason) == (str(path), "corrupt_archive"), cut
        assert f"cut short at byte {cut}" in damage.problem
        whole = [name for name, end in zip(_MEMBERS, ends, strict=True) if end <= cut]
        assert _names(rows) == whole, cut
        assert contents(path, rows) == {name: _MEMBERS[name] for name in whole}, cut


def test_a_damaged_byte_takes_no_neighbours(path):
    data = make(_MEMBERS, method=zipfile.ZIP_DEFLATED)
    for at in range(len(data)):
        path.write_bytes(patched(data, at, "B", data[at] ^ (0x80 if at % 2 else 0xFF)))
        found = contents(path, rows_of(path))
        right = [name for name, kept in _MEMBERS.items() if found.get(name) == kept]
        assert len(right) >= len(_MEMBERS) - 1, at
        assert {kept for kept in found.values() if isinstance(kept, bytes)} <= {*_MEMBERS.values()}


def test_damage_of_the_directory_is_told_and_members_are_found_without_it(path):
    data = make(_MEMBERS)
    at = _records(data)[1]
    path.write_bytes(patched(data, at, "B", 0))
    *rows, damage = rows_of(path)
    assert damage.problem == f"{path} is damaged in its directory at byte {at}"
    assert contents(path, rows) == _MEMBERS
    assert contents(path, rows, placed=False) == _MEMBERS


def test_encrypted_members_fail_on_their_own(path):
    data = make(_MEMBERS)
    second = data.index(b"PK\x03\x04", 4)
    data = patched(data, second + _LOCAL_FLAGS, "<H", _ENCRYPTED)
    path.write_bytes(patched(data, _records(data)[1] + _FLAGS, "<H", _ENCRYPTED))
    assert contents(path, rows_of(path)) == _MEMBERS | {"d/1.jpg": "encrypted"}
    assert contents(path, rows_of(path), placed=False) == _MEMBERS | {"d/1.jpg": "encrypted"}


def test_what_zip_encrypts_is_told(path, tmp_path):
    if not shutil.which("zip"):
        pytest.skip("zip is not here")
    (tmp_path / "a.jpg").write_bytes(b"a" * 100)
    (tmp_path / "b.jpg").write_bytes(b"b" * 100)
    subprocess.run(["zip", "-q", "-P", "secret", "a.zip", "a.jpg"], cwd=tmp_path, check=True)
    subprocess.run(["zip", "-q", "a.zip", "b.jpg"], cwd=tmp_path, check=True)
    assert contents(path, rows_of(path)) == {"a.jpg": "encrypted", "b.jpg": b"b" * 100}


@pytest.mark.parametrize(
    ("method", "told"), [(1, "shrinking"), (9, "Deflate64"), (93, "Zstandard"), (77, "method 77")]
)
def test_other_methods_are_named(path, method, told):
    data = make({"a.jpg": b"abc", "b.jpg": b"abc"})
    data = patched(data, _LOCAL_METHOD, "<H", method)
    path.write_bytes(patched(data, _records(data)[0] + _METHOD, "<H", method))
    first, second = read(path, [Wanted("a.jpg", None), Wanted("b.jpg", None)])
    assert first.data.reason == "unsupported_format"
    assert told in str(first.data)
    assert second.data == b"abc"


@pytest.mark.parametrize("method", ["deflate", "bzip2", "lzma"])
@pytest.mark.parametrize("piped", [False, True])
def test_bombs_end_at_the_limit(path, method, piped):
    bomb = bytes(30 * 2**20)
    data = make({"bomb.jpg": bomb, "a.jpg": b"a"}, method=_METHODS[method], piped=piped)
    path.write_bytes(data)
    rows = rows_of(path)
    small = patched(data, _records(data)[0] + _SIZE, "<L", 100)
    tracemalloc.start()
    assert contents(path, rows) == {"bomb.jpg": "too_many_bytes", "a.jpg": b"a"}
    if not piped:  # A header that says less is believed no more than one that says more.
        path.write_bytes(patched(small, 22, "<L", 100))
        assert contents(path, rows) == {"bomb.jpg": "corrupt_archive", "a.jpg": b"a"}
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_a_dictionary_of_gigabytes_is_not_made(path):
    data = make({"a.jpg": b"abc" * 100}, method=zipfile.ZIP_LZMA)
    properties = data.index(b"\x05\x00\x5d") + 3
    path.write_bytes(patched(data, properties, "<L", 2**32 - 1))
    assert contents(path, rows_of(path)) == {"a.jpg": b"abc" * 100}


def _overlapping(count: int, kernel: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Returns a zip whose members each hold all that follow them, and what they hold."""
    headers, records, held = b"", [], {}
    body = kernel
    for number in reversed(range(count)):
        name = f"{number:03}.jpg".encode()
        held[name.decode()] = body
        facts = zlib.crc32(body), len(body), len(body), len(name)
        headers = struct.pack("<4sHHHLLLLHH", b"PK\3\4", 20, 0, 0, 0, *facts, 0) + name
        records.append((name, facts, len(headers) + len(body)))
        body = headers + body
    directory = b"".join(
        struct.pack("<4sHHHHLLLLHHHHHLL", b"PK\1\2", 20, 20, 0, 0, 0, *facts, 0, 0, 0, 0, 0, at)
        + name
        for name, facts, size in records
        for at in [len(body) - size]
    )
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + end, held


def test_members_do_not_share_their_data(path):
    data, held = _overlapping(50, b"kernel")
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == list(held)
    rows = rows_of(path)
    assert len(rows) == 50
    found = contents(path, rows)
    assert found.pop("049.jpg") == b"kernel"
    assert set(found.values()) == {"corrupt_archive"}
    assert contents(path, rows, placed=False).pop("000.jpg") == "corrupt_archive"


def test_one_header_is_no_two_members(path):
    data = make(_MEMBERS)
    second = _records(data)[1]
    path.write_bytes(patched(data, second + _BEGIN, "<L", 0))
    assert contents(path, rows_of(path)) == _MEMBERS | {"d/1.jpg": "corrupt_archive"}


def test_what_lies_outside_of_the_file_is_told(path):
    data = make(_MEMBERS)
    far = patched(data, _records(data)[0] + _BEGIN, "<L", 2**32 - 2)
    path.write_bytes(patched(far, _records(data)[1] + _PACKED, "<L", 2**31))
    rows = rows_of(path)
    assert [row.reason for row in rows if row.problem] == ["corrupt_archive"] * 2
    kept = {name: _MEMBERS[name] for name in ("d/2.jpg", "d/3.jpg")}
    assert contents(path, [row for row in rows if not row.problem]) == kept


def test_a_directory_of_many_is_read_in_bounded_memory(path, monkeypatch):
    monkeypatch.setattr(zip_contents, "_WINDOW", 1000)
    count = 8000
    record = struct.Struct("<4sHHHHLLLLHHHHHLL")
    order = list(range(count))
    random.Random(0).shuffle(order)
    directory = b"".join(
        record.pack(b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 12, 0, 900, 0, 0, 0, at)
        + f"{at:08}.jpg".encode()
        + bytes(900)
        for at in order
    )
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count % 2**16, count % 2**16, 0, 0, 0)
    path.write_bytes(directory + patched(end, 12, "<LL", len(directory), 0))
    with open(path, "rb") as file:
        tracemalloc.start()
        lists = zip_contents.list_zip(file, path.stat().st_size, "it")
        assert sum(map(len, lists)) == count
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
        tracemalloc.stop()


def test_what_was_put_before_an_archive_shifts_its_members(path):
    path.write_bytes(make(_MEMBERS, prefix=b"#!/bin/sh\n" * 300))
    assert contents(path, rows_of(path)) == _MEMBERS
    path.write_bytes(b"#!/bin/sh\n" * 300 + make(_MEMBERS))
    assert contents(path, rows_of(path)) == _MEMBERS
    assert contents(path, rows_of(path), placed=False) == _MEMBERS
    path.write_bytes(path.read_bytes()[:-100])
    *rows, damage = rows_of(path)
    assert damage.reason == "corrupt_archive"
    assert contents(path, rows) == _MEMBERS


def test_comments_and_archives_within_do_not_stand_for_the_archive(path):
    inner = make({"inner.jpg": b"inner"})
    data = make(_MEMBERS)
    end = data.index(b"PK\5\6")
    for comment in (inner, inner[-22:], b"PK\5\6" * 10_000, data[end:] + b"x"):
        path.write_bytes(patched(data, end + 20, "<H", len(comment)) + comment)
        assert contents(path, rows_of(path)) == _MEMBERS
    outer = make({"a.jpg": b"a", "inner.zip": inner, "b.jpg": b"b"})
    path.write_bytes(outer)
    assert contents(path, rows_of(path)) == {"a.jpg": b"a", "b.jpg": b"b"}
    path.write_bytes(outer[: outer.index(inner) + len(inner)])
    *rows, damage = rows_of(path)
    assert contents(path, rows) == {"a.jpg": b"a"}
    assert damage.reason == "corrupt_archive"
    path.write_bytes(data + bytes(1000))  # What a disk has put behind the end does no harm.
    assert contents(path, rows_of(path)) == _MEMBERS


def test_what_is_no_zip_is_told(path):
    for data, told in ((b"", "is empty"), (b"\x89PNG" * 9, "is no zip")):
        path.write_bytes(data)
        with pytest.raises(ManifestError, match=told):
            rows_of(path)
        with pytest.raises(FetchError, match=told) as caught:
            read(path, [Wanted("a.jpg", None)])
        assert caught.value.reason == "corrupt_archive"
    path.write_bytes(make({}))
    assert rows_of(path) == []


@pytest.mark.parametrize("data", [b"PK\x07\x08" + make(_MEMBERS)[4:200], make(_MEMBERS)[100:]])
def test_a_part_of_a_split_zip_is_told(path, data):
    if end := data.rfind(b"PK\5\6") + 1:
        data = patched(data, end - 1 + 4, "<HH", 1, 1)
    path.write_bytes(data)
    with pytest.raises(FetchError, match="join them first"):
        rows_of(path)


def test_names_are_what_their_writers_meant(path):
    names = ["ü.jpg", "日本.jpg", "./here.jpg", "a b#?%.jpg", "win\\dows.jpg", "a!/b.jpg"]
    path.write_bytes(make(dict.fromkeys(names, b"x")))
    assert _names(rows_of(path)) == [name.removeprefix("./") for name in names]
    assert set(contents(path, rows_of(path)).values()) == {b"x"}
    data = make({"??.jpg": b"x"})
    for raw, name in ((b"\x81z", "üz"), ("é".encode(), "é")):  # cp437, and Finder's UTF-8.
        path.write_bytes(data.replace(b"??", raw))
        assert _names(rows_of(path)) == [f"{name}.jpg"]
        assert contents(path, rows_of(path)) == {f"{name}.jpg": b"x"}
    info = zipfile.ZipInfo("??.jpg")
    unicode_path = struct.pack("<BL", 1, zlib.crc32(b"\x81z.jpg")) + "ő.jpg".encode()
    info.extra = struct.pack("<HH", 0x7075, len(unicode_path)) + unicode_path
    path.write_bytes(make([(info, b"x")]).replace(b"??", b"\x81z"))
    assert _names(rows_of(path)) == ["ő.jpg"]
    assert contents(path, rows_of(path)) == {"ő.jpg": b"x"}


def test_an_archive_that_has_changed_is_told(path):
    path.write_bytes(make(_MEMBERS))
    rows = rows_of(path)
    path.write_bytes(make({"other.jpg": bytes(500)} | _MEMBERS))
    assert set(contents(path, rows).values()) == {"read_failed"}
    path.write_bytes(make({name: data[::-1] for name, data in _MEMBERS.items()}))
    assert contents(path, rows) == {name: data[::-1] for name, data in _MEMBERS.items()}
    path.write_bytes(b"x")
    with pytest.raises(FetchError, match="is no zip"):
        contents(path, rows)


def test_headers_that_tell_nothing_leave_it_to_the_directory(path):
    data = make(_MEMBERS, method=zipfile.ZIP_DEFLATED)
    begin = data.index(b"PK\3\4", 4)
    for form, values in (("<LLL", (0, 0, 0)), ("<LLL", (1, 2, 3))):
        path.write_bytes(patched(data, begin + _CRC - 2, form, *values))
        assert contents(path, rows_of(path)) == _MEMBERS


def test_names_that_are_not_there_are_told_apart(path):
    data = make(_MEMBERS)
    path.write_bytes(data)
    assert read(path, [Wanted("x.jpg", None)]) == []
    path.write_bytes(data[:100])
    (missing,) = read(path, [Wanted("x.jpg", None)])
    assert missing.data.reason == "corrupt_archive"
    assert read(path, []) == []
    (absent,) = read(path, [Wanted("x.jpg", Place(0, 10**9, 5))])
    assert absent.data.reason == "read_failed"


def test_of_two_members_of_a_name_the_first_counts(path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path.write_bytes(make([("a.jpg", b"first"), ("a.jpg", b"second")]))
    rows = rows_of(path)
    assert _names(rows) == ["a.jpg", "a.jpg"]
    assert contents(path, rows[:1]) == contents(path, rows[:1], placed=False) == {"a.jpg": b"first"}


def test_spans_are_read_on_their_own(path):
    path.write_bytes(make(_MEMBERS, method=zipfile.ZIP_DEFLATED, piped=True))
    rows = rows_of(path)
    for some in itertools.combinations(rows, 2):
        assert contents(path, some) == {name: _MEMBERS[name] for name in _names(some)}


@pytest.mark.parametrize("piped", [False, True])
def test_a_zip_is_listed_in_two_requests_and_a_span_read_in_one(piped):
    members = {f"images/{number:05}.jpg": _RANDOM.randbytes(800) for number in range(2500)}
    policy = HttpPolicy(allow_private_hosts=True)
    with RangeServer(make(members, piped=piped)) as server:
        with open_ranged(server.url("a.zip"), http=policy) as file:
            rows = list(read_packed(file, ArchiveFormat.ZIP, ArchiveOptions()))
        assert [asked.partition("-")[0] for asked in server.asked] == [
            "bytes=",
            f"bytes={server.data.index(b'PK')}",
        ]
        for wanted in (rows, rows[1000:1100]):
            server.asked.clear()
            names = _names(wanted)
            with open_ranged(server.url("a.zip"), http=policy) as file:
                places = [Wanted(name, row.place) for name, row in zip(names, wanted, strict=True)]
                options = {"max_bytes": 2**20, "options": ArchiveOptions()}
                taken = list(read_members(file, ArchiveFormat.ZIP, places, **options))
            assert [one.data for one in taken] == [members[name] for name in names]
            assert server.asked == [f"bytes={wanted[0].place.begin}-"]
