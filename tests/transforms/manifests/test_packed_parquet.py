"""Parquet files that hold images, and which of their columns those are."""

from __future__ import annotations

import base64
import io
import json
import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest

from image_features.transforms.archives import spans
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.parquet_column import ImageColumnError
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.manifests.formats import ManifestFormat, read_rows
from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.rows import ManifestError
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.read_manifest import read_all
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.values import ImageError, ImageRef, PackedRefs, Reason
from tests.images import encode, noise
from tests.range_server import RangeServer

_IMAGES = [encode(noise(seed)) for seed in range(6)]


class _Read:
    """What an input is read as.

    Attributes:
      columns: The types of the other columns by name.
      rows: The rows that name images, by their URIs.
      errors: The rows that failed before they were fetched.
      images: The bytes or the reason of each row, in order, for rows in archives.
    """

    def __init__(self, *inputs, uri_column=None, column=""):
        archives = ArchiveOptions(column=column)
        spec = examine(
            find_sources([str(path) for path in inputs]),
            uri_column=uri_column,
            declared={},
            http=HttpPolicy(),
            archives=archives,
        ).spec
        found = list(read_all(spec))
        self.columns = {column.name: str(column) for column in spec.columns}
        self.errors = [row for row in found if isinstance(row, ImageError)]
        self.rows = {row.uri: row for row in found if not isinstance(row, ImageError)}
        fetcher = Fetcher(FetchPolicy(archives=archives))
        self.images = []
        for ref in self.rows.values():
            if "!/" in ref.uri:
                packed = PackedRefs(ref.uri.split("!/")[0], (ref,))
                (image,) = fetcher.fetch_packed(packed)
                failed = isinstance(image, ImageError)
                self.images.append(image.reason if failed else image.data)
        fetcher.close()

    def values(self, name):
        return [dict(row.columns)[name] for row in self.rows.values()]


def _write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize(
    "images",
    [
        pa.array(_IMAGES),
        pa.array(_IMAGES, pa.large_binary()).dictionary_encode(),
        pa.array([{"bytes": image, "path": None} for image in _IMAGES]),
        pa.array([None, b"damaged", *_IMAGES]),
    ],
    ids=["bytes", "dictionary", "struct", "damaged"],
)
def test_the_column_of_images_is_found(tmp_path, images):
    columns = {"label": range(len(images)), "any": images, "hash": [b"\1\2"] * len(images)}
    columns["box"] = [{"x": 1, "path": "a"}] * len(images)
    read = _Read(_write(tmp_path / "a.parquet", columns, row_group_size=4))
    assert read.columns == {"label": "int64?", "hash": "bytes?", "box": "string?"}
    assert list(read.rows) == [f"{tmp_path}/a.parquet!/row/{row}" for row in range(len(images))]
    assert [row.row for row in read.rows.values()] == list(range(1, len(images) + 1))
    assert read.values("label") == list(range(len(images)))
    assert read.images[-6:] == _IMAGES
    assert read.images[:-6] in ([], [Reason.NOT_FOUND, b"damaged"])
    assert all(row.version.startswith("member:") for row in read.rows.values())


def test_files_of_pandas(tmp_path):
    frame = pd.DataFrame(
        {"i": _IMAGES, "when": pd.Timestamp("2020-01-01", tz="UTC")}, index=[*"abcdef"]
    )
    frame.to_parquet(tmp_path / "a.parquet")
    read = _Read(tmp_path / "a.parquet")
    assert read.images == _IMAGES
    assert read.columns == {"when": "string?", "__index_level_0__": "string?"}


