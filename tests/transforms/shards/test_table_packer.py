from __future__ import annotations

import pytest

from image_features.transforms.manifests.columns import Column, Kind
from image_features.transforms.shards import table_packer
from image_features.transforms.shards.table_packer import TablePacker
from image_features.transforms.values import ImageRef


@pytest.mark.parametrize("repeated", [False, True])
def test_rows_with_long_values_are_packed_in_small_tables(monkeypatch, repeated):
    monkeypatch.setattr(table_packer, "_TABLE_BYTES", 10_000)
    value = ["x" * 3000, "y" * 3000] if repeated else "x" * 3000
    refs = [ImageRef(f"u{n}", f"{n:032x}", "m", n, (("t", value),)) for n in range(12)]
    packer = TablePacker([Column("t", Kind.STRING, repeated)])
    tables = [table for ref in refs for table in packer.add(ref)]
    tables += packer.rest()
    assert max(map(len, tables)) == (2 if repeated else 4)
    assert [ref for table in tables for ref in table.refs()] == refs
