"""The values of JSON objects by columns, where all lines of a block are spelled alike.

Whoever writes many objects spells them alike: the same names in the same order, with the same
spaces. What lies between the values of a line is compared as bytes with what lies there in the
first one, which Python's own reader of JSON reads, as it does all values that are not plain text.
Whatever differs is left to readers of single objects.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_QUOTE, _SPACE = ord('"'), ord(" ")
_SCALAR = re.compile(rb" *: *([^ ,}]*)")
# An object is a tuple of its pairs, which tells it from a list and keeps names that it has twice.
DECODER: Any = json.JSONDecoder(object_pairs_hook=tuple)

_Places = npt.NDArray[np.int64]


class _Bound(NamedTuple):
    """A place in a line: so many bytes behind a quote, or before it.

    Behind the last quote of a line comes the first one of the next.
    """

    quote: int
    distance: int = 0


class _Shape(NamedTuple):
    """How a line is spelled.

    Attributes:
      quotes: The number of its quotes.
      spans: Where each value begins and ends, in their order.
      texts: The names of the values in quotes.
    """

    quotes: int
    spans: dict[str, tuple[_Bound, _Bound]]
    texts: frozenset[str]


def columns_of(data: bytes) -> dict[str, Any] | None:
    r"""Returns the values of lines by names; None if these are not alike, or may not be sound.

    Values are a pyarrow.Array of strings where all are text without escapes, and otherwise a list
    of what `DECODER` reads.

    Args:
      data: Lines of UTF-8, of which all but the last end in \n.
    """
    end = data.find(b"\n")
    line = data if end < 0 else data[:end]
    head = line[: line.find(b'"') + 1]
    try:
        shape = _shape_of(line, head)
        return None if shape is None else _columns(b"%b\n%b" % (data, head), shape)
    except (ValueError, RecursionError):
        return None


def _shape_of(line: bytes, head: bytes) -> _Shape | None:
    """Returns how a line is spelled, of which the next begins alike; None if it may be odd."""
    pairs = DECODER.decode(line.decode())
    if type(pairs) is not tuple or not pairs or len(dict(pairs)) < len(pairs):
        return None
    text = b"%b\n%b" % (_without_escaped(line), head)
    quotes = [place for place, code in enumerate(text) if code == _QUOTE]
    spans = {}
    at = 0
    for name, value in pairs:
        if isinstance(value, tuple | list):
            return None
        if isinstance(value, str):
            spans[name] = _Bound(at + 2, 1), _Bound(at + 3)
            at += 4
            continue
        # There is nothing but the value between the names.
        gap = text[quotes[at + 1] + 1 : quotes[at + 2]]
        found = _SCALAR.match(gap)
        if found is None:
            return None
        spans[name] = _Bound(at + 1, 1 + found.start(1)), _Bound(at + 2, found.end(1) - len(gap))
        at += 2
    return _Shape(at, spans, frozenset(name for name, value in pairs if isinstance(value, str)))


def _columns(data: bytes, shape: _Shape) -> dict[str, Any] | None:
    """Returns what `columns_of` does of lines that the beginning of another follows.

    Raises:
      ValueError, RecursionError: a value is not JSON.
    """
    rows = data.count(b"\n")
    # Between alike lines are the only control characters, which text of JSON must not hold.
    controls = np.count_nonzero(np.frombuffer(data, np.uint8) < _SPACE)
    escapes = b"\\" in data
    codes = np.frombuffer(_without_escaped(data) if escapes else data, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    if controls != rows or len(quotes) != rows * shape.quotes + 1:
        return None

    def places(bound: _Bound) -> _Places:
        return quotes[bound.quote :: shape.quotes][:rows] + bound.distance

    spans = [(places(begin), places(end)) for begin, end in shape.spans.values()]
    between = [places(_Bound(0)), *(place for span in spans for place in span)]
    between.append(places(_Bound(shape.quotes)))
    if not all(map(_are_alike, [codes] * len(between), between[::2], between[1::2])):
        return None
    values = {}
    for name, (begins, ends) in zip(shape.spans, spans, strict=True):
        # The value of one line may be shorter than what is around that of the first.
        if (begins > ends).any():
            return None
        texts = _slices(data, begins, ends)
        if name not in shape.texts:
            values[name] = _scalars(texts.to_pylist())
        elif escapes and _any_escape(texts):
            values[name] = DECODER.decode('["' + '","'.join(texts.to_pylist()) + '"]')
        else:
            values[name] = texts
    return values


def _without_escaped(data: bytes) -> bytes:
    r"""Returns the data with other bytes in place of \" and \\ ."""
    return data.replace(b"\\\\", b"\1\1").replace(b'\\"', b"\1\1")


def _are_alike(codes: npt.NDArray[np.uint8], begins: _Places, ends: _Places) -> bool:
    """Whether the bytes between the places are the same everywhere."""
    size = int(ends[0] - begins[0])
    if ((ends - begins) != size).any():
        return False
    found = np.lib.stride_tricks.sliding_window_view(codes, size)[begins]
    return bool((found == found[0]).all())


def _slices(data: bytes, begins: _Places, ends: _Places) -> Any:
    """Returns a pyarrow.Array of the text between the places, which come in their order."""
    import pyarrow as pa

    offsets = np.stack([begins, ends], axis=1).astype(np.int32)
    number = offsets.size - 1
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    # Every other slice is what lies between two of them.
    return pa.Array.from_buffers(pa.string(), number, buffers)[::2]


def _any_escape(texts: Any) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring(texts, "\\")).as_py())


def _scalars(texts: list[str]) -> list[Any]:
    """Returns the value of each text.

    Raises:
      ValueError, RecursionError: one is not JSON.
    """
    items = ",".join(texts)
    found: list[Any] = DECODER.decode(f"[{items}]")
    # As many values as commas tell mean that no comma is within one, nor within a text.
    if not len(found) == len(texts) == items.count(",") + 1:
        raise ValueError("A text is not one value.")
    return found
