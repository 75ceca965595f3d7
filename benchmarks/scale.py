"""New rows by the million on one machine: rate, memory by phase, staging and open files.

python -m benchmarks.scale [--rows 1000000 10000000] [--shards N] [--json=FILE] [-- OPTIONS]

The whole command runs on the in-process runner, with images of 16 pixels and a model of 8 numbers,
so that what is measured is all but decoding and inference. The files are few, and have many names
by links to their directory. The model is compiled before, since that is done once a machine.

Phases: `read` until the rows are counted, `group` until the first feature is written, `extract`
until the last one is, `merge` until the end. Of each the table has the most memory in MiB that the
processes have written. What is mapped from files, libraries above all, is a column of its own: it
depends on how many other processes share it, and not on the rows.

A second table tells what the largest run took as times of the smallest, and how many bytes a row
more. The goals are 1.2 for what is no reference, and 100 bytes for a reference that is held.
References wait in files on this runner: a phase is `flat` within 1.2 of all it holds, and else
only holds `references` if it grows by at most 100 bytes a row.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks import measure
from benchmarks.extraction import RUN_ID, report
from image_features.pipeline.dataset.layout import RunLayout
from image_features.transforms.runtime.progress import read_snapshot

_FILES = 1000
_SIDE, _FEATURES = 16, 8
_PHASES = ("read", "group", "extract", "merge")
_SECONDS = 0.5
_TIMEOUT = 4 * 3600.0
_FLAT = 1.2
_REFERENCE_BYTES = 100
_MODEL = """
import sys
import numpy as np
import tensorflow as tf
side, features, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
weights = tf.constant(np.random.default_rng(0).normal(size=(3, features)), tf.float32)
module = tf.Module()
module.__call__ = tf.function(
    lambda images: tf.reduce_mean(images, [1, 2]) @ weights,
    input_signature=[tf.TensorSpec([None, side, side, 3], tf.float32, name="images")],
)
tf.saved_model.save(module, path)
"""


def main() -> None:
    """Prints a row for every number of images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", type=int, default=[1_000_000, 10_000_000])
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="Writes it all there.")
    parser.add_argument("extract", nargs="*", metavar="OPTION", help="Options of extract.")
    options = parser.parse_args()
    machine = measure.machine()
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        place = pathlib.Path(scratch)
        _draw(place / "images")
        model = str(place / "model")
        script = [sys.executable, "-c", _MODEL, str(_SIDE), str(_FEATURES), model]
        subprocess.run(script, check=True, stderr=subprocess.DEVNULL)
        _measure(place / "warm", _FILES, model, options.extract)
        for rows in sorted(options.rows):
            table.append(_measure(place / str(rows), rows, model, options.extract))
            print(json.dumps(table[-1]), file=sys.stderr, flush=True)
            if options.json:  # What is measured is kept if a longer run is ended.
                result = {"machine": machine, "options": options.extract, "rows": table}
                options.json.write_text(json.dumps(result, indent=2) + "\n")
    growth = list(compared(table))
    report(table, options.json, machine=machine, options=options.extract, growth=growth)
    if growth:
        measure.print_table(growth)


