"""How tables of references go from one step to the next."""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from image_features.transforms.shards.ref_table import RefTable


def giving_tables(step: beam.ParDo) -> Any:
    """Tells Beam that the main output of a step are RefTables.

    They are packed where they leave a worker, and not between the steps of one bundle.
    """
    return step.with_output_types(RefTable)


class _RefTableCoder(beam.coders.Coder):
    def encode(self, value: RefTable) -> bytes:
        return value.packed()

    def decode(self, encoded: bytes) -> RefTable:
        return RefTable.unpacked([encoded])

    def estimate_size(self, value: RefTable) -> int:
        # Beam asks often, and would pack the table to see.
        return int(value.table.nbytes)

    def to_type_hint(self) -> type:
        return RefTable


beam.coders.registry.register_coder(RefTable, _RefTableCoder)
