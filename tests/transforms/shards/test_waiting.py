"""Rows that wait for others of their shard."""

import pytest

from image_features.transforms.shards import waiting as module
from image_features.transforms.shards.staging import ShardRow
from image_features.transforms.shards.waiting import Waiting


def pieces(shards, size=10):
    """Returns the shards and numbers of rows of the pieces, and the most bytes that waited."""
    waiting, found, most = Waiting(), [], 0
    for number, shard in enumerate(shards):
        row = ShardRow(shard, f"{number:032}", b"x" * size, note=b"n")
        found += [content for contents in waiting.add(row) for content in contents]
        most = max(most, sum(content.size for content in waiting._contents.values()))
    found += [content for contents in waiting.rest() for content in contents]
    keys = [(content.shard, key) for content in found for key in content.keys]
    assert sorted(keys, key=lambda of: of[1]) == [
        (shard, f"{number:032}") for number, shard in enumerate(shards)
    ]
    return [(content.shard, len(content.keys)) for content in found], most


def test_rows_of_files_are_pieces_by_their_slices():
    found, _ = pieces([0] * 200 + [1] * 256 + [0] * 40 + [2] * 300)
    assert found == [(0, 200), (1, 256), (0, 40), (2, 300)]


def test_rows_of_many_shards_wait_for_each_other():
    """As a span of an archive has them: 16,384 rows of 5 KB for a hundred shards in turn."""
    found, most = pieces([number % 100 for number in range(16_384)], 5000)
    assert len(found) <= 500
    assert most <= module.WAITING_BYTES + 5000


@pytest.mark.parametrize("size", [module.PIECE_BYTES, 5 * module.PIECE_BYTES])
def test_large_rows_do_not_wait(size):
    assert pieces([0, 0, 1], size)[0] == [(0, 1), (0, 1), (1, 1)]


def test_small_slices_do_not_wait_for_the_end_but_single_rows_do():
    found, _ = pieces([0] * 100 + [1] * 100 + [0] * 100 + [1] * 100)
    assert found == [(0, 100), (1, 100), (0, 100), (1, 100)]
    assert pieces([0] * 5 + [1] * 5 + [0] * 5 + [1] * 5)[0] == [(0, 10), (1, 10)]
