"""Runs that become one: of each image the latest row, and of errors what nothing has settled."""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run, read_record
from image_features.transforms.stores.uris import image_key
from tests import datasets, images
from tests.datasets import compact, vectors
from tests.http_server import ImageServer


@pytest.mark.parametrize("options", [(), ("--num_shards=7", "--compression=gzip")])
def test_the_last_of_each_row_is_copied_as_it_is(nights, options, capsys):
    before = vectors(nights)
    run = compact(nights, *options)
    assert vectors(run) == vectors(nights) == before
    assert len(before) == 9
    assert inspection.verify(latest_run(str(run))) == []
    record = read_record(str(run))
    assert sorted(record["replaces"]) == ["1", "2", "3"]
    assert record["as_of"] == read_record(str(nights / "3"))["finished"]
    # 3 of the base's number of shards, whose rows then need not be mixed.
    shards = [f for f in record["files"] if f["kind"] == "features"]
    assert len(shards) == (7 if options else 3)
    assert record["counts"] | {"failed_by_reason": {}} == {
        "rows_read": 10,
        "duplicates": 0,
        "rows_in": 10,
        "rows_out": 9,
        "rows_failed": 1,
        "rows_unchanged": 0,
        "rows_removed": 0,
        "failed_by_reason": {},
    }
    assert "9 rows of 3 runs, 2 replaced or removed, 1 failed" in capsys.readouterr().out


def test_features_are_measured_again(nights, nights_photos, tmp_path):
    merged = read_record(str(compact(nights)))
    fresh = read_record(str(datasets.extract(nights_photos, tmp_path / "fresh", "fresh")))
    assert merged["health"] == fresh["health"]


def test_the_next_night_goes_on_from_the_merged_run(nights, nights_photos):
    compact(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert sorted(path.name for path in nights.iterdir()) == ["all"]
    images.write(nights_photos / "another.jpg", 102)
    run = datasets.extract(nights_photos, nights, "4", "--incremental")
    counts = read_record(str(run))["counts"]
    assert (counts["rows_out"], counts["rows_failed"], counts["rows_unchanged"]) == (1, 1, 9)
    assert len(vectors(nights)) == 10


def test_a_run_that_came_while_it_merged_stays_and_is_later(nights, nights_photos):
    images.write(nights_photos / "2.jpg", 103)
    late = datasets.extract(nights_photos, nights, "4", "--incremental")
    now = vectors(nights)
    shutil.move(late, nights.parent / "aside")
    merged = compact(nights)
    shutil.move(nights.parent / "aside", late)
    assert read_record(str(merged))["finished"] > read_record(str(late))["finished"]
    assert vectors(nights) == now


def test_errors_that_nothing_has_settled_are_kept_once(tmp_path):
    directory = images.write_noise(tmp_path / "photos", 2)
    manifest = tmp_path / "m.jsonl"
    paths = [directory / name for name in ("0.jpg", "broken.jpg", "late.jpg", "gone.jpg")]
    rows = [json.dumps({"uri": str(path)}) for path in paths]
    manifest.write_text("\n".join([*rows, '{"uri": ""}']))
    datasets.extract(manifest, tmp_path / "out", "1")
    images.write(directory / "late.jpg", 50)
    manifest.write_text("\n".join([*rows[:3], '{"uri": ""}']))
    datasets.extract(manifest, tmp_path / "out", "2")
    run = compact(tmp_path / "out")
    errors = []
    for file in run.glob("errors-*"):
        errors += [json.loads(line) for line in file.read_text().splitlines()]
    found = sorted((pathlib.Path(e["uri"] or "").name, e["reason"]) for e in errors)
    # The row that could not be read is another one in each manifest.
    assert found == [
        ("", "bad_manifest_row"),
        ("", "bad_manifest_row"),
        ("broken.jpg", "corrupt"),
        ("gone.jpg", "not_found"),
    ]
    options = ["--model=untrained", f"--output={tmp_path}/out", "--retry_errors=all"]
    options.append("--max_error_rate=1")
    assert cli.main(["extract", *options, "--run_id=again"]) == 0
    assert read_record(str(tmp_path / "out" / "again"))["counts"]["rows_failed"] == 4


def test_errors_of_secret_addresses_are_told_apart_and_settled(tmp_path):
    picture = images.encode(images.noise(1))
    with ImageServer({"at-once.jpg": picture}) as server:
        manifest = tmp_path / "m.txt"
        uris = [server.url(f"{name}.jpg?key={name}") for name in ("at-once", "later", "never")]
        manifest.write_text("\n".join(uris))
        datasets.extract(manifest, tmp_path / "out", "1", "--allow_private_hosts")
        server.files["later.jpg"] = picture
        datasets.extract(manifest, tmp_path / "out", "2", "--allow_private_hosts")
        run = compact(tmp_path / "out")
    (line,) = (run / "errors-00000-of-00001.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == image_key(uris[2])
    assert len(vectors(run)) == 2


def test_a_damaged_shard_stops_the_merging(nights, capsys):
    shard = max((nights / "1").glob("features-*"), key=lambda path: path.stat().st_size)
    data = shard.read_bytes()
    shard.write_bytes(data[:200] + b"x" + data[201:])
    run = compact(nights, code=1)
    assert read_record(str(run)) is None
    assert "corrupt" in capsys.readouterr().err
    assert len(vectors(nights / "3")) == 0


def test_other_models_are_left_alone(nights, nights_photos):
    other = datasets.extract(nights_photos, nights, "other", "--resize=pad", "--new_series")
    later = datasets.extract(nights_photos, nights, "5", "--incremental", "--new_series")
    run = compact(nights)
    assert sorted(read_record(str(run))["replaces"]) == ["1", "2", "3", "5"]
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert other.exists() and not later.exists()
    assert len(vectors(other)) == 9


def test_a_run_may_lie_elsewhere(nights):
    before = vectors(nights)
    shutil.move(nights / "2", nights.parent / "elsewhere")
    (nights / "2").symlink_to(nights.parent / "elsewhere")
    assert vectors(nights) == before
    compact(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert os.listdir(nights) == ["all"]
    assert not (nights.parent / "elsewhere").exists()


def test_statistics_of_no_rows(tmp_path):
    manifest = tmp_path / "none.txt"
    manifest.write_text("")
    for name in "ab":
        datasets.extract(manifest, tmp_path / "out", name, "--allow_empty")
    run = compact(tmp_path / "out")
    assert read_record(str(run))["counts"]["rows_in"] == 0
    assert len(dataset.load_numpy(str(run)).keys) == 0
    assert list(dataset.load(str(run))) == []
    np.testing.assert_array_equal(dataset.load_numpy(str(run)).features.shape, (0, 1280))
