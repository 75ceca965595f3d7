"""Datasets as Lance tables: whole, night by night, and after deaths in the middle."""

from __future__ import annotations

import json
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from image_features.transforms.manifests.columns import Column, Kind
from tests import datasets, gcs, written
from tests.docs.examples import python_blocks
from tests.gcs_xml import xml_api

lance = pytest.importorskip("lance")

_PAGE = pathlib.Path(__file__).parents[2] / "docs" / "export.md"
_COLUMNS = (Column("tags", Kind.STRING, repeated=True), Column("rank", Kind.INT64))


def write_night(output: pathlib.Path, night: int) -> pathlib.Path:
    """Writes a night: of six pictures one changes, one comes, two go, and one of these returns."""
    rows, gone = [
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}, []),
        ({"b": 20, "g": 7}, ["c"]),
        ({"c": 30}, ["a"]),
    ][night - 1]
    values = {"tags": ["x", "y"][:night], "rank": night}
    made = written.provenance(columns=_COLUMNS)
    return written.write_run(
        output, str(night), rows, gone=gone, day=night, made=made, values=values
    )


@pytest.fixture
def dataset(tmp_path):
    """The dataset as it was after some of its nights."""

    def after(count: int) -> pathlib.Path:
        for night in range(1, count + 1):
            if not (tmp_path / "d" / str(night)).exists():
                write_night(tmp_path / "d", night)
        return tmp_path / "d"

    return after


def export(path, target, *options: str, code: int = 0) -> None:
    assert cli.main(["export", str(path), str(target), "--format=lance", *options]) == code


def table(target: pathlib.Path, version: int | None = None):
    return lance.dataset(str(target / "vectors.lance"), version=version)


def rows(dataset) -> dict[str, bytes]:
    found = dataset.to_table().to_pylist()
    assert len({row["key"] for row in found}) == len(found)
    return {row["uri"]: np.float32(row["vector"]).tobytes() for row in found}


def test_night_by_night(dataset, tmp_path, capsys):
    target, wanted = tmp_path / "t", []
    for count in (1, 2, 3):
        path = dataset(count)
        export(path, target, "--num_shards=2", *["--since=last"] * (count > 1))
        wanted.append(datasets.vectors(path))
        assert rows(table(target)) == wanted[-1]
    # No version had half of a night.
    assert [rows(table(target, version)) for version in (1, 2, 3)] == wanted
    assert table(target).version == 3
    records = [json.loads((target / ".export.json").read_text())]
    records += [
        json.loads(path.read_text()) for path in sorted(target.glob(".changes/*/.export.json"))
    ]
    told = [
        (record["rows"], record["counts"]["rows_out"], record["counts"]["rows_removed"])
        for record in records
    ]
    assert told == [(6, 6, 0), (6, 2, 1), (6, 1, 1)]
    assert {file["kind"] for record in records for file in record["files"]} <= {"_removed"}
    capsys.readouterr()
    export(path, target, "--since=last")
    assert "nothing has changed" in capsys.readouterr().out
    assert table(target).version == 3
    assert not list(target.rglob(".staging"))


def test_tables_are_read_by_others(dataset, tmp_path, monkeypatch):
    import duckdb

    monkeypatch.chdir(tmp_path)
    export(dataset(2), "exported")
    arrays = reading.load_numpy(str(dataset(2)))
    found = table(tmp_path / "exported")
    query = {"column": "vector", "q": arrays.features[3], "k": 2}
    answer = found.to_table(nearest=query, columns=["uri", "_distance"])
    assert (answer["uri"][0].as_py(), answer["_distance"][0].as_py()) == (arrays.uris[3], 0)
    with duckdb.connect() as connection:
        connection.register("images", found.to_table(columns=["rank", "tags"]))
        query = "select rank, len(tags), count(*) from images group by all order by rank"
        assert connection.execute(query).fetchall() == [(1, 1, 4), (2, 2, 2)]
    assert sorted(found.to_table(columns=["rank"]).to_pandas()["rank"]) == [1, 1, 1, 1, 2, 2]
    (block,) = [block for block in python_blocks(_PAGE) if "import lance" in block]
    exec(block, {})


