"""References that wait in files: the same rows come out as of a runner's memory."""

from __future__ import annotations

import os

import apache_beam as beam
import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from image_features.transforms import assign_shards
from image_features.transforms.assign_shards import ROWS_PER_SLICE, AssignShards
from image_features.transforms.shards.earlier_pieces import EarlierPieces
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.spill import Spill
from image_features.transforms.shards.staging import Content, ShardRow, stage
from image_features.transforms.stores.uris import image_key, shard_of
from image_features.transforms.values import ImageRef, PackedRefs

_SHARDS = 3
_ROWS = 3 * ROWS_PER_SLICE * _SHARDS


def _ref(row: int, uri: str) -> ImageRef:
    return ImageRef(uri, image_key(uri), "m.txt", row)


@pytest.mark.parametrize("groups", [_SHARDS, 2, 1])
@pytest.mark.parametrize("spilled", [False, True])
def test_rows_wait_in_files_or_in_memory(tmp_path, monkeypatch, spilled, groups):
    monkeypatch.setattr(assign_shards, "_MAX_GROUPS", groups)
    uris = [f"/é{number}.jpg" for number in range(_ROWS)]
    uris += [f"/a.tar!/{number}.jpg" for number in range(9)]
    refs = [_ref(row, uri) for row, uri in enumerate([*uris, uris[0], uris[-1]])]
    half = len(refs) // 2
    tables = [RefTable.of(some, ()) for some in (refs[half:], refs[:half], [])]
    waiting = tmp_path / "a#1+1" / "waiting"

    def check(found):
        packed = [row for row in found if isinstance(row, PackedRefs)]
        assert [(row.archive, len(row.refs)) for row in packed] == [("/a.tar", 9)]
        rows = [row for row in found if isinstance(row, ImageRef)] + list(packed[0].refs)
        assert sorted(row.uri for row in rows) == sorted(uris)
        assert all(row.shard == shard_of(row.key, _SHARDS) for row in rows)
        assert all(uris[row.row] == row.uri for row in rows)  # It is the first mention.

    def check_duplicates(found):
        assert sum(found) == 2

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        parts = tuple(
            pipeline | f"Part{number}" >> beam.Create(some, reshuffle=False)
            for number, some in enumerate((tables[:1], tables[1:]))
        )
        assigned = parts | AssignShards(
            num_shards=beam.pvalue.AsSingleton(pipeline | "N" >> beam.Create([_SHARDS])),
            spill=Spill(str(waiting) if spilled else ""),
        )
        assert_that(assigned["refs"], check, label="Refs")
        assert_that(assigned["duplicates"], check_duplicates, label="Duplicates")
    # A file for each table that was read, for each that was divided, and for each group of shards.
    assert not spilled or len(os.listdir(waiting)) == len(tables) + 2 + groups


def test_shards_that_wait_together_take_over_what_is_theirs(tmp_path, monkeypatch):
    monkeypatch.setattr(assign_shards, "_MAX_GROUPS", 2)
    naming = ShardNaming("features", str(tmp_path), str(tmp_path), ".tfrecord", "f")
    refs = [_ref(row, f"/{row}.jpg") for row in range(40)]
    shards = [[ref for ref in refs if shard_of(ref.key, 5) == shard] for shard in range(5)]
    contents = [Content(shard) for shard in range(5)]
    for shard, there in enumerate(shards):
        for ref in there[:2]:
            contents[shard].add(ShardRow(shard, ref.key, b"row"))
    stage(naming, contents)
    order = assign_shards._OrderDoFn({}, EarlierPieces(naming), Spill())
    groups = assign_shards._by_shards(RefTable.of(refs, ()).packed(), 5, Spill())
    made = [row for group, packed in groups for row in order.process((group, [packed]), 5)]
    earlier = [row.value for row in made if isinstance(row, TaggedOutput)]
    assert [(piece.shard, piece.labels) for piece in earlier] == [(n, {"": 2}) for n in range(5)]
    slices = [row for row in made if not isinstance(row, TaggedOutput)]
    assert len(slices) == 2
    left = [ref for slice_ in slices for ref in assign_shards._refs_of(slice_, Spill())]
    assert [(ref.shard, ref.key) for ref in left] == [
        (shard, key) for shard in range(5) for key in sorted(ref.key for ref in shards[shard][2:])
    ]
