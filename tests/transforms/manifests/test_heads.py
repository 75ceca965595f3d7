"""What the heads of all sources tell together."""

import pytest

from image_features.transforms.manifests.columns import Column, Kind, parse_column_types
from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.read_manifest import read_source
from image_features.transforms.stores.http import HttpPolicy


def test_a_column_that_one_source_lacks_may_be_absent(tmp_path):
    (tmp_path / "a.csv").write_text("uri,label\na.jpg,1\n")
    (tmp_path / "b.csv").write_text("uri,other\nb.jpg,x\n")
    (tmp_path / "c.txt").write_text("c.jpg\n")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "d.jpg").write_bytes(b"x")
    for names in (("a.csv", "photos"), ("a.csv", "c.txt"), ("a.csv", "b.csv"), ("b.csv", "a.csv")):
        found = examine(
            find_sources([str(tmp_path / name) for name in names]),
            uri_column=None,
            declared=parse_column_types("label:int64"),
            http=HttpPolicy(),
        )
        assert found.spec.schema["label"] == Column("label", Kind.INT64, nullable=True)
        rows = [row for source in found.spec.sources for row in read_source(source, found.spec)]
        labels = {row.uri[-5:]: dict(row.columns)["label"] for row in rows}
        assert labels.pop("a.jpg") == 1
        assert list(labels.values()) == [None]


@pytest.mark.parametrize(
    ("names", "declared", "unseen"),
    [
        (("a.csv",), "lable:int64", ("lable",)),
        (("a.csv", "photos"), "lable:int64?,label:int64", ("lable",)),
        (("head.csv", "photos"), "label:int64", ()),
        (("empty.jsonl",), "label:int64", ()),
        (("few.jsonl",), "label:int64?", ("label",)),
        (("many.jsonl",), "label:int64?", ()),
        (("many.jsonl",), "label:int64", ("label",)),
    ],
)
def test_declared_columns_that_nothing_has_are_told(tmp_path, names, declared, unseen):
    (tmp_path / "a.csv").write_text("uri,label\na.jpg,1\n")
    (tmp_path / "head.csv").write_text("uri,label\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "few.jsonl").write_text('{"uri": "a.jpg"}\n' * 3)
    (tmp_path / "many.jsonl").write_text('{"uri": "a.jpg"}\n' * 1001)
    (tmp_path / "photos").mkdir()
    found = examine(
        find_sources([str(tmp_path / name) for name in names]),
        uri_column=None,
        declared=parse_column_types(declared),
        http=HttpPolicy(),
    )
    assert found.unseen == unseen
