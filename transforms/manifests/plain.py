"""Rows of a manifest that are plainly sound, many at once.

What is plain is told by arrays: whatever may be odd in a row is left to those that read row by
row, so that both give the same references.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.manifests.arrow_values import values_of
from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.fitting import absent, fit_array, fit_values, is_whole
from image_features.transforms.manifests.plain_uris import (
    MAX_URI,
    MAY_BE_ARCHIVE,
    NOT_CANONICAL,
    WHOLE,
    keys_of,
    plain_uris,
)
from image_features.transforms.manifests.plain_versions import versions_of
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.stores import versions
from image_features.transforms.stores.members import MARK, archive_format
from image_features.transforms.stores.uris import canonical_uri, is_http, resolve_uri
from image_features.transforms.values import Place

# Arrays of fewer rows cost more than the rows one by one.
_FEW = 8
# In a path that has none of these, nothing is to be resolved but its beginning.
_TO_RESOLVE = (MARK, "//", "./", ":")


@dataclasses.dataclass(frozen=True)
class PlainRows:
    """References by columns.

    Attributes:
      numbers: int64 [rows], the rows in their manifest.
      uris: pyarrow.Array of the URIs, which are whole.
      keys: The keys, KEY_BYTES of each.
      versions: pyarrow.Array of the versions; None if no row has one.
      columns: pyarrow.Array of each manifest column, in the schema's order.
      places: Where in their archive the images lie; None for files of their own.
    """

    numbers: npt.NDArray[np.int64]
    uris: Any
    keys: bytes
    versions: Any
    columns: Sequence[Any]
    places: Sequence[Place] | None = None

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.numbers)


@dataclasses.dataclass(frozen=True)
class Plainly:
    """Makes references of the rows of a manifest where all are plainly sound.

    Attributes:
      location: The location of the manifest.
      schema: The run's columns by name.
      version_column: The column that holds the images' versions; None if there is none.
    """

    location: str
    schema: Mapping[str, Column]
    version_column: str | None = None

    def rows(
        self,
        numbers: npt.NDArray[np.int64],
        uris: Any,
        values: Mapping[str, Any],
        fitted: Callable[[Any, Column], Any],
    ) -> PlainRows | None:
        """Returns the rows; None if any may be odd.

        Args:
          numbers: int64 [rows], the rows in the manifest.
          uris: The URIs as the manifest spells them, a list or a pyarrow.Array of strings.
          values: The values of each other column that the manifest has.
          fitted: Fits the values of a column, or gives None.
        """
        found = self._keyed(uris)
        if found is None or any(name not in self.schema for name in values):
            return None
        array, keys = found
        columns = self._fitted(values, fitted, len(uris))
        if columns is None:
            return None
        told = None
        if self.version_column is not None and self.version_column in values:
            told = versions_of(values[self.version_column])
        return PlainRows(numbers, array, keys, told, columns)

    def batch(
        self, number: int, names: Sequence[str], arrays: Sequence[Any], uri_name: str
    ) -> PlainRows | None:
        """Returns the rows of a batch of Parquet; None if any may be odd.

        Args:
          number: The number of the first row.
          names: The names of the columns.
          arrays: pyarrow.Array of each column.
          uri_name: The name of the column of URIs.
        """
        import pyarrow.types as types

        values = dict(zip(names, arrays, strict=True))
        uris = values.pop(uri_name)
        if not (types.is_string(uris.type) and not uris.null_count and is_whole(uris)):
            uris = values_of(uris)
            if set(map(type, uris)) != {str}:
                return None
        numbers = np.arange(number, number + len(uris), dtype=np.int64)
        return self.rows(numbers, uris, values, fit_array)

    def members(self, rows: Sequence[ManifestRow]) -> PlainRows | None:
        """Returns the rows of an archive; None if any may be odd, or if they are few."""
        import pyarrow as pa

        uris = [row.uri for row in rows]
        places = [row.place for row in rows if row.place and not row.problem]
        if len(places) < max(len(rows), _FEW) or max(map(len, uris)) > MAX_URI:
            return None
        if any("\0" in uri for uri in uris):
            return None
        if not {name for row in rows for name in row.values} <= self.schema.keys():
            return None
        values = {name: [row.values.get(name) for row in rows] for name in self.schema}
        columns = self._fitted(values, fit_values, len(rows))
        if columns is None:
            return None
        told = [row.version for row in rows]
        if self.version_column is not None:
            of_rows = [versions.of_column(row.values.get(self.version_column)) for row in rows]
            told = [of_row or version for of_row, version in zip(of_rows, told, strict=True)]
        try:
            array = pa.array(uris, pa.string())
        except UnicodeEncodeError:
            return None
        numbers = np.array([row.number for row in rows], np.int64)
        return PlainRows(numbers, array, _keys(uris), pa.array(told, pa.string()), columns, places)

    def _fitted(
        self, values: Mapping[str, Any], fitted: Callable[[Any, Column], Any], rows: int
    ) -> list[Any] | None:
        """Returns an array for each column of the schema; None if the values of one do not fit."""
        columns = []
        for name, column in self.schema.items():
            found = fitted(values[name], column) if name in values else absent(column, rows)
            if found is None:
                return None
            columns.append(found)
        return columns

    def _keyed(self, uris: Any) -> tuple[Any, bytes] | None:
        """Returns an array of the URIs made whole, and their keys; None if one may be odd."""
        if not isinstance(uris, list):
            encoded = plain_uris(uris)
            if encoded is not None:
                return uris, keys_of(encoded)
            uris = uris.to_numpy(zero_copy_only=False).tolist()
        whole = self._resolved(uris) if uris and all(uris) else None
        array = None if whole is None else _unpacked(whole)
        return None if whole is None or array is None else (array, _keys(whole))

    def _resolved(self, uris: list[str]) -> list[str] | None:
        """Returns the URIs made whole; None if one may not name a file."""
        if max(map(len, uris)) > MAX_URI or list(map(str.strip, uris)) != uris:
            return None
        if _begin_alike(uris) or all(map(operator.methodcaller("startswith", WHOLE), uris)):
            return uris
        try:
            prefix = resolve_uri("x", self.location)[:-1]
            text = "\n".join(uris)
            as_links = is_http(self.location) or not prefix.endswith("/")
            if as_links or any(part in text for part in _TO_RESOLVE):
                return [resolve_uri(uri, self.location) for uri in uris]
        except ValueError:
            return None
        return [
            uri
            if uri[0] == "/"
            else prefix + uri
            if uri[-1] not in "/."
            else resolve_uri(uri, self.location)
            for uri in uris
        ]


def _begin_alike(uris: list[str]) -> bool:
    """Whether all begin like the first, and are whole; most do, and are not looked at singly."""
    beginning = next((start for start in WHOLE if uris[0].startswith(start)), None)
    text = "\n".join(["", *uris])
    return beginning is not None and (text.count("\n" + beginning) == text.count("\n") == len(uris))


def _unpacked(uris: list[str]) -> Any:
    """Returns an array of URIs; None if one is not UTF-8, or is an archive or within one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = "\n".join(uris)
    # A single character is found in a hundredth of the time.
    if (MARK[0] in text and MARK in text) or "\0" in text:
        return None
    try:
        array = pa.array(uris, pa.string())
        # Of one long text this is half the work that it is of many.
        if pc.match_substring_regex(pa.array([text]), MAY_BE_ARCHIVE)[0].as_py():
            may = pc.match_substring_regex(array, MAY_BE_ARCHIVE)
            if any(map(archive_format, array.filter(may).to_pylist())):
                return None
    except (UnicodeEncodeError, pa.ArrowException):
        return None
    return array


def _keys(uris: list[str]) -> bytes:
    """Returns the keys of URIs."""
    text = "\n".join(uris)
    if any(part in text for part in NOT_CANONICAL):
        uris = list(map(canonical_uri, uris))
    return keys_of(list(map(str.encode, uris)))
