from image_features.transforms.runtime.progress import (
    Progress,
    Snapshot,
    clear,
    read_snapshot,
    write_total,
)


def _count(staging, kind, rows):
    progress = Progress(staging, kind)
    progress.add(rows)
    progress.flush()


def test_progress_is_summed_over_workers(tmp_path):
    for kind, rows in (("features", 5), ("features", 7), ("errors", 2)):
        _count(str(tmp_path), kind, rows)
    (tmp_path / "progress" / "total.x").write_text("28")
    assert read_snapshot(str(tmp_path)) == Snapshot(12, 2, 28)
    assert read_snapshot(str(tmp_path / "none")) == Snapshot(0, 0, 0)


def test_a_total_that_is_told_again_replaces_a_smaller_one(tmp_path):
    write_total(str(tmp_path), 28)
    write_total(str(tmp_path), 28)
    assert read_snapshot(str(tmp_path)) == Snapshot(0, 0, 28)


def test_removed_rows_are_neither_done_nor_failed(tmp_path):
    _count(str(tmp_path), "removed", 3)
    _count(str(tmp_path), "features", 5)
    assert read_snapshot(str(tmp_path)) == Snapshot(5, 0, 0)


def test_an_attempt_that_begins_anew_forgets_the_last_ones_progress(tmp_path):
    _count(str(tmp_path), "features", 5)
    clear(str(tmp_path))
    clear(str(tmp_path))
    assert read_snapshot(str(tmp_path)) == Snapshot(0, 0, 0)


def test_remote_staging_has_no_progress(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_total("gs://bucket/staging", 28)
    _count("gs://bucket/staging", "features", 5)
    assert list(tmp_path.iterdir()) == []
