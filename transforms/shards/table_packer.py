"""Tables of many references, made as references come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.fitting import size_of
from image_features.transforms.manifests.plain import PlainRows
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.values import ImageRef

# So many rows compress well, also when they are divided among hundreds of shards.
ROWS_PER_TABLE = 65_536
# Rows with large columns are fewer: manifests may hold embeddings or whole texts.
_TABLE_BYTES = 32 * 2**20
# So many objects are made arrays of at once.
_REFS = 4096


class TablePacker:
    """Gathers references in tables, as they come.

    Args:
      columns: The manifest columns that the references have.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._refs: list[ImageRef] = []
        self._tables: list[RefTable] = []
        self._rows = self._bytes = self._ref_bytes = 0

    def add(self, ref: ImageRef) -> Iterator[RefTable]:
        """Takes a reference; yields tables that are full."""
        self._refs.append(ref)
        if ref.columns:
            self._ref_bytes += sum(size_of(value) for _, value in ref.columns)
        if len(self._refs) >= _REFS or self._ref_bytes > _TABLE_BYTES:
            yield from self._take_refs()

    def add_rows(self, rows: PlainRows, source: str) -> Iterator[RefTable]:
        """Takes the rows of a manifest; yields tables that are full."""
        if self._refs and rows.places is not None:
            yield from self._take_refs()  # The rows of an archive stay in its order.
        yield from self._add(RefTable.of_rows(rows, source, self._columns))

    def rest(self) -> Iterator[RefTable]:
        """Yields what is left."""
        if self._refs:
            yield from self._take_refs()
        yield from self._pack()

    def _take_refs(self) -> Iterator[RefTable]:
        refs, self._refs, self._ref_bytes = self._refs, [], 0
        yield from self._add(RefTable.of(refs, self._columns))

    def _add(self, table: RefTable) -> Iterator[RefTable]:
        if self._rows + len(table) > ROWS_PER_TABLE:
            yield from self._pack()
        self._tables.append(table)
        self._rows += len(table)
        self._bytes += table.table.nbytes
        if self._bytes > _TABLE_BYTES:
            yield from self._pack()

    def _pack(self) -> Iterator[RefTable]:
        tables, self._tables = self._tables, []
        self._rows = self._bytes = 0
        if tables:
            yield RefTable.joined(tables)
