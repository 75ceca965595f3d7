from __future__ import annotations

import json
import pathlib
import sys

import pytest

from benchmarks import measure, throughput
from benchmarks.contenders.job import Summary
from benchmarks.contenders.roster import ROSTER, Arena, Contender, Product
from tests.images import encode, noise


def _record(name: str, seconds: dict[int, list[float]], checksum: float = 1.0) -> throughput.Record:
    record = throughput.Record(Contender(name, "sys"))
    for count, times in seconds.items():
        record.samples[count] = [
            throughput.Sample(
                measure.Usage(time, 2 * time, 100.0, "", 0), {"checksum": checksum}, None
            )
            for time in times
        ]
    return record


def test_rows_compare_medians() -> None:
    records = [
        _record("tight_loop", {100: [1, 1, 9], 1100: [2, 3, 2]}),
        _record("ours", {100: [5, 5, 5], 1100: [7, 7, 7]}),
        _record("ray_data", {100: [9, 9, 9], 1100: [8, 8, 8]}),
    ]
    tight, ours, ray = throughput._rows(records, 100, 1100)
    assert (tight["img/s"], tight["steady img/s"]) == (550, 1000)
    assert (ours["of tight, steady"], ours["ours to it"]) == (0.5, 1)
    assert tight["ours to it, steady"] == 0.5
    assert ours["cpu ms/img"] == pytest.approx(14_000 / 1100)
    assert tight["spread"] == "50%"
    # A long run that was faster than the short one tells no steady rate.
    assert ray["steady img/s"] is None and ray["img/s"] == 137.5


def test_other_work_is_told() -> None:
    records = [
        _record("tight_loop", {10: [1]}),
        _record("tf_data", {10: [1]}, checksum=1.01),
        _record("ray_data", {10: [1]}, checksum=1.5),
    ]
    throughput._compare(records, 10)
    assert [record.status for record in records] == [
        "ok",
        "ok",
        "other features: differ by 50.0%",
    ]


def test_missing_package_is_told() -> None:
    record = throughput.Record(Contender("absent", "a_package_that_is_not_there"))
    throughput._measure([record], None, [], 0)  # type: ignore[arg-type]
    row = throughput._rows([record], 1, 2)[0]
    assert row["features"] == "not installed" and row["img/s"] is None


def test_a_failure_stops_one_contender_only(tmp_path: pathlib.Path) -> None:
    arena = Arena("", "", (96, 96), tmp_path, tmp_path)
    manifest = tmp_path / "manifest.txt"
    manifest.write_text("")
    broken = throughput.Record(Contender("no_such_module", "sys"))
    silent = throughput.Record(Contender("job", "sys", prints_work=True))
    throughput._measure([broken, silent], arena, [(0, manifest), (7, manifest)], 1)
    assert broken.status.startswith("failed: ") and "no_such_module" in broken.status
    assert silent.status == "failed: It printed no JSON line of what it computed."
    assert broken.samples == silent.samples == {}
    assert throughput._rows([broken, silent], 0, 7)[0]["img/s"] is None


def test_checksum_sees_order() -> None:
    import numpy as np

    features = np.random.default_rng(0).random((4, 100), np.float32)
    sums = []
    for rows in (features, features[::-1], features[:, ::-1]):
        summary = Summary()
        summary.add(rows[:3])
        summary.add(rows[3:])
        sums.append(summary.checksum)
    assert sums[0] == pytest.approx(sums[1])
    assert sums[0] != pytest.approx(sums[2], rel=1e-4)


def test_roster_names_are_modules() -> None:
    directory = pathlib.Path(throughput.__file__).parent / "contenders"
    peers = [entry.name for entry in ROSTER if not isinstance(entry, Product)]
    assert set(peers) <= {path.stem for path in directory.glob("*.py")}


@pytest.mark.long
def test_whole_benchmark(tmp_path: pathlib.Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(5):
        (images / f"{seed}.jpg").write_bytes(encode(noise(seed, 320, 240)))
    result = tmp_path / "result.json"
    names = ["tight_loop", "textbook_with_ours", "ours"]
    usage = measure.run(
        [
            *(sys.executable, "-m", "benchmarks.throughput", f"--images={images}"),
            *("--count=60", "--small=20", "--rounds=1", f"--json={result}", "--only", *names),
        ],
        timeout=600,
    )
    assert "tight_loop" in usage.output
    found = json.loads(result.read_text())
    assert found["machine"]["cores"] >= 1
    assert [entry["contender"] for entry in found["contenders"]] == names
    for entry in found["contenders"]:
        assert entry["features"] == "ok"
        assert entry["img/s"] > 0 and entry["peak MiB"] > 0 and entry["of tight"] > 0
        works = [run["work"] for run in entry["runs"]]
        assert [work["images"] for work in works] == [20, 60]
        assert {work["features"] for work in works} == {1280}
