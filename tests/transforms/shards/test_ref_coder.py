"""Tables of references are packed where they leave a worker, and nowhere else."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from image_features.transforms.shards.ref_coder import giving_tables
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.values import ImageRef

REFS = [ImageRef(f"/{row}.jpg", f"{row:032x}", "/m\udcff.txt", row) for row in range(9)]


class _TablesDoFn(beam.DoFn):
    def process(self, start):
        table = RefTable.of(REFS[start : start + 3], ())
        yield table
        yield beam.pvalue.TaggedOutput("rows", len(table))


def _counted(monkeypatch):
    packs = []
    packed = RefTable.packed
    monkeypatch.setattr(RefTable, "packed", lambda table: packs.append(table) or packed(table))
    return packs


def _made(pipeline):
    return (
        pipeline
        | beam.Create([0, 3, 6], reshuffle=False)
        | giving_tables(beam.ParDo(_TablesDoFn())).with_outputs("rows", main="tables")
    )


def test_a_coder_packs_what_is_shuffled(monkeypatch):
    packs = _counted(monkeypatch)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        made = _made(pipeline)
        assert made.tables.element_type is RefTable
        refs = made.tables | "Shuffle" >> beam.Reshuffle() | beam.FlatMap(RefTable.refs)
        assert_that(refs, equal_to(REFS), label="Refs")
        assert_that(made.rows, equal_to([3, 3, 3]), label="Rows")
    assert len(packs) >= 3


def test_steps_of_one_bundle_pass_tables_on(monkeypatch):
    packs = _counted(monkeypatch)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        made = _made(pipeline)
        rows = made.tables | beam.Map(len)
        assert_that(rows, equal_to([3, 3, 3]))
    assert packs == []


def test_a_table_comes_out_of_its_coder_as_it_was():
    coder = beam.coders.registry.get_coder(RefTable)
    table = RefTable.of(REFS, ())
    assert list(coder.decode(coder.encode(table)).refs()) == REFS
    assert 0 < coder.estimate_size(table) < 10_000
    assert coder.to_type_hint() is RefTable
