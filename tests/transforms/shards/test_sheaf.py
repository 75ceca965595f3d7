"""Sheaves: each part is read alone, and what is not whole is told."""

from __future__ import annotations

import hashlib
import os
import pathlib

import numpy as np
import numpy.typing as npt
import pytest

from image_features.transforms.shards import earlier_pieces
from image_features.transforms.shards.earlier_pieces import EarlierPieces
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.pieces import merge_pieces
from image_features.transforms.shards.sheaf import (
    BrokenSheafError,
    are_read_alone,
    is_part,
    location_of,
    read_directory,
    read_part,
    write_sheaf,
)
from image_features.transforms.shards.staging import Content, ShardRow, stage
from tests.gcs import Access, emulator

PARTS = {7: b"seven", 0: b"", 10**6: bytes(1000)}


def test_parts_are_found_by_their_shards(tmp_path: pathlib.Path) -> None:
    path = f"{tmp_path}/a#1+1/sheaf-x"
    os.mkdir(os.path.dirname(path))
    locations = write_sheaf(path, PARTS, f"{path}.part")
    assert [read_part(location) for location in locations] == list(PARTS.values())
    directory = read_directory(path)
    assert directory["shard"].tolist() == list(PARTS)
    assert [location_of(path, entry) for entry in directory] == locations
    assert all(map(is_part, locations)) and not is_part(path)
    assert os.listdir(os.path.dirname(path)) == ["sheaf-x"]
    assert [are_read_alone(f"{scheme}x") for scheme in ("/", "gs://", "s3://")] == [1, 1, 0]


def test_what_is_no_whole_sheaf_is_told(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sheaf-x"
    locations = write_sheaf(str(path), PARTS, f"{path}.part")
    data = path.read_bytes()
    for kept in range(12 + 3 * 24):
        path.write_bytes(data[:kept])
        with pytest.raises(BrokenSheafError, match="does not match its checksum"):
            read_directory(str(path))
    for place in range(12 + 3 * 24):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(BrokenSheafError, match="does not match its checksum"):
            read_directory(str(path))
    # A part that is cut short is the piece's matter.
    path.write_bytes(data[:-1])
    assert read_part(locations[2]) == bytes(999)


def test_an_object_is_read_in_part(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sheaf-x"
    locations = write_sheaf(str(path), PARTS, f"{path}.part")
    with emulator(monkeypatch, "bucket", Access.EMULATOR) as bucket:
        bucket.blob("dir/sheaf-x").upload_from_filename(str(path))
        uri = "gs://bucket/dir/sheaf-x"
        found = [location_of(uri, entry) for entry in read_directory(uri)]
        assert found == [location.replace(str(path), uri) for location in locations]
        assert [read_part(location) for location in found] == list(PARTS.values())


def test_rows_of_an_earlier_attempt_are_taken_from_sheaves(tmp_path: pathlib.Path) -> None:
    naming = ShardNaming("features", str(tmp_path), str(tmp_path), ".tfrecord", "f")
    contents = [Content(shard) for shard in range(3)]
    keys = [hashlib.sha256(b"%d" % number).hexdigest()[:32] for number in range(30)]
    for number, key in enumerate(keys):
        contents[number % 3].add(ShardRow(number % 3, key, b"row %d" % number))
    pieces = stage(naming, contents)
    assert [piece.labels for piece in pieces] == [{"": 10}] * 3
    (sheaf,) = pathlib.Path(naming.pieces).iterdir()
    pathlib.Path(naming.pieces, "sheaf-broken").write_bytes(sheaf.read_bytes()[:50])

    found, taken = EarlierPieces(naming).take(1, keys[:6])
    assert taken == {keys[1], keys[4]}
    assert [piece.path for piece in found] == [pieces[1].path]
    out: list[bytes] = []
    chosen = [np.frombuffer(piece.chosen, "<u4") for piece in found]
    merge_pieces([piece.path for piece in found], out.append, chosen)
    assert sorted(out) == [b"row 1", b"row 4"]
    assert EarlierPieces(naming).take(5, keys) == ([], set())


def test_directories_are_read_once_for_all_shards(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naming = ShardNaming("features", str(tmp_path), str(tmp_path), ".tfrecord", "f")
    keys = [hashlib.sha256(b"%d" % number).hexdigest()[:32] for number in range(24)]
    for of_file in (keys[::2], keys[1::2]):
        contents = [Content(shard) for shard in range(12)]
        for content, key in zip(contents, of_file, strict=True):
            content.add(ShardRow(content.shard, key, b"row"))
        stage(naming, contents)
    read: list[str] = []

    def reading(path: str) -> npt.NDArray[np.void]:
        read.append(path)
        return read_directory(path)

    monkeypatch.setattr(earlier_pieces, "read_directory", reading)
    earlier = EarlierPieces(naming)
    for shard in range(12):
        assert earlier.take(shard, keys)[1] == set(keys[2 * shard : 2 * shard + 2])
    assert len(read) == 2
