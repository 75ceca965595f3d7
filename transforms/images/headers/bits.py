"""Numbers of any number of bits, as the headers of video codecs have them."""

from __future__ import annotations


class Bits:
    """Reads bits from the highest of the first byte on.

    Args:
      data: The bytes; reading beyond them is an IndexError.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, count: int) -> int:
        """Reads an unsigned number of so many bits."""
        value = 0
        for _ in range(count):
            byte = self._data[self._position >> 3]
            value = value << 1 | byte >> (7 - self._position & 7) & 1
            self._position += 1
        return value

    def skip(self, count: int) -> None:
        """Leaves out so many bits."""
        self._position += count

    def exponential(self) -> int:
        """Reads an unsigned number in an Exp-Golomb code, `ue(v)` and `uvlc()`."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("a number of the header has more than 32 bits")
        return (1 << zeros) - 1 + self.read(zeros)
