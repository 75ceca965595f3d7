"""Manifest, images and output on gs://, through Beam's own client and a server on loopback."""

import pytest

from tests import images
from tests.gcs import emulator

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(monkeypatch):
    with emulator(monkeypatch, "images") as bucket:
        yield bucket


def test_a_run_on_gs(bucket):
    from pipeline import cli, dataset, inspection
    from pipeline.layout import find_run

    for i in range(5):
        bucket.blob(f"in/{i}.jpg").upload_from_string(images.encode(images.noise(i)))
    bucket.blob("in/m.csv").upload_from_string(
        "uri,label\n" + "".join(f"{i}.jpg,x\n" for i in range(6))
    )
    beam = ["--no_auth", "--project=p"]
    for source, failed in (("gs://images/in/m.csv", 1), ("gs://images/in", 0)):
        output = f"gs://images/out-{failed}"
        arguments = [f"--input={source}", f"--output={output}", "--run_id=run", "--num_shards=2"]
        assert cli.main(["extract", "--model=untrained", *arguments, *beam]) == 0
        directory, run = find_run(output)
        assert directory.rstrip("/") == f"{output}/run"
        counts = run["counts"]
        assert (counts["rows_out"], counts["rows_failed"]) == (5, failed)
        assert inspection.verify(output) == []
        assert sorted(dataset.load_numpy(output).uris) == [
            f"gs://images/in/{i}.jpg" for i in range(5)
        ]
        names = {blob.name for blob in bucket.client.list_blobs("images", prefix=f"out-{failed}/")}
        assert not [name for name in names if ".staging" in name]
        # Once more: it is done.
        assert cli.main(["extract", "--model=untrained", *arguments, *beam]) == 0
