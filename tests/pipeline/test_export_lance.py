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
from tests import datasets, images

lance = pytest.importorskip("lance")

_RUNS = ("1", "2", "3")


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Three nights: of six pictures one changes, one comes, two go, and one of these comes back."""
    place = tmp_path_factory.mktemp("lance")
    photos, output = images.write_noise(place / "photos", 6), place / "out"
    manifest = place / "m.jsonl"

    def night(name: str, numbers: list[int]) -> None:
        rows = [
            {"uri": str(photos / f"{number}.jpg"), "rank": number, "tags": ["a"] * (number % 3)}
            for number in numbers
        ]
        manifest.write_text("\n".join(map(json.dumps, rows)))
        datasets.extract(manifest, output, name, "--incremental", "--tombstone_removed")

    night("1", [0, 1, 2, 3, 4, 5])
    images.write(photos / "2.jpg", 101)
    images.write(photos / "6.jpg", 102)
    night("2", [0, 1, 2, 4, 5, 6])
    night("3", [0, 2, 3, 4, 5, 6])
    return output


@pytest.fixture
def dataset(nights, tmp_path):
    """The dataset as it was after some of its nights."""

    def after(count: int) -> pathlib.Path:
        for name in _RUNS[:count]:
            shutil.copytree(nights / name, tmp_path / "d" / name, dirs_exist_ok=True)
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
    _is_read_by_others(path, target)


def _is_read_by_others(path: pathlib.Path, target: pathlib.Path) -> None:
    import duckdb

    arrays = reading.load_numpy(str(path))
    found = table(target)
    answer = found.to_table(
        nearest={"column": "vector", "q": arrays.features[3], "k": 2, "metric": "cosine"},
        columns=["uri", "_distance"],
    )
    assert answer["uri"][0].as_py() == arrays.uris[3]
    assert answer["_distance"][0].as_py() == pytest.approx(0, abs=1e-5)
    with duckdb.connect() as connection:
        connection.register("images", found.to_table(columns=["rank", "tags"]))
        query = "select rank, len(tags) from images where rank >= 4 order by rank"
        assert connection.execute(query).fetchall() == [(4, 1), (5, 2), (6, 0)]
    assert sorted(found.to_table(columns=["rank"]).to_pandas()["rank"]) == [0, 2, 3, 4, 5, 6]
    found.create_scalar_index("rank", "BTREE")
    assert found.to_table(filter="rank = 2", columns=["tags"])["tags"].to_pylist() == [["a", "a"]]


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
    table(target).delete("rank = 5")
    export(path, target, "--since=last", code=2)
    assert "has 5 rows, where exports make it 6" in capsys.readouterr().err
    assert not (target / ".changes" / "000001").exists()
    shutil.rmtree(target / "vectors.lance")
    export(path, target, "--since=last", code=2)
    assert "vectors.lance is not there any more" in capsys.readouterr().err
