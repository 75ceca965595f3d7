"""References that wait in files: the same rows come out as of a runner's memory."""

from __future__ import annotations

import os

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from image_features.transforms.assign_shards import ROWS_PER_SLICE, AssignShards
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.spill import Spill
from image_features.transforms.stores.uris import image_key, shard_of
from image_features.transforms.values import ImageRef, PackedRefs

_SHARDS = 3
_ROWS = 3 * ROWS_PER_SLICE * _SHARDS


def _ref(row: int, uri: str) -> ImageRef:
    return ImageRef(uri, image_key(uri), "m.txt", row)


@pytest.mark.parametrize("spilled", [False, True])
def test_rows_wait_in_files_or_in_memory(tmp_path, spilled):
    uris = [f"/é{number}.jpg" for number in range(_ROWS)]
    uris += [f"/a.tar!/{number}.jpg" for number in range(9)]
    refs = [_ref(row, uri) for row, uri in enumerate([*uris, uris[0], uris[-1]])]
    half = len(refs) // 2
    packs = [RefTable.of(some, ()).packed() for some in (refs[half:], refs[:half], [])]
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
        assigned = (
            pipeline
            | beam.Create(packs, reshuffle=False)
            | AssignShards(
                num_shards=beam.pvalue.AsSingleton(pipeline | "N" >> beam.Create([_SHARDS])),
                spill=Spill(str(waiting) if spilled else ""),
            )
        )
        assert_that(assigned["refs"], check, label="Refs")
        assert_that(assigned["duplicates"], check_duplicates, label="Duplicates")
    # A file for each table that was read, for each that was divided, and for each shard.
    assert not spilled or len(os.listdir(waiting)) == len(packs) + 2 + _SHARDS
