"""Rows that failed in a committed run as the input of another one."""

from __future__ import annotations

import json
import pathlib

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import read_record
from tests import images
from tests.datasets import counts, lines


def test_failed_rows_are_taken_up(extract, photos, tmp_path):
    manifest = tmp_path / "m.csv"
    rows = [f"{photos}/{name},{i}" for i, name in enumerate(["1.jpg", "broken.jpg", "late.jpg"])]
    manifest.write_text("uri,number\n" + "\n".join(rows))
    extract(manifest, "--column_types=number:int64", run_id="1")
    images.write(photos / "late.jpg", 50)
    output = tmp_path / "out"

    def retry(run, *options):
        return cli.main(
            [
                "extract",
                "--model=untrained",
                f"--retry_errors={run}",
                f"--output={output}",
                *options,
            ]
        )

    assert retry("1", "--run_id=2") == 0
    run = read_record(str(output / "2"))
    assert (run["counts"]["rows_in"], run["counts"]["rows_out"]) == (2, 1)
    arrays = dataset.load_numpy(str(output))
    found = {
        pathlib.Path(uri).name: number
        for uri, number in zip(arrays.uris, arrays.columns["number"], strict=True)
    }
    assert found == {"1.jpg": 0, "late.jpg": 2}
    (error,) = lines(output / "2", "errors")
    assert (error["number"], error["reason"]) == (1, "corrupt")
    # A path does as well, what is known by now is left out, and what did not fail is not missed.
    assert retry(output / "1", "--run_id=3", "--incremental") == 0
    assert counts(output / "3") == (2, 0, 1, 1, 0)


def test_failed_rows_of_several_shards_have_the_types_they_had(extract, photos, tmp_path):
    manifest = tmp_path / "m.jsonl"
    rows = [{"uri": f"gone-{i}.jpg", "n": i if i % 2 else None} for i in range(40)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = extract(manifest, "--num_shards=300", "--max_error_rate=1", run_id="1")
    assert (
        len([entry for entry in read_record(str(run))["files"] if entry["kind"] == "errors"]) == 30
    )
    arguments = ["--model=untrained", f"--output={tmp_path}/out", "--retry_errors=1"]
    # To try again in vain is nothing to commit, unless that is meant.
    assert cli.main(["extract", *arguments, "--run_id=2"]) == 5
    assert cli.main(["extract", *arguments, "--run_id=2", "--max_error_rate=1"]) == 0
    assert counts(tmp_path / "out" / "2") == (40, 0, 40, 0, 0)
    assert sorted(error["n"] or 0 for error in lines(tmp_path / "out" / "2", "errors")) == [
        *[0] * 20,
        *range(1, 40, 2),
    ]


def test_what_cannot_be_retried_is_said(extract, photos, tmp_path, capsys):
    manifest = tmp_path / "m.txt"
    manifest.write_text(str(photos / "1.jpg"))
    extract(manifest, run_id="1")

    def refused(*options):
        capsys.readouterr()
        arguments = ["extract", "--model=untrained", f"--output={tmp_path}/out", *options]
        assert cli.main(arguments) == 2
        return capsys.readouterr().err

    assert "has no row that failed" in refused("--retry_errors=1")
    assert "no committed run" in refused("--retry_errors=no")
    assert "exclude each other" in refused("--retry_errors=1", "--input=x")
    assert "--tombstone_removed would count" in refused(
        "--retry_errors=1", "--incremental", "--tombstone_removed"
    )
    assert "--max_removed_rate would count" in refused(
        "--retry_errors=1", "--incremental", "--max_removed_rate=0.1"
    )
    for option in ("--verify_content", "--tombstone_removed", "--max_removed_rate=0.1"):
        assert "of use with --incremental only" in refused(f"--input={manifest}", option)
    assert "No manifest has the column" in refused(f"--input={manifest}", "--version_column=v")
