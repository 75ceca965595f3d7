"""The comparison of packed with loose images: its archives, its arithmetic, and a whole run."""

from __future__ import annotations

import json
import pathlib
import sys
import tarfile
import zipfile

import pytest
from pyarrow import parquet

from benchmarks import measure, packed, packed_case, stores
from benchmarks.loopback import Counters, Server
from benchmarks.packing import WRITERS
from tests.images import encode, noise

IMAGES = {f"00000/{number}.jpg": bytes([number]) * 1000 for number in range(150)}


def _case(
    store: stores.Store, form: str, delay: int, seconds: float, mib: float = 200, requests: int = 0
) -> packed_case.Case:
    case = packed_case.Case(store, form, delay, (100, 1100), ["", ""])
    case.usages[0].append(measure.Usage(1.0, 1.0, mib, "", 0))
    case.usages[1].append(measure.Usage(1.0 + seconds, 1.0 + 2 * seconds, mib, "", 0))
    case.served.append(Counters(requests=requests))
    return case


def test_packed_is_compared_with_loose_in_the_same_place() -> None:
    local, http = stores.Store("local", []), stores.Store("http", [], servers=(Server("none"),))
    rows = packed.table(
        [
            _case(local, "loose", 0, 1.0),
            _case(local, "tar", 0, 1.1),
            _case(http, "loose", 50, 2.0, requests=1100),
            _case(http, "tar", 50, 1.0, requests=1),
            _case(http, "zip", 50, 1.6, mib=300, requests=2),
            _case(http, "webdataset", 50, 0.8),
        ]
    )
    assert [row.get("verdict") for row in rows] == [
        None,
        "missed: rate",
        None,
        "met",
        "missed: rate, requests, memory",
        None,
    ]
    tar = rows[3]
    assert (tar["steady"], tar["of_loose"], tar["of_cpu"]) == (1000, 2, 0.5)
    assert (tar["of_webdataset"], tar["whole"], tar["of_loose_whole"]) == (0.8, 550, 1.5)
    assert rows[2]["requests"] == 1 and rows[1]["requests"] is None


def test_rounds_are_compared_one_by_one() -> None:
    local = stores.Store("local", [])
    loose, tar = _case(local, "loose", 0, 1.0), _case(local, "tar", 0, 1.25)
    for case, seconds in ((loose, (4.0, 1.0, 2.0)), (tar, (5.0, 0.9, 1.0))):  # A faster machine.
        for more in seconds:
            other = _case(local, case.form, 0, more)
            case.usages[0].append(other.usages[0][0])
            case.usages[1].append(other.usages[1][0])
    _, row = packed.table([loose, tar])
    # The rounds' rates are 0.8, 0.8, 1.11 and 2 of those of loose images; medians are 1.33 apart.
    assert row["of_loose"] == 0.956
    assert row["of_loose_whole"] == 0.971


def test_archives_hold_the_images(tmp_path: pathlib.Path) -> None:
    paths = {form: tmp_path / f"images.{form}" for form in ("tar", "zip", "parquet")}
    for form, path in paths.items():
        WRITERS[form](iter(IMAGES.items()), path)
    with tarfile.open(paths["tar"]) as tar:
        assert {
            member.name: tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar
        } == IMAGES
    with zipfile.ZipFile(paths["zip"]) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == IMAGES
    rows = parquet.read_table(paths["parquet"])["image"].to_pylist()
    assert {row["path"]: row["bytes"] for row in rows} == IMAGES
    assert parquet.ParquetFile(paths["parquet"]).num_row_groups == 2


@pytest.mark.long
def test_whole_benchmark(tmp_path: pathlib.Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(5):
        (images / f"{seed}.jpg").write_bytes(encode(noise(seed, 320, 240)))
    result = tmp_path / "result.json"
    measure.run(
        [
            *(sys.executable, "-m", "benchmarks.packed", f"--images={images}", "--rounds=1"),
            *("--delays", "5", "--sizes", "20", "60", f"--json={result}"),
        ],
        timeout=600,
    )
    rows = json.loads(result.read_text())["rows"]
    forms = ["loose", *WRITERS, "webdataset"]
    assert [(row["store"], row["form"]) for row in rows] == [
        (store, form) for store in ("local", "http") for form in forms
    ]
    for row in rows[6:]:
        # Loose images are asked for one by one, and archives a few times in all.
        assert row["requests"] == 1 if row["form"] == "loose" else row["requests"] < 0.2
        assert row["whole"] > 0
