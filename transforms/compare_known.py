"""Whether known images are still as they were when they were read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.runtime.concurrency import BoundedPool, io_pool
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.stores.file_versions import file_versions
from image_features.transforms.values import EncodedImage, ImageRef

_VERIFIED_AT_ONCE = 32
_OF_FILE = "file:"

# The position of a row, the row, and what is known of it: the version or hash.
_Item = tuple[int, ImageRef, bytes]


class Comparison:
    """Compares images with what is known of them.

    What the input tells the version of, and local files, are compared as columns. A row becomes an
    object only where a server must be asked, a file has changed, or content is compared.

    Args:
      policy: How images are fetched.
      verify_content: Whether to compare the content itself, by its hash, instead of its version.
    """

    def __init__(self, policy: FetchPolicy, *, verify_content: bool) -> None:
        self._policy = policy
        self._verify_content = verify_content
        self._fetcher = Fetcher.shared(policy)
        self._threads = io_pool(policy.threads)

    def same(
        self, table: RefTable, validators: Any, asked: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Returns bool [rows], which of the known rows that are asked for have not changed.

        Args:
          table: The rows.
          validators: pyarrow binary [rows], what is known of each: the version, or the hash.
          asked: bool [rows], which rows to compare; each has a validator.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        same = np.zeros(len(table), np.bool_)
        left = asked
        if not self._verify_content:
            versions = table.table["version"]
            equal = pc.equal(versions.cast(pa.large_binary()), validators.cast(pa.large_binary()))
            same = asked & _true(equal)
            left = asked & ~is_told(versions)
        if not left.any():
            return same
        if not self._verify_content:
            files = left & ~_true(pc.match_substring(table.table["uri"], "://"))
            files &= _true(pc.starts_with(validators.cast(pa.string()), _OF_FILE))
            now = file_versions(table.table["uri"].filter(files).to_pylist(), self._threads)
            same[files] = _true(pc.equal(now, validators.filter(files).cast(pa.string())))
            left &= ~same
        rows = table.take(left).refs()
        known = validators.filter(left).to_pylist()
        items = zip(np.flatnonzero(left).tolist(), rows, known, strict=True)
        same[list(self._looked_at(items))] = True
        return same

    def _looked_at(self, items: Iterable[_Item]) -> Iterator[int]:
        """Looks at rows one by one; yields the positions of those that have not changed."""
        pool: BoundedPool[_Item, tuple[int, bool]] = BoundedPool(
            self._checked,
            executor=self._threads,
            max_items=min(
                self._policy.threads, _VERIFIED_AT_ONCE if self._verify_content else 2**31
            ),
            # It begins with few, as fetches do: a server that is overrun answers nothing of use.
            min_items=max(_VERIFIED_AT_ONCE, self._policy.threads // 8),
        )
        for item in items:
            yield from (position for position, same in pool.submit(item, alone=True) if same)
        yield from (position for position, same in pool.drain() if same)

    def _checked(self, item: _Item) -> tuple[int, bool]:
        """Returns the position of a row, and whether its image still matches the validator."""
        position, ref, validator = item
        if not self._verify_content:
            return position, self._fetcher.is_unchanged(ref.uri, validator.decode())
        found = self._fetcher.fetch(ref)
        return position, isinstance(found, EncodedImage) and hashlib.sha256(
            found.data
        ).digest() == validator

    def close(self) -> None:
        """Closes idle connections, when nobody else uses them."""
        self._fetcher.close()


def is_told(versions: Any) -> npt.NDArray[np.bool_]:
    """Returns which of some versions or hashes, an array of Arrow, are neither null nor empty."""
    import pyarrow.compute as pc

    return _true(pc.greater(pc.binary_length(versions), 0))


def _true(values: Any) -> npt.NDArray[np.bool_]:
    """Returns which of some values of Arrow are true; those that are null are not."""
    found: npt.NDArray[np.bool_] = values.fill_null(False).to_numpy(zero_copy_only=False)
    return found