def compared(table: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields what the last of some runs took of each resource, against the first.

    Args:
      table: The rows of runs, by their number of images.
    """
    if len(table) < 2:
        return
    first, last = table[0], table[-1]
    for name in (*(f"{phase}_mib" for phase in _PHASES), "open_files", "cpu_us"):
        if not first[name]:
            continue  # A phase may be over between two looks.
        times = last[name] / first[name]
        line = {"": name, "first": first[name], "last": last[name], "times": round(times, 2)}
        if name.endswith("_mib"):
            more = (last[name] - first[name]) * measure.MIB / (last["images"] - first["images"])
            line["bytes_a_row"] = round(more, 1)
            references = more <= _REFERENCE_BYTES
        else:
            references = False
            line["bytes_a_row"] = ""
        flat = "flat" if times <= _FLAT else "references" if references else "grows"
        yield {**line, "verdict": flat}


def _draw(directory: pathlib.Path) -> None:
    directory.mkdir()
    generator = np.random.default_rng(0)
    for number in range(_FILES):
        pixels = generator.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(directory / f"{number:03}.jpg")


def _lines(place: pathlib.Path, rows: int) -> Iterator[str]:
    """Makes distinct paths of images; each directory of a thousand is a link to the same one."""
    for number in range(rows):
        directory = place / f"{number // _FILES:06}"
        if number % _FILES == 0:
            directory.symlink_to(place.parent / "images")
        yield f"{directory}/{number % _FILES:03}.jpg\n"


def _measure(place: pathlib.Path, rows: int, model: str, options: list[str]) -> dict[str, Any]:
    place.mkdir()
    manifest, dataset = place / "m.txt", place / "dataset"
    with open(manifest, "w") as file:
        file.writelines(_lines(place, rows))
    command = [sys.executable, "-m", "image_features", "extract", f"--input={manifest}"]
    command += [f"--output={dataset}", f"--run_id={RUN_ID}", f"--model={model}", *options]
    with _Watch(RunLayout(str(dataset / RUN_ID)).staging, rows) as watch:
        usage = measure.run(command, timeout=_TIMEOUT)
    counts = json.loads((dataset / RUN_ID / "run.json").read_text())["counts"]
    if counts["rows_out"] != rows:
        raise RuntimeError(f"Of {rows} rows {counts['rows_out']} came out: {counts}.")
    shutil.rmtree(place)
    return {
        "images": rows,
        "seconds": round(usage.seconds, 1),
        "images_per_s": round(rows / usage.seconds, 1),
        "cpu_us": round(1e6 * usage.cpu_seconds / rows, 1),
        **{f"{phase}_mib": round(watch.peaks[phase]) for phase in _PHASES},
        "mapped_mib": round(watch.mapped),
        "staging_mib": round(watch.staging / measure.MIB),
        "staging_files": watch.files,
        "open_files": watch.opened,
    }


class _Watch(threading.Thread):
    """Looks at the processes below this one and at a run's staging, every half second.

    Attributes:
      peaks: The most memory by phase that belongs to no file, in MiB.
      mapped: The most memory of files, in MiB.
      staging: The most bytes in staging.
      files: The most files in staging.
      opened: The most open files of one process.
    """

    def __init__(self, staging: str, rows: int) -> None:
        super().__init__(daemon=True)
        self.peaks = dict.fromkeys(_PHASES, 0.0)
        self.mapped = 0.0
        self.staging = self.files = self.opened = 0
        self._directory = staging
        self._rows = rows
        self._ended = threading.Event()
        self._phase = 0

    def __enter__(self) -> _Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Looks until it is told to end."""
        wait = _SECONDS
        while not self._ended.wait(wait):
            start = time.perf_counter()
            self._look()
            # A staging of many files takes a while to list.
            wait = max(_SECONDS, 20 * (time.perf_counter() - start))

    def _look(self) -> None:
        told = read_snapshot(self._directory)
        phase = 0 if not told.total else 1 if not told.done else 2 + (told.done >= self._rows)
        self._phase = max(self._phase, phase)  # Staging is deleted at the end.
        memory = mapped = 0.0
        for process in psutil.Process().children(recursive=True):
            try:
                own, of_files = _memory(process.pid)
                memory, mapped = memory + own, mapped + of_files
                self.opened = max(self.opened, process.num_fds())
            except (psutil.Error, OSError, KeyError):
                continue  # It has ended.
        name = _PHASES[self._phase]
        self.peaks[name] = max(self.peaks[name], memory)
        self.mapped = max(self.mapped, mapped)
        sizes = list(_sizes(self._directory))
        self.staging, self.files = max(self.staging, sum(sizes)), max(self.files, len(sizes))


def _memory(process: int) -> tuple[float, float]:
    """Returns a process's share of memory that belongs to no file, and of that of files, in MiB."""
    told = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
    sizes = {name: int(size) / 1024 for name, size in re.findall(r"(\w+): +([0-9]+) kB", told)}
    own = sizes["Pss_Anon"] + sizes["Pss_Shmem"]
    return own, sizes["Pss"] - own


def _sizes(directory: str) -> Iterator[int]:
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                yield os.stat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # It is gone.


if __name__ == "__main__":
    main()
