"""The cost of decoding in a child process, which may crash and be ended, against the thread's own.

python -m benchmarks.isolation [--sides 32 500 2000] [--count=200] [--json=FILE]

Pictures of our own are written in formats that are decoded in a child, and in PNG for comparison.
Each is decoded by one thread in this process and through a child, in turn; medians are given. The
first file of a child pays for its start, which is told apart. JPEG files that end early, as
`--allow_truncated` takes them, are tried in the thread and decoded in a child; they are compared
with whole ones.
"""

from __future__ import annotations

import argparse
import io
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks import measure
from image_features.transforms.images.children import decode_in_child, end_children
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.picture import Pixels, decode_picture
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy

_POLICY = DecodePolicy((224, 224))
_LENIENT = DecodePolicy((224, 224), allow_truncated=True)
_FORMATS = ("PNG", "BMP", "TIFF", "TIFF, LZW", "JPEG", "JPEG, cut")
_PIXELS = 60_000_000  # So many of each kind are decoded at most.


def main() -> None:
    """Prints a row for every format and size, and writes JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", nargs="+", type=int, default=[32, 500, 2000])
    parser.add_argument("--count", type=int, default=200, help="Files of each kind, at most.")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="Writes it all there.")
    options = parser.parse_args()
    start = _start_seconds()
    print(f"a child starts in {1000 * start:.0f} ms")
    print(f"{'format':12}{'side':>6}{'KB':>9}{'thread ms':>11}{'child ms':>10}{'ratio':>7}")
    rows = []
    for side in options.sides:
        for format in _FORMATS:
            row = _row(format, side, max(3, min(options.count, _PIXELS // side**2)))
            rows.append(row)
            print(
                f"{format:12}{side:6}{row['bytes'] / 1000:9.1f}{row['thread_ms']:11.2f}"
                f"{row['child_ms']:10.2f}{row['ratio']:7.2f}",
                flush=True,
            )
    end_children()
    if options.json:
        result = {"machine": measure.machine(), "start_seconds": start, "rows": rows}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def _start_seconds() -> float:
    data, seconds = _file("BMP", 32), []
    for _ in range(5):
        end_children()
        seconds.append(_seconds(lambda: decode_in_child(data, _POLICY)))
    return statistics.median(seconds)


def _row(format: str, side: int, count: int) -> dict[str, float | str | int]:
    data = _file(format, side)
    ways: tuple[Callable[[], Pixels], Callable[[], Pixels]] = (
        lambda: decode_picture(data, read_header(data), _POLICY),
        lambda: decode_in_child(data, _POLICY),
    )
    if format == "JPEG, cut":
        whole = _file("JPEG", side)
        ways = (lambda: decode_image(whole, _POLICY), lambda: decode_image(data, _LENIENT))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):  # In turn, so that a noisy moment strikes both.
        for way, seconds in zip(ways, times, strict=True):
            seconds.append(_seconds(way))
    thread, child = (1000 * statistics.median(seconds) for seconds in times)
    return {
        "format": format,
        "side": side,
        "bytes": len(data),
        "thread_ms": thread,
        "child_ms": child,
        "ratio": child / thread,
    }


def _seconds(work: Callable[[], Pixels]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _file(format: str, side: int) -> bytes:
    coarse = np.random.default_rng(side).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    name, _, way = format.partition(", ")
    out = io.BytesIO()
    image.save(out, name, **({"compression": "tiff_lzw"} if way == "LZW" else {}))
    data = out.getvalue()
    return data[: len(data) * 19 // 20] if way == "cut" else data


if __name__ == "__main__":
    main()
