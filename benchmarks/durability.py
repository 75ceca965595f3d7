"""The cost of bringing a run to the disk before run.json lists its files.

python -m benchmarks.durability [--directory=DIR] [--rows 10000] [--shards 4] [--rounds 7]

Each round writes and commits the files of a run twice, in turn: as `extract` does it, and with
os.fsync patched away. The files are as large as those of shards with so many rows. Nothing is
fetched or computed, so that the cost stands out; the last line sets it against the images' time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import random
import shutil
import statistics
import tempfile
import time
from unittest import mock

from image_features.transforms.stores.files import create_once, create_whole, sync_names

# The sizes of a row of 1280 features and of its entry in the index, and the rate of two cores by
# docs/performance.md.
_ROW_BYTES, _INDEX_BYTES = 5_400, 80
_IMAGES_A_SECOND = 784
_DESCRIPTIONS = 5
_BLOCK = 2**20


def main() -> None:
    """Prints the seconds of both ways, and what the difference is to a run of as many images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--directory", help="A directory on the disk to measure (the temporary).")
    parser.add_argument("--rows", type=int, default=10_000, help="Rows of a shard.")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    flushed, left = [], []
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        for number in range(options.rounds):
            first, second = (True, False) if number % 2 else (False, True)
            for flush in (first, second):
                seconds = _write_run(pathlib.Path(name), options.rows, options.shards, flush=flush)
                (flushed if flush else left).append(seconds)
    images = options.rows * options.shards
    cost = statistics.median(flushed) - statistics.median(left)
    ratios = sorted(one / other for one, other in zip(flushed, left, strict=True))
    share = cost * _IMAGES_A_SECOND / images
    print(f"{options.shards} shards of {options.rows} rows, {options.rounds} rounds, medians:")
    print(f"  on the disk          {statistics.median(flushed):.3f} s")
    print(f"  fsync patched away   {statistics.median(left):.3f} s")
    print(f"  ratio                {statistics.median(ratios):.2f}", end="")
    print(f"   ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"  cost                 {cost:.3f} s, {cost / options.shards:.3f} s a shard")
    print(f"  of the time of {images} images: {share:.2%}")


def _write_run(scratch: pathlib.Path, rows: int, shards: int, *, flush: bool) -> float:
    """Writes the files of a run, commits it, and removes it; returns the seconds of the writing."""
    run = scratch / "run"
    (run / ".staging").mkdir(parents=True)
    block = random.Random(rows).randbytes(_BLOCK)
    sizes = {f"features-{n}": rows * _ROW_BYTES for n in range(shards)}
    sizes |= {f"index-{n}": rows * _INDEX_BYTES for n in range(shards)}
    sizes |= {f"description-{n}": 4_000 for n in range(_DESCRIPTIONS)}
    start = time.perf_counter()
    with mock.patch("os.fsync", os.fsync if flush else lambda descriptor: None):
        for name, size in sizes.items():
            digest = hashlib.sha256()
            with create_whole(str(run / name), str(run / ".staging" / name)) as file:
                while size > 0:
                    data = block[:size]
                    digest.update(data)
                    file.write(data)
                    size -= len(data)
        sync_names(str(run))
        create_once(str(run / "run.json"), block[:20_000], str(run / ".staging" / "run.json"))
    seconds = time.perf_counter() - start
    shutil.rmtree(run)
    os.sync()  # What one way has left behind must not be the other's to write.
    return seconds


if __name__ == "__main__":
    main()
