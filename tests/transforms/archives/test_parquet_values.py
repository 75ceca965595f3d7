"""Values are taken out of pages as pyarrow takes them, or left to it."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_features.transforms.archives.parquet_file import open_guarded
from image_features.transforms.archives.parquet_values import (
    NotSimpleError,
    simple_values,
)

_CHOSEN = random.Random(0)
_VALUES = [_CHOSEN.randbytes(_CHOSEN.randrange(300)) for _ in range(40)]
_SPARSE = [None if row % 3 == 1 else _CHOSEN.choice(_VALUES) for row in range(2000)]


def _read(path, leaf=0):
    """The values of a column, and whether all of it was read."""
    found = []
    with path.open("rb") as file:
        opened = open_guarded(file, max_bytes=10**6)
        for group in range(opened.metadata.num_row_groups):
            try:
                found += simple_values(opened, leaf, group)
            except NotSimpleError:
                return found, False
    return found, True


def _values(array):
    return [row["bytes"] if isinstance(row, dict) else row for row in array.to_pylist()]


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_what_pyarrow_writes_is_read_without_it(tmp_path, codec, version, dictionary):
    path = tmp_path / "a.parquet"
    bare = pa.schema([pa.field("image", pa.binary(), nullable=False)])
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [value if value is None else {"bytes": value, "path": "a"} for value in _SPARSE]
    for table in (
        pa.table({"image": _VALUES}, bare),
        pa.table({"image": pa.array([_VALUES[0]] * 1500)}),  # Its indices take no bits.
        pa.table({"image": pa.array(_SPARSE)}),
        pa.table({"image": pa.array([{"bytes": None}, *rows, None], struct)}),
        pa.table({"image": pa.array([None] * 9 + [b""], pa.binary())}),
    ):
        pq.write_table(
            table,
            path,
            compression=codec,
            use_dictionary=dictionary,
            data_page_version=version,
            write_page_checksum=version == "2.0",
            write_batch_size=64,
            data_page_size=4000,
            row_group_size=700,
        )
        assert _read(path) == (_values(table["image"]), True)


def test_what_is_other_is_left_to_pyarrow(tmp_path):
    path = tmp_path / "a.parquet"
    lists = pa.table({"image": [_VALUES, []]})
    fixed = pa.table({"image": pa.array([b"abc"] * 9, pa.binary(3))})
    for table, options in (
        (lists, {}),
        (fixed, {}),
        (pa.table({"image": _VALUES}), {"compression": "gzip"}),
        (
            pa.table({"image": _VALUES}),
            {"use_dictionary": False, "column_encoding": {"image": "DELTA_BYTE_ARRAY"}},
        ),
    ):
        pq.write_table(table, path, **options)
        assert _read(path) == ([], False)


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
def test_a_page_with_another_checksum_is_left_to_pyarrow(tmp_path, codec):
    path = tmp_path / "a.parquet"
    options = {"use_dictionary": False, "write_page_checksum": True, "compression": codec}
    pq.write_table(pa.table({"image": _VALUES}), path, row_group_size=20, **options)
    data = bytearray(path.read_bytes())
    part = pq.read_metadata(path).row_group(1).column(0)
    data[part.data_page_offset + part.total_compressed_size - 9] ^= 1
    path.write_bytes(data)
    assert _read(path) == (_VALUES[:20], False)
    assert pq.read_metadata(path).num_rows == 40


def test_damage_raises_nothing_else(tmp_path):
    path = tmp_path / "a.parquet"
    for codec, dictionary in (("none", True), ("snappy", False), ("zstd", True)):
        pq.write_table(
            pa.table({"image": _SPARSE[:40]}), path, compression=codec, use_dictionary=dictionary
        )
        whole = path.read_bytes()
        end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        for _ in range(300):
            data = bytearray(whole)
            data[_CHOSEN.randrange(4, end)] ^= 1 << _CHOSEN.randrange(8)
            path.write_bytes(data)
            found, _ = _read(path)  # Nothing else is raised.
            assert len(found) <= 40
