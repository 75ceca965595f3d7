"""Results of `dedup` by hand-made vectors: nights, refusals, deaths and stores."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset.claim import Claim
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dedup.manifests import ManifestFields
from image_features.transforms.manifests.columns import Column, Kind
from tests.datasets import files, rewrite
from tests.gcs import emulator
from tests.hostile import HOSTILE
from tests.http_server import ImageServer
from tests.vector_runs import Row, write_run

_RESULT = ["dedup.json", "drop.jsonl", "groups.parquet", "index.html", "keep.jsonl"]
_ROWS = [
    *(Row("a", (1, 0, 0), (9, 9)), Row("a-near", (1, 0.01, 0)), Row("a-far", (1, 0.5, 0))),
    *(Row("b", (0, 1, 0)), Row("b-same", (0, 1, 0), file="b"), Row("zero", (0, 0, 0))),
]


@pytest.fixture
def data(tmp_path):
    write_run(tmp_path / "data", _ROWS, run_id="1")
    return tmp_path / "data"


@pytest.fixture
def dedup(capsys):
    """Runs `dedup` in this process; returns the record, or what it complained about."""

    def run(dataset, output, *options, code=0):
        capsys.readouterr()
        assert cli.main(["dedup", str(dataset), str(output), "--json", *options]) == code
        out, err = capsys.readouterr()
        return err if code else json.loads(out)

    return run


def _names(file):
    uris = [json.loads(line)["uri"] for line in file.read_text().splitlines()]
    return {uri.rpartition("/")[2].removesuffix(".jpg") for uri in uris}


def test_counts_and_the_summary(data, tmp_path, dedup, capsys):
    out = tmp_path / "out"
    counts = dedup(data, out)["counts"]
    assert counts == {
        "rows": 6,
        "groups": 2,
        "same_files": 1,
        "near": 1,
        "dropped": 2,
        "kept": 4,
        "zero_rows": 1,
    }
    # The larger of two is kept.
    assert _names(out / "drop.jsonl") - {"b", "b-same"} == {"a"}
    assert cli.main(["dedup", str(data), str(tmp_path / "other")]) == 0
    text = capsys.readouterr().out
    assert "of 6 images 4 are kept and 2 dropped, 1 as the same file and 1 as near" in text
    assert "1 vectors have no direction" in text and f"--input={tmp_path}/other/keep.jsonl" in text


def test_an_empty_dataset_has_no_duplicates(tmp_path, dedup):
    write_run(tmp_path / "data", [])
    record = dedup(tmp_path / "data", tmp_path / "out")
    assert set(record["counts"].values()) == {0}
    assert pq.read_table(tmp_path / "out/groups.parquet").num_rows == 0
    assert (tmp_path / "out/keep.jsonl").read_bytes() == b""
    assert "There are no duplicates" in (tmp_path / "out/index.html").read_text()


def test_hostile_locations_stay_text_and_lost_images_are_shown_as_such(tmp_path, dedup):
    rows = [Row(f"{HOSTILE}{i}", (1, 0, 0), file="same") for i in range(30)]
    rows += [Row(f"long{i}" + "/x" * 4000, (0, 1, 0)) for i in range(2)]
    write_run(tmp_path / "data", rows)
    dedup(tmp_path / "data", tmp_path / "out", "--samples=2")
    page = (tmp_path / "out/index.html").read_text()
    assert "<script" not in page and "<svg" not in page and "<img" not in page
    assert page.count("not there") == 12 + 2 and "30 images, " in page
    assert len(page) < 50_000 and "script-src &#39;none&#39;" in page
    uris = [json.loads(x)["uri"] for x in (tmp_path / "out/drop.jsonl").read_text().splitlines()]
    assert len(uris) == 30 and {row.uri for row in rows} > set(uris)


def test_a_page_may_be_bounded_or_left_out(data, tmp_path, dedup, monkeypatch):
    dedup(data, tmp_path / "one", "--samples=1")
    assert (tmp_path / "one/index.html").read_text().count("<figure") == 2
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "install the extra [report]" in dedup(data, tmp_path / "two", code=2)
    assert not (tmp_path / "two").exists()
    dedup(data, tmp_path / "none", "--samples=0")
    assert files(tmp_path / "none") == [name for name in _RESULT if name != "index.html"]


def test_a_later_night_keeps_what_was_kept(data, tmp_path, dedup):
    first, second = tmp_path / "first", tmp_path / "second"
    dedup(data, first)
    kept = _names(first / "keep.jsonl")
    # The new ones are larger, and would be kept without the night before.
    new = [Row("a-large", (1, 0, 0.001), (99, 99)), Row("c", (0, 0, 1)), Row("c-2", (0, 0, 1))]
    write_run(data, new, run_id="2", finished="2026-01-02T00:00:00+00:00")
    record = dedup(data, second, f"--since={first}")
    assert _names(second / "keep.jsonl") == {*kept, "c"} or {*kept, "c-2"}
    assert "a-large" in _names(second / "drop.jsonl")
    assert record["counts"]["rows"] == 9 and record["runs"].keys() == {"1", "2"}
    assert record["since"]["directory"] == str(first)
    assert (
        record["since"]["fingerprint"]
        == json.loads((first / "dedup.json").read_text())["fingerprint"]
    )
    dedup(data, tmp_path / "whole")
    assert "a-large" in _names(tmp_path / "whole/keep.jsonl")


def test_what_a_night_cannot_go_on_from(data, tmp_path, dedup):
    first, out = tmp_path / "first", tmp_path / "out"
    dedup(data, first)

    def refused(*options):
        error = dedup(data, out, f"--since={first}", *options, code=2)
        assert not out.exists()
        return error

    assert "was found with --threshold=0.98, now it is 0.9" in refused("--threshold=0.9")
    shutil.copytree(data / "1", tmp_path / "1")
    rewrite(data / "1", lambda record: record["model"].update(content_hash="other"))
    assert "has compared other vectors (model m (hash h) -> m (hash other))" in refused()
    shutil.rmtree(data / "1")
    write_run(data, _ROWS, run_id="2")
    assert f"has compared the run 1, which is not in {data}" in refused()
    (data / "2").rename(tmp_path / "2")
    (tmp_path / "1").rename(data / "1")
    groups = first / "groups.parquet"
    groups.write_bytes(groups.read_bytes()[:-1])
    assert "groups.parquet is damaged" in refused()
    (first / "dedup.json").write_text('{"format_version": 1}')
    assert "is not of `image-features dedup`" in refused()
    (first / "dedup.json").unlink()
    assert "holds no duplicates" in refused()


def test_what_cannot_be_done_is_said_before_any_work(data, tmp_path, dedup):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    for output in (tmp_path / "full", data, data / "1"):
        assert "exists already and holds no duplicates" in dedup(data, output, code=2)
    for option in ("--threshold=0", "--threshold=1.1", "--threshold=nan", "--samples=-1"):
        assert option.partition("=")[0] in dedup(data, tmp_path / "out", option, code=2)
    assert "no committed run" in dedup(tmp_path / "none", tmp_path / "out", code=2)
    assert "see --features" in dedup(data, tmp_path / "out", "--features=x", code=2)
    (data / "1/features-00000-of-00002.tfrecord").unlink()
    assert "has lost features-00000" in dedup(data, tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


def test_a_damaged_shard_is_named_and_nothing_committed(data, tmp_path, dedup):
    for shard in (data / "1").glob("features-*"):
        shard.write_bytes(shard.read_bytes()[:-4] + b"xxxx")
    error = dedup(data, tmp_path / "out", code=1)
    assert "is damaged" in error and ".tfrecord" in error
    assert not (tmp_path / "out/dedup.json").exists()


def test_only_one_works_on_a_result(data, tmp_path, dedup, monkeypatch):
    out = tmp_path / "out"
    (out / ".staging").mkdir(parents=True)
    other = Claim(str(out / ".staging"))
    other.take()
    assert f"{out} is held" in dedup(data, out, code=4)
    assert not (out / "dedup.json").exists()
    other.give_up()
    dedup(data, out)
    assert files(out) == _RESULT


def test_what_a_dead_attempt_has_left_is_taken_up_begun_anew_or_cleared(data, tmp_path, dedup):
    out, staging = tmp_path / "out", tmp_path / "out/.staging"
    staging.mkdir(parents=True)
    (staging / "launch.json").write_text('{"fingerprint": "that of other rows"}')
    (staging / "keep.jsonl.part").touch()
    (out / "keep.jsonl").write_text("of other rows")
    dedup(data, out)
    assert files(out) == _RESULT and _names(out / "keep.jsonl") >= {"a-near", "a-far"}
    # It dies again, just when it has committed.
    staging.mkdir()
    (staging / "launch.json").write_text("{}")
    dedup(data, out)
    assert files(out) == _RESULT


@dataclasses.dataclass(frozen=True)
class _Served(Row):
    server: str = ""

    @property
    def uri(self):
        return f"{self.server}{self.name}"


@pytest.mark.slow
def test_what_is_killed_or_stopped_ends_with_the_same_bytes(tmp_path, dedup):
    out, place = tmp_path / "out", tmp_path / "data"
    with ImageServer({}) as server:
        rows = [_Served(f"slow/{i}", (1, 0, 0), server=server.url("")) for i in range(3)]
        write_run(place, rows)
        command = [sys.executable, "-m", "image_features", "dedup", str(place), str(out)]
        for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
            before = server.hits.total()
            process = subprocess.Popen(
                [*command, "--allow_private_hosts"], stderr=subprocess.PIPE, text=True
            )
            try:
                deadline = time.monotonic() + 120
                while server.hits.total() == before and time.monotonic() < deadline:
                    assert process.poll() is None, process.stderr.read()
                    time.sleep(0.05)
                os.kill(process.pid, number)
                _, error = process.communicate(timeout=60)
            finally:
                process.kill()
            assert process.returncode == code
            assert "Traceback" not in error
            if number == signal.SIGINT:
                assert "image-features: interrupted; the run is not committed." in error
            assert not (out / "dedup.json").exists()
    # Nobody answers any more, so that the page has no pictures.
    dedup(place, out, "--allow_private_hosts")
    dedup(place, tmp_path / "whole", "--allow_private_hosts")
    assert files(out) == files(tmp_path / "whole") == _RESULT
    for name in _RESULT[1:]:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_result_on_gs(data, tmp_path, dedup, monkeypatch):
    with emulator(monkeypatch, "images") as bucket:
        record = dedup(data, "gs://images/first")
        dedup(data, tmp_path / "here")
        for name in _RESULT[1:]:
            stored = bucket.blob(f"first/{name}").download_as_bytes()
            assert stored == (tmp_path / "here" / name).read_bytes()
        assert json.loads(bucket.blob("first/dedup.json").download_as_bytes()) == record
        again = dedup(data, "gs://images/second", "--since=gs://images/first")
        assert again["counts"] == record["counts"]
        assert dedup(data, "gs://images/second", "--since=gs://images/first") == again
        names = {blob.name for blob in bucket.client.list_blobs("images")}
        assert names == {f"{place}/{name}" for place in ("first", "second") for name in _RESULT}


def test_columns_with_the_names_of_others_and_options_of_archives(data):
    def having(run):
        columns = [Column("uri", Kind.STRING), Column("a,b", Kind.INT64), Column("n:m", Kind.INT64)]
        run["columns"] = [column.to_json() for column in columns]
        run["archives"] = {"image_member": ["png", "jpg"], "image_column": "picture"}

    rewrite(data / "1", having)
    fields = ManifestFields.of([Run.read(str(data / "1"))])
    assert fields.uri == "image/uri"
    assert fields.options == (
        *("--uri_column=image/uri", "--column_types=uri:string,n:m:int64"),
        *("--image_member=png,jpg", "--image_column=picture"),
    )
