"""LoadImages: the image columns of rows, fetched and decoded many at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from image_features.transforms.images.children import end_children
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.images.picture import lift_pillow_limit
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.inference.columns import Pixels, decode_value, fetch_value
from image_features.transforms.runtime.concurrency import BoundedPool, cpu_pool, io_pool
from image_features.transforms.values import Reason

Row = Any  # A dict, or anything with _asdict(): beam.Row, a NamedTuple.


@dataclasses.dataclass(frozen=True)
class LoadedRow:
    """A row on its way to the model.

    Attributes:
      row: The row as it came.
      images: The decoded images, in the order of the columns; empty if one failed.
      error: The arguments of the ImageColumnError that says why there are none.
    """

    row: Row
    images: list[Pixels]
    error: tuple[str, Reason, str] | None = None


class LoadImages(beam.PTransform):
    """Batches of rows to LoadedRow; rows whose images cannot be had say why.

    Args:
      columns: The columns that hold images.
      fetch: How locations are fetched.
      policy: How to decode and resize.
    """

    def __init__(self, *, columns: list[str], fetch: FetchPolicy, policy: DecodePolicy) -> None:
        super().__init__()
        self._do_fn = _LoadDoFn(columns, fetch, policy)

    def expand(self, batches: Any) -> Any:
        return batches | "Load" >> beam.ParDo(self._do_fn)


class _LoadDoFn(beam.DoFn):
    def __init__(self, columns: list[str], fetch: FetchPolicy, policy: DecodePolicy) -> None:
        self._columns = columns
        self._fetch = fetch
        self._policy = policy

    def setup(self) -> None:
        lift_pillow_limit()
        self._fetcher = Fetcher.shared(self._fetch)

    def process(self, batch: Sequence[Row]) -> Iterator[LoadedRow]:
        cells = [_cell(row, column) for row in batch for column in self._columns]
        if any(isinstance(cell, str | os.PathLike) for cell in cells):
            cells = list(io_pool(self._fetch.threads).map(self._fetched, cells))
        images = self._decoded(cells)
        width = len(self._columns)
        for number, row in enumerate(batch):
            found = images[number * width : (number + 1) * width]
            errors = [
                (column, image.reason, image.message)
                for column, image in zip(self._columns, found, strict=True)
                if isinstance(image, DecodeError)
            ]
            yield LoadedRow(row, [], errors[0]) if errors else LoadedRow(row, found)

    def teardown(self) -> None:
        self._fetcher.close()
        end_children()

    def _fetched(self, value: Any) -> Any:
        return _attempt(fetch_value, value, self._fetcher)

    def _decoded(self, cells: list[Any]) -> list[Any]:
        def decode(numbered: tuple[int, Any]) -> tuple[int, Any]:
            number, cell = numbered
            return number, _attempt(decode_value, cell, self._policy)

        cpu = cpu_pool(None)
        pool = BoundedPool(decode, executor=cpu, helped=cpu, max_items=len(cells))
        results = dict(result for cell in enumerate(cells) for result in pool.submit(cell))
        results.update(pool.drain())
        return [results[number] for number in range(len(cells))]


def _cell(row: Row, column: str) -> Any:
    """The value of a column, or the error that there is none."""
    fields = fields_of(row)
    if column in fields:
        return fields[column]
    return DecodeError(Reason.BAD_MANIFEST_ROW, f"The row has the columns {sorted(fields)} only.")


def _attempt(function: Callable[[Any, Any], Any], value: Any, how: Any) -> Any:
    """The function's result, or the error that it raised or was given."""
    if isinstance(value, DecodeError):
        return value
    try:
        return function(value, how)
    except DecodeError as error:
        return error


def fields_of(row: Row) -> dict[str, Any]:
    """The columns of a row by name.

    Raises:
      TypeError: it is no row.
    """
    if isinstance(row, dict):
        return row
    if hasattr(row, "_asdict"):
        return dict(row._asdict())
    raise TypeError(
        f"MLTransform takes rows that are dicts, beam.Row or NamedTuples, and this one is a "
        f"{type(row).__name__}."
    )
