"""Tables of references do what lists of them would."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.stores.uris import shard_of
from image_features.transforms.values import ImageRef, Place

OFTEN = settings(deadline=None, max_examples=60)
INT64 = st.integers(-(2**63), 2**63 - 1)
# What Arrow takes as UTF-8. The location of a manifest may have any bytes, as surrogates.
TEXT = st.one_of(
    st.sampled_from(["", "\0", "é", "e\u0301", "\u2028", "\U0001f5bc", "/a.tar!/b", "!/"]),
    st.text(st.characters(codec="utf-8"), max_size=5),
)
PATHS = st.one_of(TEXT, st.sampled_from(["\udcff.txt", "\ud800", "m.txt"]))
VALUES = {
    Kind.INT64: INT64,
    Kind.FLOAT32: st.floats(allow_nan=False),
    Kind.BOOL: st.booleans(),
    Kind.STRING: TEXT,
    Kind.BYTES: st.binary(max_size=4),
}
# NumPy drops zero bytes at the end of keys, and keys may share either half.
HALVES = st.sampled_from(["00" * 8, "ff" * 8, "01" + "00" * 7, "ab" * 8])
KEYS = st.one_of(
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.builds(lambda high, low: high + low, HALVES, HALVES),
)
PLACES = st.one_of(st.none(), st.builds(Place, INT64, INT64, INT64))


@st.composite
def columns_and_refs(draw: st.DrawFn) -> tuple[list[Column], list[ImageRef]]:
    kinds = draw(st.lists(st.tuples(st.sampled_from(Kind), st.booleans()), max_size=4))
    names = draw(st.lists(TEXT, min_size=len(kinds), max_size=len(kinds), unique=True))
    columns, values = [], []
    for name, (kind, repeated) in zip(names, kinds, strict=True):
        columns.append(Column(name, kind, repeated, nullable=True))
        value = st.lists(VALUES[kind], max_size=3) if repeated else VALUES[kind]
        values.append(st.none() | value)
    rows = st.tuples(*values).map(lambda row: tuple(zip(names, row, strict=True)))
    ref = st.builds(ImageRef, TEXT, KEYS, PATHS, INT64, rows, st.just(-1), TEXT, PLACES)
    return columns, draw(st.lists(ref, max_size=12))


def listed(table: RefTable) -> list[ImageRef]:
    return list(table.refs())


@OFTEN
@given(columns_and_refs(), st.integers(0, 12))
def test_what_is_packed_comes_out_again(
    drawn: tuple[list[Column], list[ImageRef]], cut: int
) -> None:
    columns, refs = drawn
    parts = [RefTable.of(some, columns) for some in (refs[:cut], refs[cut:], [])]
    assert listed(RefTable.unpacked(part.packed() for part in parts)) == refs
    assert listed(RefTable.joined(parts)) == refs
    # A part of a larger table is packed without the rest of it.
    whole = RefTable.of(refs, columns)
    sliced = whole.slice(cut, 3)
    taken = RefTable.unpacked([sliced.packed()])
    assert listed(taken) == listed(pickle.loads(pickle.dumps(sliced))) == refs[cut : cut + 3]
    sources = {ref.source for ref in refs[cut : cut + 3]}
    there = taken.table["source"].combine_chunks().dictionary
    assert len(there) == len(sources) or len({ref.source for ref in refs}) < 2
    assert len(sliced) == len(refs[cut : cut + 3])
    assert [key.ljust(16, b"\0").hex() for key in sliced.keys.tolist()] == [
        ref.key for ref in refs[cut : cut + 3]
    ]


@OFTEN
@given(columns_and_refs(), st.data())
def test_rows_are_taken_and_divided_as_of_a_list(
    drawn: tuple[list[Column], list[ImageRef]], data: st.DataObject
) -> None:
    columns, refs = drawn
    table = RefTable.of(refs, columns)
    mask = data.draw(st.lists(st.booleans(), min_size=len(refs), max_size=len(refs)))
    assert listed(table.take(np.array(mask, np.bool_))) == [
        ref for ref, wanted in zip(refs, mask, strict=True) if wanted
    ]
    positions = data.draw(st.permutations(range(len(refs))))
    assert listed(table.take(np.array(positions, np.int64))) == [refs[at] for at in positions]
    largest = data.draw(st.sampled_from([2, 2**16, 2**40]))
    number = st.integers(0, largest)
    numbers = data.draw(st.lists(number, min_size=len(refs), max_size=len(refs)))
    assert [(at, listed(rows)) for at, rows in table.split(np.array(numbers, np.int64))] == [
        (at, [ref for ref, own in zip(refs, numbers, strict=True) if own == at])
        for at in sorted(set(numbers))
    ]
    num_shards = data.draw(st.sampled_from([1, 3, 1000, 2**31 - 1]))
    shards = table.shards(num_shards)
    assert shards.tolist() == [shard_of(ref.key, num_shards) for ref in refs]
    assert [ref.shard for ref in table.refs(shards)] == shards.tolist()


def _once(refs: Sequence[ImageRef], places: dict[str, int]) -> list[ImageRef]:
    """Sorts plain references: of each image the first mention, with the first place told."""

    def mention(ref: ImageRef) -> tuple[int, str, int, str]:
        return places.get(ref.source, len(places)), ref.source, ref.row, ref.uri

    found = []
    for key in sorted({ref.key for ref in refs}):
        mentions = sorted((ref for ref in refs if ref.key == key), key=mention)
        told = [ref.place for ref in mentions if ref.place]
        found.append((mentions[0], told[0] if told else None))
    return [
        ImageRef(ref.uri, ref.key, ref.source, ref.row, ref.columns, ref.shard, ref.version, place)
        for ref, place in found
    ]


@OFTEN
@given(
    columns_and_refs(),
    st.lists(st.tuples(st.integers(0, 11), PATHS, st.integers(0, 2), PLACES), max_size=8),
    st.lists(PATHS, unique=True, max_size=3),
    st.randoms(use_true_random=False),
)
def test_each_image_is_kept_once_and_in_order(drawn, again, sources, random) -> None:
    columns, refs = drawn
    places = {source: place for place, source in enumerate(sources)}
    mentions = {(ref.key, ref.source, ref.row, ref.uri): ref for ref in refs}
    for at, source, row, place in again:
        if at < len(refs):
            ref = refs[at]
            new = ImageRef(
                ref.uri, ref.key, source, row, ref.columns, ref.shard, ref.version, place
            )
            mentions.setdefault((new.key, new.source, new.row, new.uri), new)
    every = list(mentions.values())
    random.shuffle(every)
    once, further = RefTable.of(every, columns).sorted_once(places)
    assert listed(once) == _once(every, places)
    assert further == len(every) - len(once)
    kept, order, more = RefTable.of(every, columns).once(places)
    assert (listed(kept.take(order)), more) == (listed(once), further)


@pytest.mark.parametrize("rows", [16, 32, 256])
def test_parts_of_few_rows_are_small(rows: int) -> None:
    keys = [hashlib.sha256(b"%d" % number).hexdigest()[:32] for number in range(rows)]
    refs = [
        ImageRef(f"/data/images/{n // 1000:06}/{n % 1000:03}.jpg", key, "/data/m.txt", n)
        for n, key in enumerate(keys)
    ]
    assert len(RefTable.of(refs, ()).packed()) < rows * 100
