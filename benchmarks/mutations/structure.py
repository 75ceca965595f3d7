"""Damage that knows the parts and numbers of a file."""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Callable, Iterator

from benchmarks.mutations import chunks, damage
from benchmarks.mutations.anatomy import Format, Number, Part

_TEXTS = (b"0", b"1", b"-1", b"255", b"256", b"65535", b"65536", b"999999999", b"4294967297", b"x")
_TEXTS += (b"1e9", b"nan", b"inf", b"1.5", b"\xff", b"9" * 400, b"#", b"P6", b"ENDHDR")
_LONGEST = 2**22  # Of pixels that are compressed again.


class Body:
    """A file that is known inside and out.

    Args:
      form: The format.
      data: The file.
      mate: Another file of the format.
    """

    def __init__(self, form: Format, data: bytes, mate: bytes) -> None:
        self.form, self.data, self.mate = form, data, mate
        self.parts, self.numbers = form.anatomy(data)

    @functools.cached_property
    def donors(self) -> list[bytes]:
        """The parts of the other file."""
        return [self.mate[part.start : part.end] for part in self.form.anatomy(self.mate)[0]]

    def piece(self, part: Part) -> bytes:
        """Returns the bytes of a part."""
        return self.data[part.start : part.end]

    def put(self, part: Part, piece: bytes) -> bytes:
        """Puts bytes into the place of a part, and tells those that it lies in."""
        changed = bytearray(self.data[: part.start] + piece + self.data[part.end :])
        more = len(piece) - part.size
        for parent in reversed(part.parents):
            if more:
                self.form.grow(changed, parent, more)
        return bytes(changed)


def ways(body: Body) -> Iterator[Callable[[Body, random.Random], bytes]]:
    """Yields what can be done to a file, twice what should be done more often."""
    if body.numbers:
        yield renumber
        yield renumber
    if body.parts and body.form.moves:
        yield rearrange
        yield alter
        yield transplant
    elif body.parts:
        yield overwrite
    if body.form is chunks.PNG:
        yield recompress


def renumber(body: Body, chance: random.Random) -> bytes:
    """Puts other numbers into one or two places."""
    data = body.data
    chosen = chance.sample(body.numbers, min(len(body.numbers), chance.choice((1, 1, 2))))
    # What is behind is changed first, since the length of a text may change.
    for number in sorted(chosen, key=lambda number: -number.start):
        end = number.start + number.size
        data = data[: number.start] + _other(number, data[number.start : end], chance) + data[end:]
    return data


def _other(number: Number, piece: bytes, chance: random.Random) -> bytes:
    if number.order == "text":
        return chance.choice(_TEXTS)
    most = 2 ** (8 * number.size) - 1
    value = damage.other_number(int.from_bytes(piece, number.order), most, chance)
    return value.to_bytes(number.size, number.order)


def rearrange(body: Body, chance: random.Random) -> bytes:
    """Drops, doubles, swaps or moves a part."""
    part = chance.choice(body.parts)
    others = [other for other in body.parts if other.parents == part.parents and other != part]
    what = chance.randrange(4)
    if what == 1:
        times = chance.choice((2, 2, 3, 50, max(2, 2**16 // part.size)))
        return body.put(part, body.piece(part) * min(times, 2**12))
    if what == 0 or not others:
        return body.put(part, b"")
    first, second = sorted((part, chance.choice(others)), key=lambda part: part.start)
    one, two = body.piece(first), body.piece(second)
    between = body.data[first.end : second.start]
    middle = two + between + one if what == 2 else between + two + one
    return body.data[: first.start] + middle + body.data[second.end :]


def alter(body: Body, chance: random.Random) -> bytes:
    """Damages the inside of a part, mostly with the right length and sum after it."""
    part = chance.choice(body.parts)
    piece = chance.choice(damage.WITHIN)(body.piece(part), chance)
    return body.put(part, body.form.seal(piece) if chance.random() < 0.8 else piece)


def transplant(body: Body, chance: random.Random) -> bytes:
    """Takes a part from another file of the format."""
    if not body.donors:
        return damage.splice(body.data, body.mate, chance)
    part = chance.choice(body.parts)
    kept = body.piece(part) if chance.random() < 0.5 else b""
    return body.put(part, chance.choice(body.donors) + kept)


def overwrite(body: Body, chance: random.Random) -> bytes:
    """Swaps two entries of a table, or writes one over the other."""
    one, two = chance.choice(body.parts), chance.choice(body.parts)
    if one.size != two.size:
        return damage.flip_bits(body.data, chance)
    changed = bytearray(body.data)
    changed[one.start : one.end] = body.piece(two)
    if chance.random() < 0.5:
        changed[two.start : two.end] = body.piece(one)
    return bytes(changed)


def recompress(body: Body, chance: random.Random) -> bytes:
    """Damages what is compressed in a PNG, so that it is compressed well and still wrong."""
    pixels = [part for part in body.parts if body.piece(part)[4:8] == b"IDAT"]
    coded = b"".join(body.piece(part)[8:-4] for part in pixels)
    try:
        rows = zlib.decompressobj().decompress(coded, _LONGEST)
    except zlib.error:
        rows = b""
    if not rows:
        return damage.flip_bits(body.data, chance)
    rows = zlib.compress(chance.choice(damage.WITHIN)(rows, chance), 1)
    chunk = body.form.seal(b"\0\0\0\0IDAT" + rows + b"\0\0\0\0")
    return body.data[: pixels[0].start] + chunk + body.data[pixels[-1].end :]
