"""TFRecord files: which records are read, whatever lies in them and however they are damaged."""

import gzip
import itertools
import pathlib
import struct
import tracemalloc
import zlib

import pytest

from image_features.transforms.archives.archive import read_members
from image_features.transforms.archives.framing import frame, masked_crc
from image_features.transforms.archives.member import Taken, Wanted
from image_features.transforms.archives.options import FOUND, ArchiveOptions
from image_features.transforms.archives.tfrecord import LONGEST_RECORD
from image_features.transforms.stores import versions
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import ArchiveFormat
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Place, Reason
from tests.transforms.archives.examples import (
    example,
    of_bytes,
    of_ints,
    picture,
    rows_of,
    with_image,
    write,
)

MIB = 2**20
_PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    "ZLIB": zlib.compress,
    "fast": lambda data: zlib.compress(data, 1),
}


def read(
    path: pathlib.Path,
    wanted: list[Wanted],
    *,
    max_bytes: int = MIB,
    options: ArchiveOptions = FOUND,
) -> list[Taken]:
    with open_ranged(str(path), http=HttpPolicy()) as file:
        members = read_members(
            file, ArchiveFormat.TFRECORD, wanted, max_bytes=max_bytes, options=options
        )
        return list(members)


def listed(path: pathlib.Path) -> list[Wanted]:
    return [Wanted(row.uri.partition("!/")[2], row.place) for row in rows_of(path) if row.place]


def failure(taken: Taken) -> FetchError:
    assert isinstance(taken.data, FetchError)
    return taken.data


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
def test_what_tensorflow_writes_is_listed_and_read(tmp_path, compression):
    import tensorflow as tf

    path = tmp_path / "a.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression)) as writer:
        for i in range(20):
            writer.write(with_image(i, of_ints("label", i)))
    rows = rows_of(path)
    assert [row.uri for row in rows] == [f"{path}!/row/{i}" for i in range(20)]
    assert [row.number for row in rows] == list(range(1, 21))
    assert [row.values for row in rows] == [{"label": i} for i in range(20)]
    taken = read(path, listed(path))
    assert [t.data for t in taken] == [picture(i) for i in range(20)]
    version = versions.of_file(path.stat())
    assert [versions.of_member(version, t.detail) for t in taken] == [r.version for r in rows]
    assert len({t.detail for t in taken}) == 20


@pytest.mark.parametrize("compressed", [False, True])
def test_records_are_read_by_place_or_by_name(tmp_path, compressed):
    path = write(tmp_path / "a.tfrecord", [with_image(i) for i in range(9)])
    if compressed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    all_ = listed(path)
    assert [t.data for t in read(path, all_[2::3])] == [picture(i) for i in (2, 5, 8)]
    names = [Wanted(f"row/{i}", None) for i in (7, 3, 9, 3)]
    assert {t.number: t.data for t in read(path, names)} == {
        0: picture(7),
        1: picture(3),
        3: picture(3),
    }
    odd = ("row/03", "row/-1", "row/", "a.jpg", "", "row/1 ", "ROW/1", "row/99999999999999999999")
    assert read(path, [Wanted(name, None) for name in odd]) == []


def test_a_length_may_look_like_the_magic_of_gzip(tmp_path):
    entries = of_bytes("image", picture(1))
    rest = 0x088B1F - len(example(entries, of_bytes("pad", bytes(500_000)))) + 500_000
    record = example(entries, of_bytes("pad", bytes(rest)))
    path = write(tmp_path / "a.tfrecord", [record, with_image(2)])
    assert path.read_bytes().startswith(b"\x1f\x8b\x08\0")
    assert [t.data for t in read(path, listed(path))] == [picture(1), b""]


@pytest.mark.parametrize("packer", list(_PACKERS.values()), ids=list(_PACKERS))
def test_a_file_cut_anywhere_keeps_what_is_before_the_cut(tmp_path, packer):
    records = [example(of_bytes("image", b"\xff\xd8\xff" + bytes([i] * 9))) for i in range(4)]
    ends = list(itertools.accumulate(len(frame(record)) for record in records))
    whole = packer(b"".join(map(frame, records)))
    path = tmp_path / "a.tfrecord"
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        rows = rows_of(path)
        if packer is bytes:
            kept = sum(end <= cut for end in ends)
            clean = cut in ends
            assert [row.uri for row in rows[:kept]] == [f"{path}!/row/{i}" for i in range(kept)]
        else:
            kept, clean = len(rows) - 1, False
        damage = [row for row in rows if row.problem]
        assert len(damage) == (not clean), cut
        assert len(rows) == kept + len(damage)
        for row in damage:
            assert (row.uri, row.reason) == (str(path), Reason.CORRUPT_ARCHIVE)
            assert (row.unread and "byte" in row.problem) or cut < 3
    path.write_bytes(whole)
    assert [row.problem for row in rows_of(path)] == [""] * 4


