"""Shard files: their bytes depend on the rows alone, not on how these arrive."""

import os
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.assign_shards import ShardPolicy, error_shards
from image_features.transforms.shards import pieces, sheaf, staging
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.pieces import DuplicateRowError
from image_features.transforms.shards.shard_content import PlainContent
from image_features.transforms.shards.staging import ShardRow
from image_features.transforms.shards.write_shards import _MergeDoFn, _WritePiecesDoFn
from image_features.transforms.stores.uris import image_key, shard_of


def write(directory, rows, bundles, num_shards, suffix):
    naming = ShardNaming("features", str(directory), str(directory / ".staging"), suffix)
    (directory / ".staging").mkdir(parents=True)
    pieces = {shard: [("", {}, b"")] for shard in range(num_shards)}
    for bundle in bundles(rows):
        writer = _WritePiecesDoFn(naming)
        writer.start_bundle()
        made = [piece for row in bundle for piece in writer.process(row)]
        made += [windowed.value for windowed in writer.finish_bundle()]
        for piece in made:
            pieces[piece.shard].append((piece.path, piece.labels, piece.chosen))
    merge = _MergeDoFn([(naming, PlainContent(naming.suffix.endswith(".gz")))])
    files = [f for group in pieces.items() for f in merge.process(group, num_shards)]
    return {f.name: (f.rows, f.sha256, (directory / f.name).read_bytes()) for f in files}


@settings(deadline=None, max_examples=25)
@given(st.sets(st.text(max_size=5), max_size=40), st.integers(1, 5), st.randoms(), st.data())
def test_order_and_bundles_do_not_show(tmp_path_factory, uris, num_shards, rng, data):
    suffix = data.draw(st.sampled_from([".tfrecord", ".tfrecord.gz"]))
    rows = [
        ShardRow(shard_of(image_key(uri), num_shards), image_key(uri), uri.encode()) for uri in uris
    ]
    one = write(
        tmp_path_factory.mktemp("one"),
        sorted(rows, key=lambda row: row.key),
        lambda rows: [rows],
        num_shards,
        suffix,
    )
    shuffled = rows[:]
    rng.shuffle(shuffled)
    many = write(
        tmp_path_factory.mktemp("many"),
        shuffled,
        lambda rows: [rows[i : i + 3] for i in range(0, len(rows), 3)],
        num_shards,
        suffix,
    )
    assert one == many
    assert len(one) == num_shards
    assert sum(rows for rows, _, _ in one.values()) == len(uris)


@pytest.mark.parametrize("indexed", [False, True])
def test_a_committed_run_is_left_as_it_is(tmp_path, indexed):
    seal = tmp_path / "run.json"
    naming = ShardNaming(
        "features", str(tmp_path), str(tmp_path), ".tfrecord", indexed=indexed, seal=str(seal)
    )
    merge = _MergeDoFn([(naming, PlainContent(naming.suffix.endswith(".gz")))])
    list(merge.process((0, [("", {}, b"")]), 1))
    before = sorted(path.name for path in tmp_path.iterdir())
    for path in tmp_path.iterdir():
        path.write_text("committed")
    seal.write_text("{}")
    with pytest.raises(RuntimeError, match="written by another job"):
        list(merge.process((0, [("", {}, b"")]), 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == [*before, "run.json"]
    assert all((tmp_path / name).read_text() == "committed" for name in before)


def test_a_run_that_is_committed_during_a_merge_is_left_as_it_is(tmp_path):
    seal = tmp_path / "run.json"
    merge = _MergeDoFn(
        [
            (
                ShardNaming("features", str(tmp_path), str(tmp_path), ".tfrecord", seal=str(seal)),
                PlainContent(False),
            )
        ]
    )
    with pytest.raises(RuntimeError, match="written by another job"), merge._create("x") as file:
        file.write(b"late")
        seal.write_text("{}")
    assert not (tmp_path / "x").exists()


def test_a_row_delivered_twice_stops_the_merge(tmp_path):
    row = ShardRow(0, image_key("a"), b"x")
    with pytest.raises(DuplicateRowError):
        write(tmp_path, [row, row], lambda rows: [rows], 1, ".tfrecord")


def test_pieces_for_many_shards_are_one_file(tmp_path, monkeypatch):
    rows = [
        ShardRow(shard_of(key, 12), key, b"x" * n)
        for n in range(600)
        for key in [image_key(str(n))]
    ]

    def halves(rows):
        return [rows[:300], rows[300:]]

    together = write(tmp_path / "together", rows, halves, 12, ".tfrecord")
    staged = os.listdir(tmp_path / "together" / ".staging" / "features")
    assert len(staged) == 2 and all(name.startswith("sheaf-") for name in staged)
    monkeypatch.setattr(sheaf, "are_read_alone", lambda directory: False)
    assert write(tmp_path / "apart", rows, halves, 12, ".tfrecord") == together
    assert len(os.listdir(tmp_path / "apart" / ".staging" / "features")) == 24


def test_small_pieces_are_written_side_by_side(tmp_path, monkeypatch):
    together = threading.Barrier(8)

    def write_piece(*args):
        together.wait(timeout=20)  # It breaks if they come one or two at a time.
        pieces.write_piece(*args)

    monkeypatch.setattr(sheaf, "are_read_alone", lambda directory: False)
    monkeypatch.setattr(staging, "write_piece", write_piece)
    rows = [ShardRow(n % 8, image_key(str(n)), b"x") for n in range(80)]
    files = write(tmp_path, rows, lambda rows: [rows], 8, ".tfrecord")
    assert [rows for rows, _, _ in files.values()] == [10] * 8


def test_how_many_shards():
    assert ShardPolicy(num_shards=7).feature_shards(1) == 7
    policy = ShardPolicy(images_per_shard=100)
    assert [policy.feature_shards(n) for n in (0, 1, 100, 101)] == [1, 1, 1, 2]
    assert [error_shards(n) for n in (1, 10, 11)] == [1, 1, 2]


def test_shards_are_about_even():
    counts = [0] * 10
    for _ in range(10_000):
        counts[shard_of(image_key(str(random.random())), 10)] += 1
    assert max(counts) < 1200
