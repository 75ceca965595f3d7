"""Whether the quotes in lines of CSV are plain, and whether a row may go over lines."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_QUOTE, _LINE_FEED = ord('"'), ord("\n")


def are_plain_quotes(data: bytes, delimiter: str) -> bool:
    r"""Whether each quote opens a whole field or closes it in the same line.

    Args:
      data: Lines that end in \n; the last may have no end.
      delimiter: The character between two fields.
    """
    return not len(_odd_lines(np.frombuffer(data, np.uint8), ord(delimiter)))


def goes_over_lines(data: bytes, delimiter: str) -> bool:
    r"""Whether a quote of any line may still be open at its end.

    Args:
      data: Lines that end in \n or \r\n; the last may have no end.
      delimiter: The character between two fields.
    """
    if b'"' not in data:
        return False
    data = data.replace(b"\r\n", b"\n")
    codes = np.frombuffer(data, np.uint8)
    odd = _odd_lines(codes, ord(delimiter))
    if not len(odd):
        return False
    starts = np.append(0, np.flatnonzero(codes == _LINE_FEED) + 1)
    ends = np.append(starts[1:], len(data))
    return any(
        _asks_for_more(data[start:end].decode("utf-8", "surrogateescape"), delimiter)
        for start, end in zip(starts[odd].tolist(), ends[odd].tolist(), strict=True)
    )


def _odd_lines(codes: npt.NDArray[np.uint8], delimiter: int) -> npt.NDArray[np.int64]:
    """Returns the lines, from 0, in which a quote neither opens nor closes a whole field."""
    quotes = np.flatnonzero(codes == _QUOTE)
    line = np.searchsorted(np.flatnonzero(codes == _LINE_FEED), quotes)
    # The quotes of a line open and close in turn.
    lines, first, counts = np.unique(line, return_index=True, return_counts=True)
    opens = (np.arange(len(quotes)) - np.repeat(first, counts)) % 2 == 0
    ends = (_LINE_FEED, delimiter)
    before = (quotes == 0) | np.isin(codes[quotes - 1], ends)
    after = (quotes == len(codes) - 1) | np.isin(codes[(quotes + 1) % len(codes)], ends)
    odd = np.unique(line[~np.where(opens, before, after)])
    return np.union1d(odd, lines[counts % 2 == 1])


def _asks_for_more(line: str, delimiter: str) -> bool:
    asked = False

    def lines() -> Iterator[str]:
        nonlocal asked
        yield line
        asked = True

    with contextlib.suppress(csv.Error):
        next(csv.reader(lines(), delimiter=delimiter, strict=True), None)
    return asked
