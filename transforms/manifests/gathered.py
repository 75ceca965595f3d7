"""Rows of archives, gathered so that many become references at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from image_features.transforms.manifests.fitting import size_of
from image_features.transforms.manifests.plain import Plainly, PlainRows
from image_features.transforms.manifests.rows import ManifestRow

# So many rows are made arrays of at once, fewer if their columns are large.
_BATCH_ROWS = 1024
_BATCH_BYTES = 8 * 2**20


def gathered(
    rows: Iterable[PlainRows | ManifestRow], plainly: Plainly
) -> Iterator[PlainRows | ManifestRow]:
    """Yields rows in their order, those of archives many at once where all are plainly sound."""
    batch: list[ManifestRow] = []
    size = 0
    failure = None
    try:
        for row in rows:
            if isinstance(row, ManifestRow) and row.place is not None:
                batch.append(row)
                size += sum(map(size_of, row.values.values())) if row.values else 0
                if len(batch) < _BATCH_ROWS and size <= _BATCH_BYTES:
                    continue
            full, batch, size = batch, [], 0
            if full:
                yield from _as_one(full, plainly)
            if not full or full[-1] is not row:
                yield row
    except Exception as error:  # The rows before it count.
        failure = error
    if batch:
        yield from _as_one(batch, plainly)
    if failure:
        raise failure


def _as_one(rows: list[ManifestRow], plainly: Plainly) -> Iterable[PlainRows | ManifestRow]:
    found = plainly.members(rows)
    return rows if found is None else [found]
