"""Decimal numbers of plain text, read many at once in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason

_Bytes = npt.NDArray[np.uint8]
# The bytes that are taken at once.
_BLOCK = 2**20
_DIGITS = 10
_ZERO, _HASH, _SPACE = b"0# "
_LINE_ENDS = np.frombuffer(b"\n\r", np.uint8)
_IS_DIGIT = np.isin(np.arange(256), list(b"0123456789"))
_IS_SPACE = np.isin(np.arange(256), list(b" \t\n\v\f\r"))


def plain_numbers(data: bytes, start: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yields the numbers of a text from a position on, some after the other.

    Raises:
      DecodeError: something else is among them. What comes before it is yielded first.
    """
    for text in _blocks(data, start, together=True):
        digits = _IS_DIGIT[text]
        ends = np.flatnonzero(digits[:-1] & ~digits[1:])
        numbers = np.zeros(len(ends), np.int64)
        belongs = np.ones(len(ends), bool)
        for power in range(_DIGITS + 1):
            positions = np.maximum(ends - power, 0)
            belongs &= (ends >= power) & digits[positions]
            if not belongs.any():
                break
            if power == _DIGITS:
                raise _too_long()
            digit = np.where(belongs, text[positions] - np.uint8(_ZERO), 0).astype(np.int64)
            numbers += digit * 10**power
        yield numbers


def plain_bits(data: bytes, start: int) -> Iterator[_Bytes]:
    """Yields the digits of a text, each a number, as PBM has them; see `plain_numbers`."""
    for text in _blocks(data, start, together=False):
        yield text[_IS_DIGIT[text]] - np.uint8(_ZERO)


def _blocks(data: bytes, start: int, *, together: bool) -> Iterator[_Bytes]:
    """Yields parts of a text that are digits and spaces, with spaces for comments.

    Args:
      data: The text.
      start: Where it begins.
      together: Whether digits belong together, so that each part has to end with a space.
    """
    whole = np.frombuffer(data, np.uint8)
    rest = whole[:0]
    in_comment = False
    for first in range(start, len(data), _BLOCK):
        block = whole[first : first + _BLOCK]
        if in_comment or _HASH in block:
            block, in_comment = _without_comments(block, in_comment)
        last = first + _BLOCK >= len(data)
        text = np.concatenate([rest, block, np.full(int(last), _SPACE, np.uint8)])
        others = np.flatnonzero(~(_IS_DIGIT | _IS_SPACE)[text])
        end = int(others[0]) if len(others) else len(text)
        if together:
            end = _last_space(text[:end]) + 1
        yield text[:end]
        if len(others):
            found = text[end : end + 20].tobytes()
            raise DecodeError(Reason.CORRUPT, f"There is {found!r} in the place of a number.")
        rest = text[end:]
        if len(rest) > _DIGITS:
            raise _too_long()


def _last_space(text: _Bytes) -> int:
    """Returns the last position of a space; -1 if there is none."""
    tail = text[-2 * _DIGITS :]
    spaces = np.flatnonzero(_IS_SPACE[tail])
    return len(text) - len(tail) + int(spaces[-1]) if len(spaces) else -1


def _without_comments(block: _Bytes, in_comment: bool) -> tuple[_Bytes, bool]:
    """Puts spaces for what is from a # to the end of a line; tells whether one goes on."""
    places = np.arange(1, len(block) + 1, dtype=np.int32)
    begun = np.maximum.accumulate(np.where(block == _HASH, places, 0))
    ended = np.maximum.accumulate(np.where(np.isin(block, _LINE_ENDS), places, 0))
    inside = (begun > ended) | (in_comment & (ended == 0))
    return np.where(inside, np.uint8(_SPACE), block), bool(inside[-1])


def _too_long() -> DecodeError:
    return DecodeError(Reason.CORRUPT, f"A number has more than {_DIGITS} digits.")
