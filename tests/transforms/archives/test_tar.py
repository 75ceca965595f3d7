"""Members of .tar files as all kinds of programs and attackers write them."""

import gzip
import io
import lzma
import os
import pathlib
import shutil
import struct
import subprocess
import tarfile
import tracemalloc
import zlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.archives.member import Wanted
from image_features.transforms.archives.options import FOUND
from image_features.transforms.archives.tar import read_tar
from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.packed_tar import tar_rows
from image_features.transforms.manifests.rows import ManifestError
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.read_manifest import read_all
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.values import ImageError, ImageRef, Reason
from tests.transforms.archives.tars import contents, fetched, listed, names, pack

_FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
_DATA = {f"d/{n:03}.jpg": os.urandom(size) for n, size in enumerate([3, 512, 511, 513, 70_000])}


def _compressed(path: pathlib.Path, suffix: str) -> pathlib.Path:
    data = path.read_bytes()
    target = path.with_name(path.name + suffix)
    if suffix == ".zst":
        target.write_bytes(pa.compress(data, "zstd", asbytes=True))
    else:
        module = __import__({".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}[suffix])
        target.write_bytes(module.compress(data))
    return target


def _header(name: bytes, size: bytes, type: bytes = b"0") -> bytes:
    """A header of the seventh Unix, apart from its type."""
    start = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2
    start += size.ljust(12, b"\0") + b"00000000000\0"
    rest = type.ljust(356, b"\0")
    checksum = sum(start) + sum(rest) + 8 * ord(" ")
    return start + b"%06o\0 " % checksum + rest


def _written(path: pathlib.Path, data: bytes) -> pathlib.Path:
    path.write_bytes(data)
    return path


class _File(io.BytesIO):
    """A file that counts its reads."""

    uri = shown = "x.tar"
    version = ""
    in_parts = True

    def __init__(self, data: bytes, size: int | None = None) -> None:
        super().__init__(data)
        self.size = size
        self.reads: list[int] = []

    def readinto(self, buffer):
        self.reads.append(len(buffer))
        return super().readinto(buffer)


def _block(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


_END = bytes(1024)


def _octal(size: int) -> bytes:
    return b"%011o\0" % size


@pytest.mark.parametrize("format", _FORMATS)
def test_names_of_any_length_in_all_formats(tmp_path, format):
    data = dict(_DATA)
    data |= {f"{'a' * 90}/{'b' * 80}.jpg": b"prefix"}
    if format != tarfile.USTAR_FORMAT:
        data |= {f"{'long/' * 100}x.jpg": b"long name", f"{'ö' * 200}.png": b"letters"}
    assert contents(pack(tmp_path / "x.tar", data, format=format)) == data


def test_a_leading_dot_is_no_part_of_a_name(tmp_path):
    path = pack(tmp_path / "x.tar", {"./a.jpg": b"1", "b/./c.jpg": b"2"})
    assert contents(path) == {"a.jpg": b"1", "b/./c.jpg": b"2"}


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compression_is_told_by_the_first_bytes(tmp_path, suffix):
    plain = pack(tmp_path / "x.tar", _DATA)
    path = _compressed(plain, suffix)
    assert contents(path) == contents(plain) == _DATA
    assert {row.place.span for row in listed(path) if row.place} == {0}
    for other in (tmp_path / "wrong.tar", tmp_path / "wrong.tar.xz"):
        shutil.copy(path, other)
        assert contents(other) == _DATA
    half = _compressed(pack(tmp_path / "half.tar", {"a.jpg": b"1" * 5000}), suffix).read_bytes()
    ends = _compressed(_written(tmp_path / "zeros", bytes(1024)), suffix).read_bytes()
    assert contents(_written(tmp_path / "twice.tar", half + ends)) == {"a.jpg": b"1" * 5000}
    shutil.copy(plain, tmp_path / "plain.tar.gz")
    assert contents(tmp_path / "plain.tar.gz") == _DATA


@pytest.mark.skipif(not shutil.which("tar"), reason="tar is not installed")
@pytest.mark.parametrize("format", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_what_gnu_tar_writes(tmp_path, format):
    data = dict(_DATA) | {f"{'n' * 80}/{'m' * 10}.jpg" if format == "v7" else "é é.jpg": b"x"}
    for name, content in data.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    command = ["tar", f"--format={format}", "-C", "in", "--sort=name"]
    subprocess.run([*command, "-cf", "x.tar", "."], cwd=tmp_path, check=True)
    subprocess.run([*command, "-czf", "x.tgz", "."], cwd=tmp_path, check=True)
    assert contents(tmp_path / "x.tar") == contents(tmp_path / "x.tgz") == data


@pytest.mark.skipif(not shutil.which("tar"), reason="tar is not installed")
@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_sparse_files_are_error_rows_and_what_follows_is_read(tmp_path, format):
    with open(tmp_path / "a.jpg", "wb") as file:
        for at in range(0, 4_000_000, 100_000):  # More holes than a header has room for.
            file.seek(at)
            file.write(b"data")
    (tmp_path / "b.jpg").write_bytes(b"b")
    command = ["tar", "-S", f"--format={format}", "-cf", "x.tar", "a.jpg", "b.jpg"]
    subprocess.run(command, cwd=tmp_path, check=True)
    sparse, sound = listed(tmp_path / "x.tar")
    assert names([sparse, sound]) == ["a.jpg", "b.jpg"]
    assert "sparse" in sparse.problem and not sound.problem
    wanted = [Wanted("a.jpg", None), Wanted("b.jpg", None)]
    assert fetched(tmp_path / "x.tar", wanted) == [Reason.UNSUPPORTED_FORMAT, b"b"]


def test_links_devices_and_unsafe_names_are_counted_and_not_followed(tmp_path, caplog):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for type in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("evil.jpg")
            member.type, member.linkname = type, "/etc/passwd"
            tar.addfile(member)
        for name in ("/abs.jpg", "../up.jpg", "a/../b.jpg", "inner.tar", "._a.jpg"):
            tar.addfile(tarfile.TarInfo(name))
        directory = tarfile.TarInfo("dir.jpg")
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
        tar.addfile(tarfile.TarInfo("a..b.jpg"))
    with caplog.at_level("INFO", "image_features"):
        assert names(listed(path)) == ["a..b.jpg"]
    (line,) = [line for line in caplog.messages if "passed_over" in line]
    for told in ('"links": 2', '"devices": 2', '"unsafe_names": 3', '"archives": 1'):
        assert told in line
    wanted = [Wanted("evil.jpg", None), Wanted("a..b.jpg", None)]
    assert fetched(path, wanted) == [Reason.NOT_FOUND, b""]


def test_sizes_in_base_256_and_by_pax_headers(tmp_path):
    path = tmp_path / "x.tar"
    binary = _header(b"a.jpg", b"\x80" + (700).to_bytes(11)) + _block(b"a" * 700)
    record = b"12 size=700\n"
    pax = _header(b"p", _octal(len(record)), b"x") + _block(record)
    pax += _header(b"b.jpg", _octal(0)) + _block(b"b" * 700)
    path.write_bytes(binary + pax + _header(b"c.jpg", _octal(1)) + _block(b"c") + _END)
    assert contents(path) == {"a.jpg": b"a" * 700, "b.jpg": b"b" * 700, "c.jpg": b"c"}


def test_headers_that_name_no_file_are_passed_over(tmp_path):
    path = tmp_path / "x.tar"
    comment = b"15 comment=abc\n"
    volume = _header(b"label.jpg", _octal(0), b"V") + _header(b"rest.jpg", _octal(3), b"M")
    volume += _block(b"abc") + _header(b"d", _octal(3), b"D") + _block(b"abc")
    solaris = b"17 path=\xc3\xa9/b.jpg\n"
    path.write_bytes(
        _header(b"pax_global_header", _octal(len(comment)), b"g")
        + _block(comment)
        + volume
        + _header(b"K", _octal(7), b"K")
        + _block(b"target\0")
        + _header(b"a.jpg", _octal(1), b"\0")
        + _block(b"a")
        + _header(b"dir.jpg/", _octal(0), b"\0")
        + _header(b"x", _octal(len(solaris)), b"X")
        + _block(solaris)
        + _header(b"b.jpg", _octal(1), b"7")
        + _block(b"b")
        + _END
    )
    assert len(listed(path)) == 2 and contents(path) == {"a.jpg": b"a", "é/b.jpg": b"b"}
    assert fetched(path, [Wanted("./a.jpg", None)]) == [b"a"]


def test_checksums_of_signed_bytes(tmp_path):
    header = _header("ö.jpg".encode(), _octal(1))
    total = sum(struct.unpack("148b8x356b", header)) + 8 * ord(" ")
    header = header[:148] + b"%06o\0 " % total + header[156:]
    (tmp_path / "x.tar").write_bytes(header + _block(b"x") + _END)
    assert contents(tmp_path / "x.tar") == {"ö.jpg": b"x"}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (_header(b"b.jpg", b"\xff" * 12), "a negative size at byte 1024"),
        (_header(b"b.jpg", b"\x80" + b"\xff" * 11), "an impossible size at byte 1024"),
        (_header(b"b.jpg", b"x"), "a header without a size at byte 1024"),
        (b"x" + _header(b"b.jpg", b"1")[1:], "a header with a wrong checksum at byte 1024"),
        (_header(b"L", _octal(8 * 2**30 - 1), b"L"), "a header of 8589934591 bytes"),
        (_header(b"x", b"\x80" + (2**60).to_bytes(11), b"x"), f"a header of {2**60} bytes"),
        (_header(b"x", _octal(9), b"x") + _block(b"9 a=bcdef"), "a damaged pax header"),
        (_header(b"x", _octal(9), b"x") + _block(b"999 a=b\n"), "a damaged pax header"),
        (_header(b"x", _octal(9), b"x") + _block(b"-3 a=b\n"), "a pax header with a wrong number"),
        (_header(b"g", _octal(9), b"g") + _block(b"9 size=1\n"), "a global header that names"),
        (_header(b"b.jpg", _octal(8 * 2**30 - 1)), "is cut short at byte"),
        (_header(b"x", _octal(10**6), b"x"), "is cut short at byte"),
    ],
)
def test_hostile_headers_cost_what_follows_and_no_memory(tmp_path, bad, told):
    path = tmp_path / "x.tar"
    path.write_bytes(_header(b"a.jpg", _octal(1)) + _block(b"a") + bad + _END)
    tracemalloc.start()
    first, damage = listed(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20
    assert names([first]) == ["a.jpg"] and damage.uri == str(path)
    assert damage.reason is Reason.CORRUPT_ARCHIVE and damage.unread
    assert told in damage.problem and damage.problem.startswith(str(path))
    wanted = [Wanted("a.jpg", None), Wanted("b.jpg", None)]
    assert fetched(path, wanted) == [b"a", Reason.CORRUPT_ARCHIVE]


def test_what_is_no_tar_file_is_told(tmp_path):
    for data in (b"no tar" * 1000, gzip.compress(b"no tar" * 1000), b"PK\x03\x04" + bytes(2000)):
        (tmp_path / "x.tar").write_bytes(data)
        with pytest.raises(ManifestError, match=r"x\.tar is"):
            listed(tmp_path / "x.tar")
        assert fetched(tmp_path / "x.tar", [Wanted("a.jpg", None)]) == [Reason.CORRUPT_ARCHIVE]


def test_what_is_no_tar_file_among_others_is_an_error_row(tmp_path):
    pack(tmp_path / "a.tar", {"a.jpg": b"x"})
    (tmp_path / "b.tar").write_bytes(b"no tar" * 1000)
    (tmp_path / "c.tgz").write_bytes(b"PK\x03\x04" * 1000)
    sources = find_sources([str(tmp_path)])
    spec = examine(sources, uri_column=None, declared={}, http=HttpPolicy()).spec
    rows = sorted(read_all(spec), key=lambda row: isinstance(row, ImageError))
    assert isinstance(rows[0], ImageRef) and len(rows) == 3
    for row in rows[1:]:
        assert isinstance(row, ImageError) and row.reason is Reason.CORRUPT_ARCHIVE
        assert row.message.count(row.ref.uri) == 1


def test_an_archive_ends_at_its_mark(tmp_path):
    first, second = (pack(tmp_path / f"{n}.tar", {f"{n}.jpg": b"x"}) for n in "ab")
    path = tmp_path / "x.tar"
    for behind in (second.read_bytes(), b"garbage", b""):
        path.write_bytes(first.read_bytes() + behind)
        assert contents(path) == {"a.jpg": b"x"} and len(listed(path)) == 1
    path.write_bytes(bytes(1024))
    assert not listed(path)


def _expected(tar: bytes) -> list[tuple[str, int]]:
    """The names of members and where their data ends, by Python's own module."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as file:
        return [(m.name, m.offset_data + m.size) for m in file]


@pytest.mark.parametrize("format", _FORMATS)
def test_truncated_at_every_byte(tmp_path, format):
    last = f"{'e' * 60}/{'e' * 60}.jpg" if format == tarfile.USTAR_FORMAT else f"{'é' * 60}.jpg"
    data = {"b.txt": b"2" * 10, "b.jpg": b"", "a.jpg": b"1" * 300, last: b"3" * 512}
    tar = pack(tmp_path / "x.tar", data, format=format).read_bytes()
    members = _expected(tar)
    mark = -(-members[-1][1] // 512) * 512 + 512
    for cut in range(mark + 2):
        file = _File(tar[:cut], cut if cut % 2 else None)
        rows = list(tar_rows(file, FOUND))
        whole = [name for name, end in members if end <= cut and name.endswith("jpg")]
        damage = [row for row in rows if row.reason is Reason.CORRUPT_ARCHIVE]
        assert names([row for row in rows if row not in damage]) == whole, cut
        assert len(damage) == (cut < mark), cut
        told = f"is cut short at byte {cut if file.size else ''}"
        assert all(told in row.problem for row in damage)
    assert contents(tmp_path / "x.tar") == {n: data[n] for n in data if n.endswith("jpg")}


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_files_cut_or_changed_keep_what_is_before(tmp_path, suffix):
    tar = pack(tmp_path / "x.tar", {f"{n}.jpg": os.urandom(30_000) for n in range(20)})
    whole = contents(tar)
    path = _compressed(tar, suffix)
    data = path.read_bytes()
    for cut in [1, 20, *range(1000, len(data), len(data) // 7), len(data) - 1]:
        path.write_bytes(data[:cut])
        rows = listed(path)
        assert [row.reason for row in rows].count(Reason.CORRUPT_ARCHIVE) == 1, cut
        assert rows[-1].reason is Reason.CORRUPT_ARCHIVE and " at byte " in rows[-1].problem
        assert contents(path).items() <= whole.items()
        if suffix == ".gz":  # What cannot be compressed comes as it was.
            assert len(rows) - 1 >= (cut - 200) // 31_300


def test_a_checksum_that_is_wrong_costs_no_member(tmp_path):
    path = _compressed(pack(tmp_path / "x.tar", _DATA), ".gz")
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    rows = listed(path)
    assert names(rows[:-1]) == list(_DATA) and "CRC check failed" in rows[-1].problem
    assert contents(path) == _DATA


def test_a_dictionary_of_a_gigabyte_is_not_made(tmp_path):
    path = tmp_path / "x.tar.xz"
    tar = pack(tmp_path / "x.tar", _DATA).read_bytes()
    compressed = lzma.compress(tar, filters=[{"id": lzma.FILTER_LZMA2}])
    # The size of the dictionary is one byte of a header that has a checksum of its own.
    header = bytearray(compressed[12:24])
    assert header[2:4] == b"\x21\x01"
    header[4] = 36
    header[8:12] = zlib.crc32(header[:8]).to_bytes(4, "little")
    path.write_bytes(compressed[:12] + header + compressed[24:])
    (row,) = listed(path)
    assert row.reason is Reason.CORRUPT_ARCHIVE and "emory usage limit" in row.problem


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_changed_bytes_end_in_rows_or_damage(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    mode = data.draw(st.sampled_from(["w", "w:gz", "w:xz"]))
    tar = bytearray(
        pack(path, {"a.jpg": b"1" * 600, "é.jpg": b"2", "c.json": b"{}"}, mode).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 3))):
        tar[data.draw(st.integers(0, len(tar) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(tar)
    try:
        rows = listed(path)
    except ManifestError:
        return
    assert [row.reason for row in rows].count(Reason.CORRUPT_ARCHIVE) <= 1
    contents(path)


def test_an_archive_that_was_replaced_gives_no_other_image(tmp_path):
    path = pack(tmp_path / "x.tar", {"a.jpg": b"a" * 600, "b.jpg": b"b"})
    wanted = [Wanted(name, row.place) for name, row in zip("ab", listed(path), strict=True)]
    wanted = [Wanted(f"{name}.jpg", place) for name, place in wanted]
    assert fetched(path, wanted) == [b"a" * 600, b"b"]
    for other in ({"c.jpg": b"a" * 600, "b.jpg": b"b"}, {"a.jpg": b"a"}, {}):
        pack(path, other)
        assert fetched(path, wanted)[0] is Reason.READ_FAILED
    path.write_bytes(b"")
    assert fetched(path, wanted) == [Reason.READ_FAILED] * 2


def test_members_that_are_too_large_are_not_read(tmp_path):
    path = pack(tmp_path / "x.tar", {"a.jpg": bytes(30_000_000), "b.jpg": b"b"})
    for archive in (path, _compressed(path, ".gz")):
        rows = listed(archive)
        tracemalloc.start()
        for places in ([row.place for row in rows], [None, None]):
            wanted = [Wanted(name, place) for name, place in zip(names(rows), places, strict=True)]
            assert fetched(archive, wanted, 1_000_000) == [Reason.TOO_MANY_BYTES, b"b"]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6 * 2**20


def test_a_name_that_is_there_twice_is_the_first(tmp_path):
    path = pack(tmp_path / "x.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"3")])
    assert names(listed(path)) == ["a.jpg", "b.jpg", "a.jpg"]
    assert contents(path) == {"a.jpg": b"1", "b.jpg": b"2"}
    wanted = [Wanted("a.jpg", None)] * 2 + [Wanted("no.jpg", None)]
    assert fetched(path, wanted) == [b"1", b"1", Reason.NOT_FOUND]


def test_large_archives_are_divided(tmp_path):
    path = tmp_path / "x.tar"
    with open(path, "wb") as file:
        for number in range(5):
            file.write(_header(b"%d.jpg" % number, _octal(200 * 2**20)))
            file.seek(200 * 2**20, os.SEEK_CUR)
        file.write(_END)
    assert [row.place.span for row in listed(path) if row.place] == [0, 0, 0, 1, 1]


def test_many_members_take_no_memory(tmp_path):
    path = tmp_path / "x.tar.gz"
    block = _header(b"a.jpg", _octal(0)) * 500 + _header(b"a.x", _octal(0)) * 500
    path.write_bytes(gzip.compress(block * 10 + _END, 1))
    with open_ranged(str(path), http=HttpPolicy()) as file:
        rows = tar_rows(file, FOUND)
        next(rows)
        tracemalloc.start()
        assert sum(1 for _ in rows) == 4_999
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 * 2**20


def test_places_are_read_in_one_go(tmp_path):
    path = pack(tmp_path / "x.tar", _DATA)
    wanted = [Wanted(name, row.place) for name, row in zip(_DATA, listed(path), strict=True)]
    file = _File(path.read_bytes())
    assert [taken.data for taken in read_tar(file, wanted, max_bytes=10**6)] == [*_DATA.values()]
    assert len(file.reads) <= 2 + len(_DATA)
