"""Nights over photographs of cameras by their previews."""

import pytest

from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.records import blocks, open_shard
from image_features.pipeline.dataset.run import latest_run, read_record
from image_features.pipeline.dedup.rows import Rows
from image_features.transforms.shards.index import read_index
from tests import images
from tests.datasets import counts, names
from tests.images.camera import Exif, photograph


@pytest.fixture
def photos(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir()
    for number in range(3):
        picture = images.noise(number, 640, 480)
        exif = Exif(images.encode(picture.resize((160, 120))), 6)
        (directory / f"{number}.jpg").write_bytes(photograph(picture, exif))
    (directory / "same.jpg").write_bytes((directory / "0.jpg").read_bytes())
    images.write(directory / "plain.jpg", 7)
    (directory / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return directory


def test_nights_by_previews(night, photos, capfd):
    first = night("1", "--decode=preview", "--num_shards=1")
    assert counts(first) == (6, 5, 1, 0, 0)
    assert read_record(str(first))["preprocessing"]["decode"] == "preview"
    run = latest_run(str(first))
    with open_shard(run, run.files()[0]) as file:
        records = [record for block in blocks(run, file) for record in block.records]
    hashes = {
        record.text("image/uri").rpartition("/")[2]: record.text("image/sha256")
        for record in records
    }
    whole = {name for name, told in hashes.items() if told}
    assert whole == {"plain.jpg"} and len(hashes) == 5
    index = read_index(str(next(first.glob("*.parquet"))), ["sha256"])["sha256"].to_pylist()
    assert sorted(index)[:4] == [bytes(32)] * 4 and sorted(index)[4] != bytes(32)
    # Two rows without a hash are not of one file, though these are.
    assert Rows.read(LatestRows([run])).count_files() == 5
    picture = images.noise(8, 640, 480)
    changed = photograph(picture, Exif(images.encode(picture.resize((160, 120)))))
    (photos / "1.jpg").write_bytes(changed)
    assert names(night("2", "--decode=preview")) == ["1.jpg"]
    # Every night would take each of them for changed.
    night("3", "--decode=preview", "--verify_content", code=2)
    assert "--verify_content compares whole files" in capfd.readouterr().err
