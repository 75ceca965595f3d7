"""Images that are read from a column of Parquet files."""

from __future__ import annotations

import io
import resource
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_features.transforms.archives.member import Wanted
from image_features.transforms.archives.options import FOUND
from image_features.transforms.archives.parquet import read_parquet
from image_features.transforms.archives.parquet_pages import GuardedPages, PageError
from image_features.transforms.stores.http import MIB, HttpPolicy
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Place, Reason

_JPEG = b"\xff\xd8\xff\xe0"


def _images(count, size=400):
    noise = np.random.default_rng(1)
    return [_JPEG + noise.bytes(size + i) for i in range(count)]


def _read(path, names, *, places=None, max_bytes=50 * MIB):
    """What is read of a file, by the names that were asked for."""
    places = places or [None] * len(names)
    wanted = [Wanted(name, place) for name, place in zip(names, places, strict=True)]
    with open_ranged(str(path), http=HttpPolicy()) as file:
        taken = list(read_parquet(file, wanted, max_bytes=max_bytes, options=FOUND))
    assert len({number for number, _, _ in taken}) == len(taken)
    return {names[number]: data for number, data, _ in taken}


def _all(path, count, **options):
    read = _read(path, [f"row/{row}" for row in range(count)], **options)
    return [
        data.reason if isinstance(data := read[f"row/{row}"], FetchError) else data
        for row in range(count)
    ]


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd", "gzip", "brotli", "lz4"])
def test_every_codec_and_encoding(tmp_path, codec):
    images = _images(60)
    path = tmp_path / "a.parquet"
    table = pa.table({"image": images, "label": range(60)})
    for options in (
        {"data_page_version": "1.0"},
        {"data_page_version": "2.0", "write_page_checksum": True, "write_page_index": True},
        {"use_dictionary": False, "data_page_version": "2.0", "write_batch_size": 3},
        {"use_dictionary": False, "column_encoding": {"image": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"image": "DELTA_BYTE_ARRAY"}},
    ):
        pq.write_table(table, path, compression=codec, row_group_size=25, **options)
        assert _all(path, 60) == images


@pytest.mark.parametrize(
    "array",
    [
        pa.array(_images(9), pa.large_binary()),
        pa.array(_images(9), pa.binary_view()),
        pa.array([image[:400] for image in _images(9)], pa.binary(400)),
        pa.array(_images(9) * 2).dictionary_encode(),
        pa.array([{"bytes": image, "path": "a.jpg"} for image in _images(9)]),
        pa.array([{"path": None, "bytes": image} for image in _images(9)]),
        pa.StructArray.from_arrays(
            [pa.array(["p"] * 9), pa.array(_images(9)).dictionary_encode()], ["path", "bytes"]
        ),
        pa.ExtensionArray.from_storage(pa.opaque(pa.binary(), "t", "v"), pa.array(_images(9))),
    ],
    ids=lambda array: str(array.type)[:40],
)
def test_every_type_of_bytes(tmp_path, array):
    path = tmp_path / "a.parquet"
    # A name may have dots, and another column the name of the bytes within.
    columns = {"i.m": array, "i": range(len(array)), "i.m.bytes": range(len(array))}
    pq.write_table(pa.table(columns), path, row_group_size=4)
    values = array.to_pylist()
    assert _all(path, len(array)) == [
        value["bytes"] if isinstance(value, dict) else value for value in values
    ]


def test_rows_by_their_names(tmp_path):
    images = _images(30)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": images}), path, row_group_size=7)
    names = ["row/29", "row/3", "row/3", "row/30", "row/x", "row/-1", "row/03", "", "row/8"]
    read = _read(path, names)
    assert read == {"row/29": images[29], "row/3": images[3], "row/8": images[8]}


