"""Arrow tables of rows with keys: how they are packed, sorted and divided.

Tables that are divided among hundreds of partitions are small. Compressing each of their buffers
alone, as Arrow's own format does, takes five times as long as compressing the whole.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

_SIZE = struct.Struct("<Q")


def pack_table(table: Any) -> bytes:
    """Returns a pyarrow.Table as bytes, compressed."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_options()) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    return _SIZE.pack(data.size) + _codec().compress(data, asbytes=True)


def with_used_words(table: Any, name: str) -> Any:
    """Drops what no row has from the dictionary of a column: a part may have few of many."""
    column = table[name]
    if max((len(chunk.dictionary) for chunk in column.chunks), default=0) < 2:
        return table
    used = column.cast(column.type.value_type).dictionary_encode()
    return table.set_column(table.column_names.index(name), name, used)


def unpack_table(packed: bytes) -> Any:
    """Returns the table that `pack_table` took.

    Raises:
      OSError: the bytes are cut short.
    """
    import pyarrow as pa

    (size,) = _SIZE.unpack_from(packed)
    data = _codec().decompress(memoryview(packed)[_SIZE.size :], size)
    return pa.ipc.open_stream(data).read_all()


@functools.cache
def _options() -> Any:
    import pyarrow as pa

    return pa.ipc.IpcWriteOptions()  # Without options pyarrow asks the environment each time.


@functools.cache
def _codec() -> Any:
    import pyarrow as pa

    return pa.Codec("lz4")  # It is twice as fast as zstd, for a quarter more bytes.


def halves_of(keys: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    """Returns keys as numbers, which sort as they do and in a fifth of the time.

    Args:
      keys: bytes16 [rows].

    Returns:
      uint64 [2, rows], the first and the last eight bytes of each.
    """
    return np.ascontiguousarray(keys.view(">u8").reshape(-1, 2).T).astype(np.uint64)


def sort_keys(
    keys: npt.NDArray[np.bytes_], then_by: npt.NDArray[Any] | None = None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Sorts keys.

    Args:
      keys: bytes16 [rows].
      then_by: What sorts rows of one key, [rows]; None keeps these in their order.

    Returns:
      The order, and for each row in it whether it is the first of its key.
    """
    high, low = halves_of(keys)
    order = np.argsort(high)
    first = np.ones(len(order), np.bool_)
    np.not_equal(high[order][1:], high[order][:-1], out=first[1:])
    if not first.all():
        order = np.lexsort((low, high) if then_by is None else (then_by, low, high))
        high, low = high[order], low[order]
        first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return order, first


def find_keys(
    keys: npt.NDArray[np.bytes_], wanted: npt.NDArray[np.bytes_]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Finds keys among others.

    Args:
      keys: bytes16 [keys], sorted, each once.
      wanted: bytes16 [wanted]; it is faster if they are sorted.

    Returns:
      The position of each wanted key, and whether it is there at all.
    """
    (high, low), (wanted_high, wanted_low) = halves_of(keys), halves_of(wanted)
    if (high[1:] == high[:-1]).any():
        positions = np.searchsorted(keys, wanted)
    else:
        positions = np.searchsorted(high, wanted_high)
    there = positions < len(keys)
    at = positions[there]
    there[there] = (high[at] == wanted_high[there]) & (low[at] == wanted_low[there])
    return positions, there


def partitions_of(keys: npt.NDArray[np.bytes_], partitions: int) -> npt.NDArray[np.int64]:
    """Returns int64 [rows], the partition of each key by its first 32 bits."""
    numbers: npt.NDArray[np.int64] = keys.view(">u4")[::4].astype(np.int64) % partitions
    return numbers


def split_by(table: Any, numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
    """Yields for each number the rows of a table that have it, in their order.

    Args:
      table: A pyarrow.Table.
      numbers: int64 [rows], none of them negative.
    """
    import pyarrow as pa

    if not len(numbers):
        return
    # Sixteen bits are sorted without comparisons.
    if numbers.max() < 2**16:
        numbers = numbers.astype(np.uint16)
    order = np.argsort(numbers, kind="stable")
    ordered = table.take(pa.array(order)).combine_chunks()
    numbers = numbers[order]
    starts = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
    ends = [*starts[1:].tolist(), len(numbers)]
    for number, start, end in zip(numbers[starts].tolist(), starts.tolist(), ends, strict=True):
        yield number, ordered.slice(start, end - start)
