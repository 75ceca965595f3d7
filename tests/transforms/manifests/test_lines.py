import io
import time
import tracemalloc

from image_features.transforms.manifests import lines
from image_features.transforms.manifests.lines import Line, read_lines


class Repeated(io.RawIOBase):
    """A file of so many bytes that repeat a text, then a last line."""

    def __init__(self, text, size, last):
        self._text, self._left, self._last = text, size, last

    def read(self, size=-1):
        take = min(size, self._left)
        self._left -= take
        if take:
            return (self._text * (take // len(self._text) + 1))[:take]
        last, self._last = self._last, b""
        return last


def test_lines_end_in_every_way_at_every_block(monkeypatch):
    text = b"a\r\nb\rc\n\n\r\n\r\rd\n \n\xc3\xa9e\r\n"
    expected = [line.strip() for line in text.splitlines()]
    for block in range(1, 12):
        monkeypatch.setattr(lines, "_BLOCK", block)
        found = list(read_lines(io.BytesIO(text), "m"))
        numbered = {line.number: line.data.strip() for line in found if line.data.strip()}
        assert numbered == {i: line for i, line in enumerate(expected, 1) if line}
        assert b"".join(line.data for line in found) == text


def test_a_long_line_is_cut_and_its_neighbours_are_whole(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE", 10)
    for block in (1, 3, 64):
        monkeypatch.setattr(lines, "_BLOCK", block)
        for end in (b"\n", b"\r\n", b"\r"):
            text = end.join([b"a", b"x" * 45, b"b", b"y" * 30])
            assert [
                (line.number, line.data.strip(), line.cut)
                for line in read_lines(io.BytesIO(text), "m")
            ] == [(1, b"a", False), (2, b"x" * 10, True), (3, b"b", False), (4, b"y" * 10, True)]


def test_memory_stays_flat_whatever_is_long():
    for text, number in ((b"\n", 300_000_001), (b"x", 1), (b"\r\n", 150_000_001)):
        tracemalloc.start()
        begun = time.monotonic()
        for line in read_lines(Repeated(text, 300_000_000, b"\nlast\n"), "m"):
            last = line
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert last == Line(number + 1, b"last\n")
        assert peak < 100e6
        assert time.monotonic() - begun < 60
