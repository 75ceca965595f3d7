"""Whether the quotes in lines of CSV are plain, and whether a row may go over lines."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_QUOTE, _LINE_FEED = ord('"'), ord("\n")
_DOUBLED = b"\1\1"  # Text that holds this byte itself is looked at more closely.


def are_plain_quotes(data: bytes, delimiter: str) -> bool:
    r"""Whether quotes stand around whole fields only, and doubled within, all in one line.

    Args:
      data: Lines that end in \n; the last may have no end.
      delimiter: The character between two fields.
    """
    return not len(_odd_lines(data, delimiter))


def goes_over_lines(data: bytes, delimiter: str) -> bool:
    r"""Whether a quote of any line may still be open at its end.

    Args:
      data: Lines that end in \n or \r\n; the last may have no end.
      delimiter: The character between two fields.
    """
    if b'"' not in data:
        return False
    data = data.replace(b"\r\n", b"\n")
    odd = _odd_lines(data, delimiter)
    if not len(odd):
        return False
    starts = np.append(0, np.flatnonzero(np.frombuffer(data, np.uint8) == _LINE_FEED) + 1)
    ends = np.append(starts[1:], len(data))
    return any(
        _asks_for_more(data[start:end].decode("utf-8", "surrogateescape"), delimiter)
        for start, end in zip(starts[odd].tolist(), ends[odd].tolist(), strict=True)
    )


def _odd_lines(data: bytes, delimiter: str) -> npt.NDArray[np.int64]:
    """Returns the lines, from 0, whose quotes are not plain, or may not be."""
    # Doubled quotes are taken for text, from the left as in a field whose first quote is single.
    codes = np.frombuffer(data.replace(b'""', _DOUBLED), np.uint8)
    line_ends = np.flatnonzero(codes == _LINE_FEED)
    quotes = np.flatnonzero(codes == _QUOTE)
    line = np.searchsorted(line_ends, quotes)
    # The quotes of a line open and close in turn.
    lines, first, counts = np.unique(line, return_index=True, return_counts=True)
    opens = (np.arange(len(quotes)) - np.repeat(first, counts)) % 2 == 0
    bounds = (_LINE_FEED, ord(delimiter))

    def is_bound(places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        outside = (places < 0) | (places >= len(codes))
        return outside | np.isin(codes[np.where(outside, 0, places)], bounds)

    sound = np.where(opens, is_bound(quotes - 1), is_bound(quotes + 1))
    odd = [line[~sound], lines[counts % 2 == 1]]
    doubled = np.flatnonzero(codes == _DOUBLED[0])
    if len(doubled):
        of = np.searchsorted(line_ends, doubled)
        before = np.searchsorted(quotes, doubled) - np.searchsorted(line, of)
        # Each stands for two bytes: an empty field has nothing else.
        second = np.append(False, (np.diff(doubled) == 1) & (of[1:] == of[:-1]))
        begins = doubled - second
        empty = is_bound(begins - 1) & is_bound(begins + 2)
        odd.append(of[(before % 2 == 0) & ~empty])
    return np.unique(np.concatenate(odd))


def _asks_for_more(line: str, delimiter: str) -> bool:
    asked = False

    def lines() -> Iterator[str]:
        nonlocal asked
        yield line
        asked = True

    with contextlib.suppress(csv.Error):
        next(csv.reader(lines(), delimiter=delimiter, strict=True), None)
    return asked