def test_a_table_on_gs(monkeypatch, tmp_path, dataset):
    dataset(2)
    with gcs.emulator(monkeypatch, "images", gcs.Access.EMULATOR) as bucket, xml_api(bucket) as url:
        known = {"gcs_base_url": url, "disable_oauth": True}
        known |= dict.fromkeys(["client_email", "private_key", "private_key_id"], "")
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(known))
        monkeypatch.setenv("ALLOW_HTTP", "true")
        wanted = []
        for night in ("1", "2"):
            for path in (tmp_path / "d" / night).iterdir():
                bucket.blob(f"d/{night}/{path.name}").upload_from_filename(str(path))
            export("gs://images/d", "gs://images/t", "--since=last")
            wanted.append(datasets.vectors("gs://images/d"))
        for version in (1, 2):
            found = lance.dataset("gs://images/t/vectors.lance", version=version)
            assert rows(found) == wanted[version - 1]
        assert len(wanted[1]) == 6
        names = {blob.name for blob in bucket.list_blobs(prefix="t/")}
    assert not [name for name in names if ".staging" in name]
    assert {"t/.export.json", "t/.changes/000001/.export.json"} < names


_DIES = """
import os, signal, sys
from image_features.pipeline.cli import main
from image_features.pipeline.commit import commit_export
from image_features.transforms.exports import lance_table

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

setattr({where}, die)
main.main(sys.argv[1:])
"""


def test_an_export_that_is_killed_is_taken_up(dataset, tmp_path):
    target = tmp_path / "t"
    export(dataset(1), target)
    before, path = datasets.vectors(dataset(1)), dataset(2)
    after = datasets.vectors(path)
    command = ["export", str(path), str(target), "--format=lance", "--since=last"]

    def is_killed_at(where: str) -> None:
        process = subprocess.run(
            [sys.executable, "-c", _DIES.format(where=where), *command, "--direct_num_workers=1"],
            check=False,
            capture_output=True,
        )
        assert process.returncode == -signal.SIGKILL, process.stderr.decode()

    is_killed_at('lance_table, "fragments_of"')  # Before Lance's commit,
    assert (table(target).version, rows(table(target))) == (1, before)
    files = datasets.files(target / "vectors.lance" / "data")
    is_killed_at('commit_export, "publish"')  # and between it and ours.
    assert (table(target).version, rows(table(target))) == (2, after)
    assert not (target / ".changes" / "000001" / ".export.json").exists()
    export(path, target, "--since=last")
    assert (table(target).version, rows(table(target))) == (2, after)
    assert (target / ".changes" / "000001" / ".export.json").exists()
    assert datasets.files(target / "vectors.lance" / "data") == files


def test_what_is_refused_before_any_work(dataset, tmp_path, capsys):
    path, target = dataset(1), tmp_path / "t"
    of_others = tmp_path / "others"
    (of_others / "vectors.lance").mkdir(parents=True)
    export(path, of_others, code=2)
    assert "holds no export" in capsys.readouterr().err
    export(path, target)
    before = datasets.files(target)
    path = dataset(2)
    assert cli.main(["export", str(path), str(target), "--since=last"]) == 2
    assert "was exported otherwise" in capsys.readouterr().err
    assert datasets.files(target) == before
    table(target).delete("uri = '/photos/f.jpg'")
    export(path, target, "--since=last", code=2)
    assert "has 5 rows, where exports make it 6" in capsys.readouterr().err
    assert not (target / ".changes" / "000001").exists()
    shutil.rmtree(target / "vectors.lance")
    export(path, target, "--since=last", code=2)
    assert "vectors.lance is not there any more" in capsys.readouterr().err


def test_a_table_of_an_attempt_that_died_gives_way_to_files(dataset, tmp_path):
    target = tmp_path / "t"
    export(dataset(1), target)
    (target / ".staging").mkdir()
    (target / ".export.json").rename(target / ".staging" / "launch.json")
    assert cli.main(["export", str(dataset(2)), str(target)]) == 0
    assert datasets.files(target) == [".export.json", "vectors-00000-of-00001.parquet"]
