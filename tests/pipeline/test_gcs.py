"""Manifest, images and output on gs://, through Beam's own client and a server on loopback."""

import json

import pytest

from tests import images
from tests.gcs import emulator

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch):
    with emulator(monkeypatch, "images") as bucket:
        yield bucket


def test_a_run_on_gs(bucket):
    from image_features.pipeline.cli import main as cli
    from image_features.pipeline.dataset import inspection
    from image_features.pipeline.dataset import reading as dataset
    from image_features.pipeline.dataset.run import latest_run

    for i in range(5):
        bucket.blob(f"in/{i}.jpg").upload_from_string(images.encode(images.noise(i)))
    bucket.blob("in/m.csv").upload_from_string(
        "uri,label\n" + "".join(f"{i}.jpg,x\n" for i in range(6))
    )
    for source, failed in (("gs://images/in/m.csv", 1), ("gs://images/in", 0)):
        output = f"gs://images/out-{failed}"
        arguments = [f"--input={source}", f"--output={output}", "--run_id=run", "--num_shards=2"]
        assert cli.main(["extract", "--model=untrained", *arguments]) == 0
        found = latest_run(output)
        directory, run = found.directory, found.record
        assert directory.rstrip("/") == f"{output}/run"
        counts = run["counts"]
        assert (counts["rows_out"], counts["rows_failed"]) == (5, failed)
        assert inspection.verify(latest_run(output)) == []
        assert sorted(dataset.load_numpy(output).uris) == [
            f"gs://images/in/{i}.jpg" for i in range(5)
        ]
        names = {blob.name for blob in bucket.client.list_blobs("images", prefix=f"out-{failed}/")}
        assert not [name for name in names if ".staging" in name]
        # Once more: it is done.
        assert cli.main(["extract", "--model=untrained", *arguments]) == 0


def test_a_dataset_on_gs_is_searched_and_reported_on(bucket, tmp_path, capsys):
    from image_features.pipeline.cli import main as cli

    for i in range(6):
        bucket.blob(f"in/{i}.jpg").upload_from_string(images.encode(images.noise(i)))
    bucket.blob("m.txt").upload_from_string("in/3.jpg")
    arguments = ["--output=gs://images/out", "--num_shards=2"]
    for run, source in (("first", "in"), ("second", "m.txt")):
        options = [f"--input=gs://images/{source}", f"--run_id={run}", *arguments]
        assert cli.main(["extract", "--model=untrained", *options]) == 0
    capsys.readouterr()
    for index in ("never", "always"):
        options = ["-k", "6", "--json", f"--index={index}"]
        assert cli.main(["search", "gs://images/out", "gs://images/in/3.jpg", *options]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {row["uri"] for row in found} == {f"gs://images/in/{i}.jpg" for i in range(6)}
        assert (found[0]["uri"], found[0]["run_id"]) == ("gs://images/in/3.jpg", "second")
        assert found[0]["similarity"] == pytest.approx(1)
    pages = []
    for page in (str(tmp_path / "page.html"), "gs://images/page.html"):
        assert cli.main(["report", "gs://images/out", f"--output={page}"]) == 0
        assert "6 images sampled, 6 of 6 thumbnails" in capsys.readouterr().out
        pages.append(page)
    written = bucket.blob("page.html").download_as_bytes()
    assert written == (tmp_path / "page.html").read_bytes()
    assert b"second" in written and b"first" in written
