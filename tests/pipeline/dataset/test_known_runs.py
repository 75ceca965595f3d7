"""The committed runs that an incremental one goes on from."""

from __future__ import annotations

import json
import os

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading as dataset
from tests import datasets, images
from tests.datasets import compact, counts, lines, names, run_ids


def test_a_run_that_was_merged_is_done(nights, nights_photos, capsys):
    compact(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    capsys.readouterr()
    assert not datasets.extract(nights_photos, nights, "1", "--incremental").exists()
    assert f"{nights}/all, into which 1 was merged, is committed" in capsys.readouterr().out
    # Who asks for all of it again gets it, and sees it.
    images.write(nights_photos / "2.jpg", 105)
    datasets.extract(nights_photos, nights, "1")
    assert run_ids(nights) == ["1", "all"]
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert sorted(os.listdir(nights)) == ["1", "all"]


def test_another_model_is_not_done_by_a_merged_run(nights, nights_photos, capsys):
    compact(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    arguments = [f"--input={nights_photos}", f"--output={nights}", "--run_id=1", "--resize=pad"]
    assert cli.main(["extract", "--model=untrained", "--incremental", *arguments]) == 2
    assert f"the run 1 was merged into {nights}/all, with another" in capsys.readouterr().err


def test_a_run_may_be_asked_for_twice(night, photos, capsys):
    first = night("1")
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    images.write(photos / "new.jpg", 100)
    night("2")
    night("1")
    assert "is committed already" in capsys.readouterr().out
    assert before == {path.name: path.read_bytes() for path in first.iterdir()}


def test_another_preprocessing_or_model_makes_all_anew(night):
    night("1")
    assert counts(night("2", "--resize=pad", "--new_series")) == (10, 9, 1, 0, 0)
    assert counts(night("3", "--precision=float16", "--new_series")) == (10, 9, 1, 0, 0)
    assert counts(night("4", "--new_series")) == (10, 0, 1, 9, 0)
    assert counts(night("5", "--resize=pad", "--new_series")) == (10, 0, 1, 9, 0)


def test_a_column_must_hold_what_it_held(night, photos, tmp_path, capsys):
    manifest = tmp_path / "m.jsonl"

    def run(name, *values, options=(), code=0):
        rows = [{"uri": str(photos / f"{i}.jpg"), "n": value} for i, value in enumerate(values)]
        manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return night(name, *options, input=manifest, code=code)

    run("1", 1)
    assert not run("2", 1.5, code=2).exists()
    assert "say --column_types=n:int64" in capsys.readouterr().err
    run("2", 1, 2.5, options=["--column_types=n:int64?"])
    assert lines(tmp_path / "out" / "2", "errors")[0]["reason"] == "bad_manifest_row"
    assert sorted(dataset.load_numpy(str(tmp_path / "out")).columns["n"]) == [1]


def test_the_latest_run_tells_what_a_column_holds(extract, night, photos, tmp_path):
    manifest = tmp_path / "m.jsonl"

    def rows(value):
        manifest.write_text(json.dumps({"uri": str(photos / "1.jpg"), "n": value}))
        return manifest

    extract(rows(1), run_id="1")
    extract(rows(1.5), "--new_series", run_id="2")
    assert counts(night("3", input=rows(2.5))) == (1, 0, 0, 1, 0)
    night("4", input=rows(2), code=2)


def test_an_index_that_is_gone_or_cut_ends_a_run_before_any_work(night, capsys):
    index = night("1") / "index-00000-of-00001.parquet"
    index.write_bytes(index.read_bytes()[:-1])
    for _ in range(2):
        assert not (night("2", code=2) / "run.json").exists()
        assert f"/1 has lost {index.name}; copy it from a backup" in capsys.readouterr().err
        index.unlink(missing_ok=True)


def test_without_an_index_rows_are_read_and_images_made_again(night, photos, tmp_path, caplog):
    first = night("1")
    record = json.loads((first / "run.json").read_text())
    record["files"] = [entry for entry in record["files"] if entry["kind"] != "index"]
    (first / "run.json").write_text(json.dumps(record))
    (first / "index-00000-of-00001.parquet").unlink()
    images.write(photos / "2.jpg", 101)
    assert counts(night("2")) == (10, 9, 1, 0, 0)
    assert "has no index" in caplog.text
    assert names(tmp_path / "out") == [f"{i}.jpg" for i in range(9)]
