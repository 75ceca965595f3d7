import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_features.transforms.shards.tables import (
    find_keys,
    pack_table,
    partitions_of,
    sort_keys,
    split_by,
    unpack_table,
)

# Few values for each half, so that keys share one of them, or both.
_HALF = st.sampled_from([bytes(8), b"\0" * 7 + b"\1", b"a" * 8, b"\xff" * 8, b"\x80" + bytes(7)])
_KEYS = st.lists(st.tuples(_HALF, _HALF).map(b"".join), max_size=20)


def _array(keys):
    return np.array(keys, "S16")


@given(_KEYS, st.randoms())
def test_keys_are_sorted_as_bytes_are(keys, random):
    later = np.array([random.random() for _ in keys])
    order, first = sort_keys(_array(keys), later)
    assert order.tolist() == sorted(range(len(keys)), key=lambda n: (keys[n], later[n]))
    ordered = [keys[number] for number in order]
    assert first.tolist() == [n == 0 or ordered[n - 1] != key for n, key in enumerate(ordered)]
    stable, _ = sort_keys(_array(keys))
    assert [keys[number] for number in stable] == ordered
    assert all(a < b for a, b in itertools.pairwise(stable) if keys[a] == keys[b])


@given(_KEYS, _KEYS)
def test_keys_are_found_among_others(keys, wanted):
    keys = sorted(set(keys))
    places, there = find_keys(_array(keys), _array(wanted))
    assert there.tolist() == [key in keys for key in wanted]
    assert [keys[place] for place in places[there]] == [key for key in wanted if key in keys]


@pytest.mark.parametrize("numbers", [1, 3, 70_000])
def test_tables_are_divided_and_packed(numbers):
    random = np.random.default_rng(0)
    data = random.bytes(16 * 1000)
    keys = [data[at : at + 16] for at in range(0, len(data), 16)]
    table = pa.table({"key": pa.array(keys, pa.binary(16)), "n": range(1000)})
    parts = list(split_by(table, partitions_of(_array(keys), numbers)))
    assert [number for number, _ in parts] == sorted({int(k[:4].hex(), 16) % numbers for k in keys})
    for number, part in parts:
        part = unpack_table(pack_table(part))
        expected = [n for n, key in enumerate(keys) if int(key[:4].hex(), 16) % numbers == number]
        assert part["n"].to_pylist() == expected
        assert part["key"].to_pylist() == [keys[n] for n in expected]
    assert list(split_by(table.slice(0, 0), np.empty(0, np.int64))) == []


def test_a_pack_that_is_cut_short_is_no_table():
    packed = pack_table(pa.table({"n": range(1000)}))
    with pytest.raises(OSError):
        unpack_table(packed[:-10])
