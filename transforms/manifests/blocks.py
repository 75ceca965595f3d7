"""The text of a manifest in blocks of whole lines, of which any may be taken line by line."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from image_features.transforms.manifests.lines import MAX_LINE, Line, count_lines, split_lines

# Arrays of some ten thousand rows are worth their making, and fit a processor's cache.
BLOCK = 2**20


class Block(NamedTuple):
    """Some whole lines.

    Attributes:
      number: The number of the first line.
      data: The bytes of the lines; only a file's last line may have no end.
    """

    number: int
    data: bytes

    @property
    def end(self) -> int:
        """The number of the line behind the block."""
        return self.number + count_lines(self.data) + (not self.data.endswith(b"\n"))

    def halves(self) -> tuple[Block, Block] | None:
        """Returns the lines in two blocks; None for a line that is as long as both."""
        at = self.data.find(b"\n", len(self.data) // 2) + 1
        if not 0 < at < len(self.data):
            return None
        first = Block(self.number, self.data[:at])
        return first, Block(first.end, self.data[at:])


class Blocks:
    """The blocks of a text, in its order.

    Args:
      stream: The text in parts of any size, none empty.
      number: The number of the first line.
    """

    def __init__(self, stream: Iterator[bytes], number: int = 1) -> None:
        self._stream = stream
        self._number = number
        self._back: list[Block] = []
        self._rest = b""
        # Where a line is too long for a block, all from there on is read line by line.
        self._tail: Iterator[Line] | None = None
        self._lines: collections.deque[Line] = collections.deque()

    def take(self) -> Block | None:
        """Returns the next block; None at the end, and where what is left must come as lines."""
        if self._back:
            return self._back.pop()
        if self._tail is not None:
            return None
        parts, size, cut = [self._rest], len(self._rest), 0
        for part in self._stream:
            parts.append(part)
            size += len(part)
            if size > MAX_LINE:
                self._tail = split_lines(_joined(parts, self._stream), self._number)
                return None
            cut = part.rfind(b"\n") + 1
            if cut and size >= BLOCK:
                break
        else:
            cut = len(parts[-1])
        data = b"".join(parts)
        end = len(data) - len(parts[-1]) + cut
        self._rest = data[end:]
        block = Block(self._number, data[:end])
        self._number = block.end
        return block if block.data else None

    def put_back(self, block: Block) -> None:
        """Lets a block be the next one."""
        self._back.append(block)

    def lines(self) -> Iterator[Line]:
        """Yields all lines that are left; those that are not used are given to `restore`."""
        while self._lines or self._fill():
            yield self._lines.popleft()
        # Delegated to, it would be closed with this generator, though lines are left in it.
        while self._tail is not None and (line := next(self._tail, None)) is not None:
            yield line

    def until(self, end: float) -> Iterator[Line]:
        """Yields the lines before a line of this number."""
        for line in self.lines():
            if line.number >= end:
                self.restore([line])
                return
            yield line

    def restore(self, lines: Sequence[Line]) -> None:
        """Makes blocks again of lines that were taken and not used, and of those behind them."""
        left = [*lines, *self._lines]
        self._lines.clear()
        if self._tail is not None and left and left[-1].number >= self._number:
            self._lines.extend(left)
        elif left:
            self._back.append(Block(left[0].number, b"".join(line.data for line in left)))

    def _fill(self) -> bool:
        block = self.take()
        if block is not None:
            self._lines.extend(split_lines([block.data], block.number))
        return block is not None


def _joined(parts: list[bytes], stream: Iterator[bytes]) -> Iterator[bytes]:
    yield from filter(None, parts)
    yield from stream
