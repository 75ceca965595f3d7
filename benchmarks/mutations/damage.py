"""Damage to bytes, whatever they mean."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_INTERESTING = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 64, 127, 128, 255, 256, 1000, 1024, 4096)
_INTERESTING += (16384, 32767, 32768, 65535, 65536, 10**5, 10**6, 2**24, 2**31 - 1, 2**31)
_INTERESTING += (2**31 + 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_LONGEST = 4096


def other_number(value: int, most: int, chance: random.Random) -> int:
    """Returns a number that decoders may not expect in the place of another."""
    match chance.randrange(5):
        case 0:
            drawn = value + chance.choice((-2, -1, 1, 2))
        case 1:
            drawn = chance.choice((value * 2, value // 2, value << 8, value >> 8, -value, ~value))
        case 2:
            drawn = value ^ (1 << chance.randrange(max(1, most.bit_length())))
        case 3:
            drawn = chance.randrange(most + 1)
        case _:
            drawn = chance.choice(_INTERESTING)
    return drawn % (most + 1)


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    """Flips a few bits."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def other_bytes(data: bytes, chance: random.Random) -> bytes:
    """Puts other values into a few bytes."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 2, 4, 16))):
        changed[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(changed)


def insert(data: bytes, chance: random.Random) -> bytes:
    """Puts random bytes somewhere."""
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.choice((1, 2, 4, 16, 256))) + data[place:]


def remove(data: bytes, chance: random.Random) -> bytes:
    """Takes bytes out."""
    start, end = _span(data, chance)
    return data[:start] + data[end:]


def repeat(data: bytes, chance: random.Random) -> bytes:
    """Repeats a span, once or many times."""
    start, end = _span(data, chance)
    times = chance.choice((1, 1, 2, 16, max(1, 2**16 // (end - start))))
    return data[:end] + data[start:end] * min(times, 2**12) + data[end:]


def run(data: bytes, chance: random.Random) -> bytes:
    """Overwrites a span with zeros or ones."""
    start, end = _span(data, chance)
    return data[:start] + chance.choice((b"\0", b"\xff")) * (end - start) + data[end:]


def big_number(data: bytes, chance: random.Random) -> bytes:
    """Puts another number into the place of one that may or may not be there."""
    size = chance.choice((1, 2, 4, 8))
    order = chance.choice(("big", "little"))
    start = chance.randrange(max(1, min(len(data), 512) if chance.random() < 0.5 else len(data)))
    piece = data[start : start + size]
    value = other_number(int.from_bytes(piece, order), 2 ** (8 * len(piece)) - 1, chance)
    return data[:start] + value.to_bytes(len(piece), order) + data[start + size :]


def truncate(data: bytes, chance: random.Random) -> bytes:
    """Ends a file early."""
    return data[: chance.randrange(len(data))]


def splice(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Begins with one file and ends with another."""
    end = chance.randrange(len(data) + 1)
    start = end if chance.random() < 0.5 else chance.randrange(len(other) + 1)
    return data[:end] + other[start:]


WITHIN: Sequence[Callable[[bytes, random.Random], bytes]] = (
    *(flip_bits, other_bytes, big_number, run, insert, remove, repeat),
)


def _span(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(data))
    longest = min(_LONGEST, len(data) - start)
    return start, start + max(1, int(longest * chance.random() ** 3))