def test_files_of_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    import datasets

    audio = {"bytes": b"RIFF", "path": "a.wav"}
    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=["cat", "dog"]),
        title=datasets.Value("string"),
    )
    rows = [
        {"image": {"bytes": image, "path": f"{i}.jpg"}, "label": i % 2, "title": f"t{i}"}
        for i, image in enumerate(_IMAGES)
    ]
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_list(rows, features).to_parquet(str(path), batch_size=4)
    read = _Read(tmp_path)  # It is found in a directory, too.
    assert read.columns == {"label": "int64?", "title": "string?"}
    assert read.values("label") == [0, 1] * 3
    assert read.images == _IMAGES
    # What is written there comes back to `datasets` as the same rows.
    again = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "c")).cast_column(
        "image", datasets.Image(decode=False)
    )
    assert [row["image"]["bytes"] for row in again] == read.images
    # Sounds are such structs, too: the description of the file tells which are images.
    info = {"info": {"features": {"image": {"_type": "Image"}, "sound": {"_type": "Audio"}}}}
    table = pa.table({"image": [{"bytes": b"?", "path": "a"}], "sound": [audio]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    read = _Read(_write(tmp_path / "a.parquet", table))
    assert (read.images, list(read.columns)) == ([b"?"], ["sound"])


def test_a_file_that_may_be_both_is_not_guessed_about(tmp_path):
    # img2dataset writes both.
    path = _write(tmp_path / "a.parquet", {"url": ["http://a/b.jpg"] * 6, "jpg": _IMAGES})
    for found in (path, tmp_path):
        with pytest.raises(ImageColumnError, match=r"say --image_column=jpg or --uri_column=url"):
            _Read(found)
    read = _Read(path, column="jpg")
    assert (read.images, read.columns) == (_IMAGES, {"url": "string?"})
    read = _Read(path, uri_column="url")
    assert (list(read.rows), list(read.columns)) == (["http://a/b.jpg"], ["jpg"])
    # The option is about another input.
    assert _Read(path, uri_column="photo").images == _IMAGES
    with pytest.raises(ImageColumnError, match=r"has no column --image_column=png; its images are"):
        _Read(path, column="png")


@pytest.mark.parametrize(
    ("columns", "column", "words"),
    [
        ({"a": _IMAGES, "b": _IMAGES}, "", "'a' and 'b' of .*a.parquet hold images; say which"),
        ({"a": [_IMAGES]}, "a", "'a' of .* is list<.*>, which is neither bytes nor a struct"),
        ({"a": ["x"]}, "b", "no column --image_column=b; its columns are 'a'"),
        ({"a": [b"x"]}, "", "no URI column"),
        ({"a": [{"bytes": _IMAGES[0], "path": "a", "x": 1}]}, "", "no URI column"),
    ],
)
def test_a_column_that_cannot_be_told_is_said(tmp_path, columns, column, words):
    with pytest.raises(ValueError, match=words):
        _Read(_write(tmp_path / "a.parquet", columns), column=column)


def test_one_of_several_columns_of_images(tmp_path):
    path = _write(tmp_path / "a.parquet", {"a": _IMAGES[:3], "b": _IMAGES[3:]})
    read = _Read(path, column="b")
    assert (read.images, read.values("a")) == (_IMAGES[3:], _IMAGES[:3])


def test_a_manifest_stays_one(tmp_path):
    columns = {"uri": ["a.jpg", "b.jpg"], "hash": [b"\xff\xd8", b"\1"], "s": [{"bytes": b"x"}] * 2}
    path = _write(tmp_path / "a.parquet", columns)
    for column in ("", "jpg"):
        read = _Read(path, column=column)
        assert list(read.rows) == [f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"]
        assert read.columns == {"hash": "bytes", "s": "string"}


def test_what_a_directory_has_beside_images(tmp_path):
    (tmp_path / "a.jpg").write_bytes(_IMAGES[0])
    _write(tmp_path / "00000.parquet", {"url": ["http://a/b.jpg"], "key": ["000"]})
    read = _Read(tmp_path)
    assert (list(read.rows), read.errors, read.columns) == ([f"{tmp_path}/a.jpg"], [], {})
    _write(tmp_path / "00000.parquet", {"png": _IMAGES})
    data = (tmp_path / "00000.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[:-9])
    read = _Read(tmp_path)
    assert (len(read.rows), read.images) == (7, _IMAGES)
    (failed,) = read.errors
    assert (failed.reason, failed.ref.uri) == (Reason.CORRUPT_ARCHIVE, f"{tmp_path}/cut.parquet")
    # One that is named itself ends the launch.
    with pytest.raises(ManifestError, match=r"cut.parquet cannot be read as Parquet"):
        _Read(tmp_path / "cut.parquet")


def test_a_manifest_may_name_the_file_and_its_rows(tmp_path):
    _write(tmp_path / "a.parquet", {"i": _IMAGES, "label": range(6)}, row_group_size=2)
    (tmp_path / "m.csv").write_text("uri,split\na.parquet!/row/4,test\na.parquet!/row/9,test\n")
    assert _Read(tmp_path / "m.csv").images == [_IMAGES[4], Reason.NOT_FOUND]
    (tmp_path / "m.csv").write_text("uri,split,label\na.parquet,train,9\n")
    spec = examine(
        find_sources([str(tmp_path / "m.csv")]),
        uri_column=None,
        declared={"label": Column("label", Kind.INT64)},
        http=HttpPolicy(),
    ).spec
    rows = [dict(row.columns) for row in read_all(spec) if isinstance(row, ImageRef)]
    assert rows == [{"split": "train", "label": label} for label in range(6)]


def test_damage_in_other_columns_costs_the_rows_of_its_group(tmp_path):
    path = tmp_path / "a.parquet"
    _write(path, {"i": _IMAGES, "label": range(6)}, row_group_size=2)
    data = bytearray(path.read_bytes())
    begin = pq.read_metadata(path).row_group(1).column(1).dictionary_page_offset
    data[begin : begin + 8] = b"\xff" * 8
    path.write_bytes(data)
    read = _Read(path)
    assert read.images == _IMAGES[:2] + _IMAGES[4:]
    assert [error.ref.uri for error in read.errors] == [f"{path}!/row/2", f"{path}!/row/3"]
    assert {error.reason for error in read.errors} == {Reason.CORRUPT_ARCHIVE}
    assert {dict(error.ref.columns)["label"][0] for error in read.errors} == {None}


class _Kms(encryption.KmsClient):
    def __init__(self):
        super().__init__()

    def wrap_key(self, key_bytes, master_key_identifier):
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key, master_key_identifier):
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_an_encrypted_file_has_a_reason_of_its_own(tmp_path, plaintext_footer):
    properties = encryption.CryptoFactory(lambda _: _Kms()).file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(
            "k", column_keys={"k": ["i"]}, plaintext_footer=plaintext_footer
        ),
    )
    path = tmp_path / "a.parquet"
    table = pa.table({"i": _IMAGES})
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    (error,) = _Read(tmp_path).errors
    assert (error.reason, error.ref.uri) == (Reason.ENCRYPTED, str(path))
    with pytest.raises(ManifestError, match=r"a.parquet cannot be read.* decrypt"):
        _Read(path)


def test_a_file_of_images_without_the_suffix_is_refused(tmp_path):
    path = _write(tmp_path / "a", {"i": _IMAGES})
    with pytest.raises(ImageColumnError, match=r"rename it so that it ends in .parquet"):
        list(
            read_rows(str(path), format=ManifestFormat.PARQUET, uri_column=None, http=HttpPolicy())
        )


def test_more_rows_than_bytes_are_damage(tmp_path):
    path = tmp_path / "a.parquet"
    indices = pa.array([0] * 2_000_000, pa.int32())
    _write(path, {"i": pa.DictionaryArray.from_arrays(indices, pa.array(_IMAGES[:1]))})
    with pytest.raises(
        ManifestError, match=r"a.parquet cannot be read: .* more rows than .* bytes"
    ):
        _Read(path)
    (error,) = _Read(tmp_path).errors
    assert error.reason is Reason.CORRUPT_ARCHIVE


def test_groups_of_rows_are_joined_and_never_divided(tmp_path, monkeypatch):
    monkeypatch.setattr(spans, "SPAN_ROWS", 3)
    path = _write(tmp_path / "a.parquet", {"i": _IMAGES}, row_group_size=2)
    places = [row.place for row in _Read(path).rows.values()]
    assert [place.span for place in places] == [0, 0, 0, 0, 1, 1]
    assert [place.begin for place in places] == [0, 1, 2, 3, 4, 5]


def test_a_file_behind_a_network_is_read_in_few_requests(monkeypatch):
    monkeypatch.setattr(spans, "SPAN_ROWS", 100)
    images = [b"\xff\xd8\xff" + os.urandom(30_000) for _ in range(200)]
    file = io.BytesIO()
    pq.write_table(pa.table({"image": images}), file, row_group_size=20)
    with RangeServer(file.getvalue()) as server:
        location = server.url("a.parquet")
        http = HttpPolicy(allow_private_hosts=True)
        rows = list(read_rows(location, format=ManifestFormat.PARQUET, uri_column=None, http=http))
        # The footer, and the first images to see that they are some.
        assert (len(rows), len(server.asked)) == (200, 2)
        server.asked.clear()
        fetcher = Fetcher(FetchPolicy(http=http))
        refs = [ImageRef(row.uri, "", place=row.place) for row in rows if row.place.span == 1]
        read = list(fetcher.fetch_packed(PackedRefs(location, tuple(refs))))
        fetcher.close()
        assert [image.data for image in read] == images[100:]
        assert {image.version for image in read} <= {row.version for row in rows}
        assert len(server.asked) == 2
