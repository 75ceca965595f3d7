"""Whether the quotes in lines of CSV are plain, and whether a row may go over lines."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_QUOTE, _LINE_FEED = ord('"'), ord("\n")


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
    data = data.replace(b"\r\n", b"\n") if b"\r" in data else data
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
    codes = np.frombuffer(b"\n%b\n" % data, np.uint8)
    ends = np.flatnonzero(codes == _LINE_FEED)
    quotes = np.flatnonzero(codes == _QUOTE)
    first = np.searchsorted(quotes, ends)
    counts = np.diff(first)
    # The quotes of a line open and close in turn. One that closes where the next opens is doubled.
    opens = np.arange(len(quotes)) % 2 == 0
    unclosed = counts % 2 == 1
    if unclosed.any():
        opens ^= np.repeat(first[:-1] % 2 == 1, counts)
    is_bound = np.zeros(256, np.bool_)
    is_bound[[_LINE_FEED, _QUOTE, ord(delimiter)]] = True
    sound = is_bound[codes[np.where(opens, quotes - 1, quotes + 1)]]
    beside = np.searchsorted(ends, quotes[~sound]) - 1
    return np.union1d(beside, np.flatnonzero(unclosed))


def _asks_for_more(line: str, delimiter: str) -> bool:
    asked = False

    def lines() -> Iterator[str]:
        nonlocal asked
        yield line
        asked = True

    with contextlib.suppress(csv.Error):
        next(csv.reader(lines(), delimiter=delimiter, strict=True), None)
    return asked
