from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards import ref_table
from image_features.transforms.shards.ref_table import PackRefs, RefTable
from image_features.transforms.values import ImageRef


@pytest.mark.parametrize("repeated", [False, True])
def test_rows_with_long_values_are_packed_in_small_tables(monkeypatch, repeated):
    monkeypatch.setattr(ref_table, "_BYTES_PER_TABLE", 10_000)
    text = "x" * 3000
    value = [text, text] if repeated else text
    refs = [ImageRef(f"u{n}", f"{n:032x}", "m", n, (("t", value),)) for n in range(12)]
    columns = [Column("t", Kind.STRING, repeated)]

    def check(packs):
        tables = [RefTable.unpacked([packed]) for packed in packs]
        assert max(map(len, tables)) == (2 if repeated else 4)
        found = sorted((ref for table in tables for ref in table.refs()), key=lambda ref: ref.row)
        assert found == refs

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        assert_that(pipeline | beam.Create(refs, reshuffle=False) | PackRefs(columns), check)
