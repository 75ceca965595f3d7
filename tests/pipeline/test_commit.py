import dataclasses

import pytest

from models.engines import PreparedModel
from pipeline.commit import CommitError, commit
from pipeline.config import ExtractConfig
from pipeline.layout import RunLayout, read_run
from pipeline.progress import Snapshot, describe, read_snapshot
from transforms.fetch import FetchPolicy
from transforms.manifest import ManifestSpec
from transforms.pixels import DecodePolicy
from transforms.shard_files import Progress, ShardFile
from transforms.shards import ShardPolicy


@pytest.fixture
def config(tmp_path):
    (tmp_path / ".staging").mkdir()
    return ExtractConfig(
        ManifestSpec(()),
        RunLayout(str(tmp_path)),
        "run",
        PreparedModel("m", "h", (2, 2), 3),
        FetchPolicy(),
        DecodePolicy((2, 2)),
        ShardPolicy(num_shards=1),
        False,
        None,
        "now",
    )


FEATURES = ShardFile("features", "features-00000-of-00001.tfrecord", 5, 100, "aa")
ERRORS = ShardFile("errors", "errors-00000-of-00001.jsonl", 2, 10, "bb", {"not_found": 2})


@pytest.mark.parametrize(
    ("shards", "rows_read", "duplicates"),
    [
        ([FEATURES, ERRORS], 9, 1),
        ([FEATURES, ERRORS], 7, 1),
        ([FEATURES], 5, 0),
        ([ERRORS], 2, 0),
        ([FEATURES, dataclasses.replace(FEATURES, rows=0), ERRORS], 7, 0),
    ],
)
def test_what_does_not_add_up_is_not_committed(config, shards, rows_read, duplicates):
    with pytest.raises(CommitError, match="not committed"):
        commit(shards, rows_read, duplicates, config)
    assert read_run(config.layout.directory) is None


def test_what_adds_up_is(config):
    commit([ERRORS, FEATURES], 8, 1, config)
    run = read_run(config.layout.directory)
    assert run["counts"] == {
        "rows_read": 8,
        "duplicates": 1,
        "rows_in": 7,
        "rows_out": 5,
        "rows_failed": 2,
        "failed_by_reason": {"not_found": 2},
    }


def test_progress_is_summed_over_workers(tmp_path):
    for kind, rows in (("features", 5), ("features", 7), ("errors", 2)):
        progress = Progress(str(tmp_path), kind)
        progress.add(rows)
        progress.flush()
    (tmp_path / "progress" / "total.x").write_text("28")
    snapshot = read_snapshot(str(tmp_path))
    assert snapshot == Snapshot(12, 2, 28)
    assert describe(snapshot, 7) == "14 of 28 images, 2 failed, 2/s, about 7 s left"
    assert read_snapshot(str(tmp_path / "none")) == Snapshot(0, 0, 0)
