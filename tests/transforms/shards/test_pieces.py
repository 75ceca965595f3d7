"""Merging pieces: every row once, in order, whatever pieces they came in."""

from __future__ import annotations

import hashlib
import os
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.runtime.packing import pack, unpack
from image_features.transforms.shards import pieces
from image_features.transforms.shards.pieces import DuplicateRowError, merge_pieces, write_piece


def key(n):
    return hashlib.sha256(str(n).encode()).hexdigest()[:32]


def merged(paths):
    out = []
    rows = merge_pieces(paths, out.append)
    return len(rows.keys), b"".join(out)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.binary(max_size=30), max_size=12), max_size=6), st.randoms())
def test_rows_come_once_and_sorted(tmp_path_factory, groups, rng):
    directory = tmp_path_factory.mktemp("pieces")
    numbers = list(range(sum(map(len, groups))))
    rng.shuffle(numbers)
    expected, paths = {}, []
    for group in groups:
        keys = [key(numbers.pop()) for _ in group]
        paths.append(str(directory / str(len(paths))))
        write_piece(paths[-1], keys, group)
        expected.update(zip(keys, group, strict=True))
    rows, data = merged(paths)
    assert rows == len(expected)
    assert data == b"".join(row for _, row in sorted(expected.items()))


def test_large_rows_are_copied_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_BLOCK", 1000)
    rows = {key(n): os.urandom(700 * n) for n in range(9)}
    write_piece(str(tmp_path / "a"), list(rows), list(rows.values()))
    assert merged([str(tmp_path / "a")]) == (
        9,
        b"".join(row for _, row in sorted(rows.items())),
    )


def test_more_pieces_than_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_MAX_OPEN", 3)
    rows = {key(n): str(n).encode() for n in range(60)}
    paths = []
    for start in range(0, 60, 6):
        paths.append(str(tmp_path / str(start)))
        chosen = list(rows)[start : start + 6]
        write_piece(paths[-1], chosen, [rows[k] for k in chosen])
    assert merged(paths) == (60, b"".join(row for _, row in sorted(rows.items())))


def test_each_of_many_small_pieces_is_opened_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_MAX_OPEN", 20)
    monkeypatch.setattr(pieces, "_SMALL_BYTES", 20_000)
    rows = {key(n): str(n).encode() * (1 + n % 90) for n in range(1000)}
    paths = [str(tmp_path / str(number)) for number in range(40)]
    for number, path in enumerate(paths):  # Their rows come in turn, as those of archives do.
        chosen = list(rows)[number::40]
        scale = 20 if number % 20 == 0 else 1
        rows |= {k: rows[k] * scale for k in chosen}
        write_piece(path, chosen, [rows[k] for k in chosen])
    opened = Counter()
    open_plain = pieces.open_plain
    monkeypatch.setattr(
        pieces, "open_plain", lambda path: opened.update([path]) or open_plain(path)
    )
    assert merged(paths) == (1000, b"".join(row for _, row in sorted(rows.items())))
    # The two large ones are opened once more, and stay open.
    assert sorted(opened.values()) == [1] * 38 + [2] * 2
    with open(paths[5], "r+b") as file:
        file.truncate(os.path.getsize(paths[5]) - 1)
    with pytest.raises(OSError, match=f"{paths[5]} is cut short"):
        merged(paths)


def test_a_row_in_two_pieces_stops_the_merge(tmp_path):
    for name in "ab":
        write_piece(str(tmp_path / name), [key(1), key(name)], [b"x", b"y"])
    with pytest.raises(DuplicateRowError, match=key(1)):
        merged([str(tmp_path / name) for name in "ab"])


@pytest.mark.parametrize("kept", [0, 5, 30, 120])
def test_a_piece_cut_short_is_no_piece(tmp_path, kept):
    path = tmp_path / "a"
    write_piece(str(path), [key(1), key(2)], [b"x" * 30, b"y" * 30])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(OSError, match="cut short"):
        merged([str(path)])


@given(
    st.lists(
        st.tuples(st.text(), st.integers(), st.binary(), st.none() | st.lists(st.floats(width=32)))
    )
)
def test_packing_keeps_every_value(rows):
    assert repr(unpack(pack(rows))) == repr(rows)
