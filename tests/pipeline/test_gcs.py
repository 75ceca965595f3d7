"""Manifest, images and output on gs://, through Beam's own client and a server on loopback."""

import json

import pytest

from tests import images
from tests.gcs import emulator
from tests.written import write_run

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


def test_exports_on_gs(bucket, tmp_path, capsys):
    from image_features.pipeline.cli import main as cli
    from image_features.pipeline.dataset.export import exports_in

    def export(*options, target="gs://images/exported", code=0):
        assert cli.main(["export", "gs://images/out", target, *options]) == code

    def upload(run):
        for path in run.iterdir():
            bucket.blob(f"out/{run.name}/{path.name}").upload_from_filename(str(path))

    upload(write_run(tmp_path / "out", "1", {"a": 1, "b": 1}))
    export()
    # An attempt at other rows has died before it could commit.
    bucket.blob("exported/.changes/000001/.staging/launch.json").upload_from_string(
        json.dumps({"fingerprint": "other"})
    )
    upload(write_run(tmp_path / "out", "2", {"b": 2, "c": 2}, gone=["a"], day=2))
    export("--since=last")
    first, second = exports_in("gs://images/exported")
    assert (first.counts.rows_out, second.counts.rows_out, second.counts.rows_removed) == (2, 2, 1)
    names = {blob.name for blob in bucket.client.list_blobs("images", prefix="exported/")}
    files = [
        f"{export.directory}/{file.name}" for export in (first, second) for file in export.all_files
    ]
    files += [f"{export.directory}/.export.json" for export in (first, second)]
    assert {f"gs://images/{name}" for name in names} == set(files)
    export("--since=last")
    assert "nothing has changed" in capsys.readouterr().out
    # The same rows are the same bytes on a disk.
    assert cli.main(["export", str(tmp_path / "out"), str(tmp_path / "here")]) == 0
    export(target="gs://images/again")
    for path in sorted((tmp_path / "here").glob("*.parquet")):
        assert path.read_bytes() == bucket.blob(f"again/{path.name}").download_as_bytes()
    capsys.readouterr()
    export(target="gs://images", code=2)
    assert "it is a whole bucket; name a directory in it." in capsys.readouterr().err
    export(target="gs://images/out", code=2)
    assert "gs://images/out is the dataset itself" in capsys.readouterr().err
