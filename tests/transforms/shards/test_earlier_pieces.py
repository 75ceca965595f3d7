"""Rows of earlier attempts: each once, none that is broken, the rest left to be made."""

from __future__ import annotations

import hashlib
import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.shards import earlier_pieces
from image_features.transforms.shards.earlier_pieces import EarlierPieces
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.pieces import merge_pieces, write_piece
from image_features.transforms.stores.listing import list_files


def key(n):
    return hashlib.sha256(str(n).encode()).hexdigest()[:32]


def row(n):
    return b"row %d" % n


def spoil(path, how):
    data = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        data[-1] ^= 1
        path.write_bytes(data)


@settings(deadline=None, max_examples=60)
@given(
    st.sets(st.integers(0, 30)),
    st.lists(
        st.tuples(
            st.sets(st.integers(0, 40), min_size=1), st.sampled_from(["", "", "cut", "flipped"])
        ),
        max_size=5,
    ),
)
def test_what_is_taken_and_what_is_left_make_the_shard(tmp_path_factory, wanted, attempts):
    directory = tmp_path_factory.mktemp("staging")
    naming = ShardNaming("features", str(directory), str(directory), ".tfrecord", "f")
    os.makedirs(naming.pieces)
    for number, (rows, how) in enumerate(attempts):
        path = f"{naming.piece_prefix(3)}{number}"
        write_piece(path, [key(n) for n in rows], [row(n) for n in rows])
        spoil(directory / path, how)
    # Another shard's, and what another fingerprint left, are not looked at.
    write_piece(f"{naming.piece_prefix(4)}x", [key(1)], [b"another shard"])
    os.makedirs(directory / "features-other")
    write_piece(str(directory / "features-other" / "00003-x"), [key(1)], [b"another model"])

    pieces, taken = EarlierPieces(naming).take(3, sorted(key(n) for n in wanted))
    whole = {n for rows, how in attempts if not how for n in rows}
    assert taken == {key(n) for n in wanted & whole}
    assert sum(piece.labels[""] for piece in pieces) == len(taken)
    paths = [piece.path for piece in pieces]
    chosen = [np.frombuffer(piece.chosen, "<u4") for piece in pieces]
    left = sorted(wanted - whole)
    if left:
        paths.append(str(directory / "new"))
        chosen.append(None)
        write_piece(paths[-1], [key(n) for n in left], [row(n) for n in left])
    out = []
    assert len(merge_pieces(paths, out.append, chosen).keys) == len(wanted)
    assert b"".join(out) == b"".join(row(n) for n in sorted(wanted, key=key))


def test_pieces_are_listed_once_for_all_shards(tmp_path, monkeypatch):
    naming = ShardNaming("features", str(tmp_path), str(tmp_path), ".tfrecord", "f")
    os.makedirs(naming.pieces)
    shards = [0, 7, 99_999, 100_000]
    for shard in shards:
        write_piece(f"{naming.piece_prefix(shard)}x", [key(shard)], [row(shard)])
    listings = []

    def listed(*directory):
        listings.append(directory)
        return list_files(*directory)

    monkeypatch.setattr(earlier_pieces, "list_files", listed)
    earlier = EarlierPieces(naming)
    for shard in shards:
        pieces, taken = earlier.take(shard, [key(n) for n in shards])
        assert taken == {key(shard)} and len(pieces) == 1
    assert len(listings) == 1
