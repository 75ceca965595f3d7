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
    codes = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    if len(quotes) % 2:
        return False
    # They open and close in turn. One that closes where the next opens is doubled.
    opens, closes = quotes[::2], quotes[1::2]
    before = codes[opens[len(opens) and not opens[0] :] - 1]
    after = codes[closes[: np.searchsorted(closes, len(codes) - 1)] + 1]
    if not all(_are_bounds(beside, delimiter).all() for beside in (before, after)):
        return False
    ends = np.flatnonzero(codes == _LINE_FEED)
    return not (np.searchsorted(quotes, ends) % 2).any()


def goes_over_lines(data: bytes, delimiter: str) -> bool:
    r"""Whether a quote of any line may still be open at its end.

    Args:
      data: Lines that end in \n or \r\n; the last may have no end.
      delimiter: The character between two fields.
    """
    if b'"' not in data:
        return False
    data = data.replace(b"\r\n", b"\n") if b"\r" in data else data
    if are_plain_quotes(data, delimiter):
        return False
    odd = _odd_lines(data, delimiter)
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
    sound = _are_bounds(codes[np.where(opens, quotes - 1, quotes + 1)], delimiter)
    beside = np.searchsorted(ends, quotes[~sound]) - 1
    return np.union1d(beside, np.flatnonzero(unclosed))


def _are_bounds(codes: npt.NDArray[np.uint8], delimiter: str) -> npt.NDArray[np.bool_]:
    """Returns which bytes may stand beside the quotes around a field."""
    return (codes == ord(delimiter)) | (codes == _LINE_FEED) | (codes == _QUOTE)


def _asks_for_more(line: str, delimiter: str) -> bool:
    asked = False

    def lines() -> Iterator[str]:
        nonlocal asked
        yield line
        asked = True

    with contextlib.suppress(csv.Error):
        next(csv.reader(lines(), delimiter=delimiter, strict=True), None)
    return asked
