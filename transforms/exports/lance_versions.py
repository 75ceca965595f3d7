"""The versions of a Lance table, and the exports that have made some of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

# The property of a version that names the export which has made it.
EXPORT = "image_features.export"


class Committed(NamedTuple):
    """A version of a table that an export has made; without a name if it is not known."""

    name: str
    version: int


def last_export(table: Any) -> Committed:
    """Returns which export was committed last; others may have made versions since."""
    return next(exports_of(table), Committed("", 0))


def exports_of(table: Any) -> Iterator[Committed]:
    """Yields what exports have made, the last one first, as far as versions are there."""
    for version, transaction in _transactions(table):
        if name := (transaction.transaction_properties or {}).get(EXPORT):
            yield Committed(str(name), version)


def _transactions(table: Any) -> Iterator[tuple[int, Any]]:
    from lance.dataset import LanceOperation

    version = table.version
    while version > 0:
        before = version - 1
        try:
            transaction = table.read_transaction(version)
        except TypeError:  # It is one of those that pylance cannot describe, such as a compaction.
            transaction = None
        except (ValueError, OSError):
            return  # It was cleaned up.
        if transaction is not None:
            yield version, transaction
            if isinstance(transaction.operation, LanceOperation.Restore):
                before = transaction.operation.version
        version = before