@pytest.mark.parametrize("packer", [gzip.compress, zlib.compress])
def test_a_compressed_file_that_is_cut_keeps_all_that_can_be_decompressed(tmp_path, packer):
    records = [with_image(i) for i in range(300)]
    whole = packer(b"".join(map(frame, records)))
    path = tmp_path / "a.tfrecord.gz"
    cut = len(whole) * 9 // 10
    path.write_bytes(whole[:cut])
    engine = zlib.decompressobj(47)
    there = len(engine.decompress(whole[:cut]))
    ends = itertools.accumulate(len(frame(record)) for record in records)
    kept = sum(end <= there for end in ends)
    *rows, damage = rows_of(path)
    assert len(rows) == kept > 250
    assert damage.reason is Reason.CORRUPT_ARCHIVE
    taken = read(path, [Wanted("row/3", None), Wanted("row/299", None)][:1])
    assert taken[0].data == picture(3)


def test_a_changed_byte_costs_one_record_or_what_is_behind_it(tmp_path):
    records = [with_image(i) for i in range(3)]
    path = write(tmp_path / "a.tfrecord", records)
    whole = path.read_bytes()
    first, second = len(frame(records[0])), len(frame(records[1]))
    for at in range(first, first + second, 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        rows = rows_of(path)
        if at < first + 12:
            assert [row.uri for row in rows] == [f"{path}!/row/0", str(path)]
            assert rows[1].problem == f"{path} has no record at byte {first}"
            assert rows[1].reason is Reason.CORRUPT_ARCHIVE
        else:
            assert [bool(row.problem) for row in rows] == [False, True, False]
            assert rows[1].uri == f"{path}!/row/1"
            assert rows[1].reason is Reason.CORRUPT_ARCHIVE
            assert f"byte {first}" in rows[1].problem
    # It is still read past the damage, and by name the damaged one tells the same.
    taken = read(path, [Wanted(f"row/{i}", None) for i in range(3)])
    assert [taken[0].data, taken[2].data] == [picture(0), picture(2)]
    assert failure(taken[1]).reason is Reason.CORRUPT_ARCHIVE
    assert failure(taken[1]).message.startswith(f"{path}!/row/1: its checksum")


def _claim(length: int) -> bytes:
    head = struct.pack("<Q", length)
    return head + masked_crc(head)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_record_that_claims_much_is_not_held(tmp_path, compressed):
    path = tmp_path / "a.tfrecord"
    size = LONGEST_RECORD + 1
    with (gzip.open if compressed else open)(path, "wb") as file:
        file.write(frame(with_image(0)) + _claim(size))
        if compressed:
            file.writelines(bytes(MIB) for _ in range(size // MIB))
            file.write(bytes(size % MIB + 4))
        else:
            file.seek(size + 4, 1)
        file.write(frame(with_image(2)) + _claim(2**63) + b"rest")
    tracemalloc.start()
    rows = rows_of(path)
    taken = read(path, [Wanted(f"row/{i}", None) for i in range(3)])
    assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    tracemalloc.stop()
    assert [row.reason for row in rows if row.problem] == [
        Reason.TOO_MANY_BYTES,
        Reason.CORRUPT_ARCHIVE,
    ]
    assert [row.uri.rpartition("/")[2] for row in rows] == ["0", "1", "2", "a.tfrecord"]
    assert "cut short in the record at byte" in rows[3].problem
    assert [taken[0].data, taken[2].data] == [picture(0), picture(2)]
    assert failure(taken[1]).reason is Reason.TOO_MANY_BYTES


def test_an_image_beyond_the_limit_is_told(tmp_path):
    path = write(tmp_path / "a.tfrecord", [with_image(0), with_image(1)])
    taken = read(path, listed(path), max_bytes=100)
    assert [failure(t).reason for t in taken] == [Reason.TOO_MANY_BYTES] * 2
    assert failure(taken[0]).message == f"{path}!/row/0 is larger than 100 bytes."


def test_a_file_that_has_changed_since_it_was_listed(tmp_path):
    path = write(tmp_path / "a.tfrecord", [with_image(0), with_image(1), with_image(2)])
    wanted = listed(path)
    write(path, [with_image(0), with_image(1, of_ints("more", 1)), with_image(2)])
    taken = read(path, wanted)
    assert taken[0].data == picture(0)
    assert [failure(t).reason for t in taken[1:]] == [Reason.READ_FAILED] * 2
    assert failure(taken[1]).message == f"{path} has changed since it was listed."
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert failure(read(path, [Wanted("row/1", Place(0, 5, 7))])[0]).reason is Reason.READ_FAILED
    write(path, [with_image(0)])
    assert [failure(t).reason for t in read(path, wanted[2:])] == [Reason.READ_FAILED]


def test_what_is_no_tfrecord_file_is_one_row(tmp_path):
    path = tmp_path / "a.tfrecord"
    for data in (b"x", b"PK\x03\x04" + bytes(99), picture(1), b"x\x9c", b"\x1f\x8b", bytes(99)):
        path.write_bytes(data)
        for as_listed in (False, True):
            (row,) = rows_of(path, listed=as_listed)
            assert (row.uri, row.reason) == (str(path), Reason.CORRUPT_ARCHIVE)
            assert row.problem.startswith(str(path))
    path.write_bytes(b"")
    assert rows_of(path) == []