def test_images_that_are_absent_empty_or_too_large(tmp_path):
    images = _images(3)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [None, images[0], b"", images[1] * 9, images[2]]}), path)
    assert _all(path, 5, max_bytes=500) == [
        Reason.NOT_FOUND,
        images[0],
        b"",
        Reason.TOO_MANY_BYTES,
        images[2],
    ]
    table = pa.table({"image": [{"bytes": None, "path": "a.jpg"}, {"bytes": images[0]}, None]})
    pq.write_table(table, path)
    assert _all(path, 3) == [Reason.NOT_FOUND, images[0], Reason.NOT_FOUND]


def test_another_file_than_the_one_that_was_listed(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": _images(3)}), path)
    read = _read(path, ["row/1"], places=[Place(0, 1, 7)])
    assert read["row/1"].reason is Reason.READ_FAILED
    assert "has changed since it was listed" in read["row/1"].message


def test_damage_costs_what_lies_behind_it_in_its_group(tmp_path):
    images = _images(60)
    path = tmp_path / "a.parquet"
    table = pa.table({"image": images})
    options = {"use_dictionary": False, "compression": "none", "row_group_size": 20}
    options |= {"write_page_checksum": True, "write_batch_size": 5, "data_page_size": 100}
    pq.write_table(table, path, **options)
    data = bytearray(path.read_bytes())
    # A page's statistics hold images too, but without their lengths.
    data[data.index(len(images[32]).to_bytes(4, "little") + images[32]) + 300] ^= 1
    path.write_bytes(data)
    # Pages have a few images here, and each page a checksum.
    read = _all(path, 60)
    sound = read.index(Reason.CORRUPT_ARCHIVE)
    assert 27 < sound <= 32
    assert read == images[:sound] + [Reason.CORRUPT_ARCHIVE] * (40 - sound) + images[40:]
    assert "CRC" in _read(path, ["row/32"])["row/32"].message
    begin = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    data[begin : begin + 8] = b"\xff" * 8
    path.write_bytes(data)
    lost = [Reason.CORRUPT_ARCHIVE]
    assert _all(path, 60) == lost * 20 + images[20:sound] + lost * (40 - sound) + images[40:]


def test_a_file_that_is_cut_anywhere_is_one_failure(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": _images(3)}), path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 31):
        path.write_bytes(whole[:size])
        with pytest.raises(FetchError, match=r"a\.parquet cannot be read") as caught:
            _read(path, ["row/0"])
        assert caught.value.reason is Reason.CORRUPT_ARCHIVE


def test_bytes_that_change_anywhere_end_in_failures(tmp_path):
    path = tmp_path / "a.parquet"
    images = _images(8, 30)
    pq.write_table(pa.table({"image": images, "label": range(8)}), path, row_group_size=3)
    # It is another process, since a library may end it.
    run = subprocess.run([sys.executable, "-c", _MUTATE, path, "4"], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, "done"), run.stderr[-1000:]


_MUTATE = """
import sys
from image_features.errors import ImageFeaturesError
from image_features.transforms.archives.options import FOUND
from image_features.transforms.archives.store import ArchiveStore
from image_features.transforms.archives.member import Wanted
from image_features.transforms.manifests.formats import ManifestFormat, read_rows
from image_features.transforms.stores.http import HttpPolicy
path = sys.argv[1]
whole = open(path, "rb").read()
store = ArchiveStore(HttpPolicy(), max_bytes=10**6, options=FOUND)
for place in range(int(sys.argv[2]), len(whole), 5):
    data = bytearray(whole)
    data[place] ^= 1 << place % 8
    with open(path, "wb") as file:
        file.write(data)
    try:
        rows = read_rows(
            path, format=ManifestFormat.PARQUET, uri_column=None, http=HttpPolicy(), listed=True
        )
        wanted = [Wanted(row.uri.split("!/")[1], row.place) for row in rows if row.place]
    except (ImageFeaturesError, ValueError, OSError) as error:
        assert str(error), place
        continue
    read = [number for number, _ in store.read(path, wanted)]
    assert sorted(read) == list(range(len(wanted))), place
print("done")
"""


def test_a_page_that_would_take_too_much_memory_is_not_read(tmp_path):
    path = tmp_path / "a.parquet"
    images = [_JPEG + bytes([i]) * 30_000_000 for i in range(3)]
    sound = _images(5)
    for options in ({"use_dictionary": False}, {}):
        schema = pa.schema([("image", pa.binary())])
        with pq.ParquetWriter(path, schema, compression="zstd", **options) as writer:
            writer.write_table(pa.table({"image": images}, schema))
            writer.write_table(pa.table({"image": sound}, schema))
        assert path.stat().st_size < 10**6
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert _all(path, 8) == [Reason.TOO_MANY_BYTES] * 3 + sound
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 64 * 1024
        assert "smaller pages" in _read(path, ["row/0"])["row/0"].message


def test_a_large_group_of_rows_takes_no_more_memory_than_its_pages(tmp_path):
    path = tmp_path / "a.parquet"
    image = _JPEG + np.random.default_rng(1).bytes(400_000)
    images = [image[:-1] + bytes([i]) for i in range(150)]
    pq.write_table(pa.table({"image": images}), path, use_dictionary=False, write_batch_size=4)
    assert pq.read_metadata(path).num_row_groups == 1
    run = subprocess.run([sys.executable, "-c", _MEASURE, path], capture_output=True, text=True)
    count, grown = map(int, run.stdout.split())
    assert (count, grown < 40 * 1024) == (150, True), grown


_MEASURE = """
import resource, sys
import pyarrow.parquet as pq
from image_features.transforms.archives.member import Wanted
from image_features.transforms.archives.options import FOUND
from image_features.transforms.archives.parquet import read_parquet
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.ranged import open_ranged
pq.read_metadata(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_ranged(sys.argv[1], http=HttpPolicy()) as file:
    wanted = [Wanted(f"row/{row}", None) for row in range(150)]
    count = sum(
        len(taken.data) > 400_000
        for taken in read_parquet(file, wanted, max_bytes=10**6, options=FOUND)
    )
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def _header(*fields):
    return b"".join(fields) + b"\0"


def _varint(value):
    value = value << 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_headers_of_pages_are_found_wherever_reads_end():
    # The statistics of a page may hold whole images.
    long = b"\x18" + b"\xc0\x9a\x0c" + bytes(200_000)
    page = _header(b"\x15\0", b"\x15" + _varint(5), b"\x15" + _varint(5), b"\x2c" + long + b"\0")
    large = _header(b"\x15\0", b"\x15" + _varint(2**30), b"\x15" + _varint(5))
    data = (page + b"12345") * 2 + large
    for block in (1, 7, 64 * 1024, 10**6):
        pages = GuardedPages(io.BytesIO(data), max_bytes=1)
        pages.watch([(0, len(data))])
        read = bytearray()
        with pytest.raises(PageError, match=rf"begins at byte {len(data) - len(large)}"):
            while part := pages.read(block if len(read) > len(data) - 100 else max(block, 4096)):
                read += part
        assert read == data[: len(read)]


@pytest.mark.parametrize(
    "header",
    [
        b"\x15\0",
        b"\x00",
        b"\x1c" * 100,
        b"\x19\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\x11" * 50,
        b"\x15" + b"\xff" * 20,
        b"\x1d\0\0",
        b"\x25\x01\x15\x02\0",
    ],
)
def test_what_is_no_header_of_a_page(header):
    pages = GuardedPages(io.BytesIO(header), max_bytes=1)
    pages.watch([(0, len(header))])
    with pytest.raises(PageError) as caught:
        pages.read(len(header))
    assert caught.value.reason is Reason.CORRUPT_ARCHIVE


def test_columns_that_overlap_are_damage():
    pages = GuardedPages(io.BytesIO(b""), max_bytes=1)
    with pytest.raises(PageError, match="columns overlap"):
        pages.watch([(0, 10), (9, 12)])
