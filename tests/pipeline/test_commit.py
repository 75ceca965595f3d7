import dataclasses

import pytest

from pipeline.commit import CommitError, commit
from pipeline.layout import read_run
from pipeline.progress import Snapshot, describe, read_snapshot
from tests import runs
from tests.runs import ERRORS, FEATURES
from transforms.shard_files import Progress


@pytest.fixture
def config(tmp_path):
    (tmp_path / ".staging").mkdir()
    return runs.config(str(tmp_path))


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


def test_a_commit_that_is_tried_again_finds_the_first_one(config):
    commit([ERRORS, FEATURES], 8, 1, config)
    first = read_run(config.layout.directory)
    assert commit([FEATURES, ERRORS], 8, 1, config) == first == read_run(config.layout.directory)


@pytest.mark.parametrize("change", [{"started": "later"}, {"run_id": "other"}])
def test_another_jobs_commit_is_not_replaced(config, change):
    commit([ERRORS, FEATURES], 8, 1, config)
    first = read_run(config.layout.directory)
    with pytest.raises(CommitError, match="written by another job"):
        commit([ERRORS, FEATURES], 8, 1, dataclasses.replace(config, **change))
    assert read_run(config.layout.directory) == first


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
