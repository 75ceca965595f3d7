from __future__ import annotations

import pathlib
import shutil

import pyarrow.parquet as pq
import pytest

from benchmarks import export, export_loop
from benchmarks.measure import Usage
from image_features.pipeline.dataset import reading
from tests import datasets

_OLD_RUN = "v0_1/image-features-v0_1/compacted/night-1"


def _usage(seconds: float, cpu_seconds: float, peak_mib: float) -> list[Usage]:
    return [Usage(seconds, cpu_seconds, peak_mib, "", 0)]


def test_rates_are_compared_without_their_start_up() -> None:
    usages = {
        (export.LOOP, 1000): _usage(11, 2, 100),
        ("parquet", 1000): _usage(12, 3, 200),
        ("qdrant", 1000): _usage(20, 12, 200),
        (export.LOOP, 5000): _usage(15, 6, 110),
        ("parquet", 5000): _usage(20, 9, 220),
        ("qdrant", 5000): _usage(60, 52, 300),
    }
    rows = {(row["target"], row["rows"]): row for row in export.table(usages)}
    assert rows["parquet", 1000]["of_loop"] == round(11 / 12, 2)
    parquet, qdrant = rows["parquet", 5000], rows["qdrant", 5000]
    assert parquet["steady"] == 0.5 and parquet["steady_cpu"] == 1.5
    assert parquet["times_fewest"] == 1.1 and parquet["verdict"] == "met"
    assert qdrant["steady"] == 0.1 and qdrant["times_fewest"] == 1.5
    assert qdrant["verdict"] == "missed"  # Its memory grows; it need not keep up with the loop.
    assert "verdict" not in rows[export.LOOP, 5000]


def test_the_loop_writes_every_row(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(pathlib.Path(__file__).parents[1] / "data" / _OLD_RUN, run)
    monkeypatch.setattr("sys.argv", ["export_loop", str(run), str(tmp_path / "out.parquet")])
    export_loop.main()
    arrays = reading.load_numpy(str(run))
    assert int(capsys.readouterr().out) == len(arrays.keys) == datasets.counts(run)[1]
    table = pq.read_table(tmp_path / "out.parquet").sort_by("key")
    order = arrays.keys.argsort()
    assert table["uri"].to_pylist() == arrays.uris[order].tolist()
    assert table["vector"].to_pylist() == arrays.features[order].tolist()
