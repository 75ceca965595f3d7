"""Progressive JPEGs without the scans of detail that an eighth of the size does not show.

Of a block of 8 x 8 samples an eighth shows the mean, which is in scans of its own. Scans of the
other coefficients are most of the file, and of the time that it takes. Colours that are sampled at
half the size keep theirs, since a decoder shows a block of them as four pixels.
"""

from __future__ import annotations

import struct

from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.jpeg import FRAMES, scan_parts, segments

_PROGRESSIVE, _SCAN, _END = 0xC2, 0xDA, b"\xff\xd9"
# A code of four bits for each number of blocks that an end of band may count: 2**0 to 2**14.
_BITS = range(15)
_TABLE = b"\x10" + bytes([0, 0, 0, len(_BITS)] + [0] * 12) + bytes(bits << 4 for bits in _BITS)
_NO_RESTARTS = b"\xff\xdd\0\4\0\0"


def without_detail(data: bytes, header: Header) -> bytes:
    """Returns a progressive JPEG that has the same pixels at an eighth of its size.

    In the place of the scans that are left out is one that says that there is no detail: a decoder
    that has seen none would guess some.

    Returns:
      The file without detail; as it is where it is no progressive one, or has no end.
    """
    frame = next(place for marker, place in segments(data) if marker in FRAMES)
    if data[frame + 1] != _PROGRESSIVE:
        return data
    blocks = _shown_as_means(data, frame, header)
    first = next(place for marker, place in segments(data) if marker == _SCAN)
    parts = [(_SCAN, first), *((marker, place) for _, marker, place in scan_parts(data, first))]
    end = data.find(_END, parts[-1][1])
    if end < 0 or not blocks:
        return data
    kept, left_out = [data[:first]], set()
    places = [place for _, place in parts]
    for (marker, place), following in zip(parts, [*places[1:], end], strict=True):
        count, component = data[place + 4 : place + 6]
        is_detail = marker == _SCAN and count == 1 and data[place + 7] > 0
        if is_detail and component in blocks:
            left_out.add(component)
        else:
            kept.append(data[place:following])
    none = [_without_any(component, blocks[component]) for component in sorted(left_out)]
    return b"".join([*kept, _NO_RESTARTS, _segment(0xC4, _TABLE), *none, _END])


def _shown_as_means(data: bytes, frame: int, header: Header) -> dict[int, int]:
    """Returns the components of which only means are shown, each with its number of blocks."""
    layout = data[frame + 10 : frame + 10 + 3 * data[frame + 9]]
    sampled = {name: (byte >> 4, byte & 15) for name, byte, _ in struct.iter_unpack("BBB", layout)}
    across = max(factors[0] for factors in sampled.values())
    down = max(factors[1] for factors in sampled.values())
    return {
        name: _blocks(header.width, h, across) * _blocks(header.height, v, down)
        for name, (h, v) in sampled.items()
        if across % (2 * h) or down % (2 * v)
    }


def _blocks(size: int, factor: int, most: int) -> int:
    samples = -(-size * factor // most)
    return -(-samples // 8)


def _without_any(component: int, blocks: int) -> bytes:
    """Returns a scan that ends the band of each block of a component before it has begun."""
    bits = ""
    while blocks:
        length = min(blocks.bit_length(), len(_BITS)) - 1
        ended = min(blocks, 2 ** (length + 1) - 1)
        bits += format(length, "04b") + format(ended, "b")[1:]
        blocks -= ended
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return _segment(_SCAN, bytes([1, component, 0, 1, 63, 0])) + coded


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body
