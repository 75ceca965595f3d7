"""Makes the data set of version 0.1 that later versions must read, resume, extend and merge.

It has to be run with the environment of commit 4700bfa, whose code it calls: the console script
`image-features` beside the interpreter, and the packages `pipeline` and `transforms` of that
commit. It works in /tmp/image-features-v0_1, because keys, fingerprints and run names depend on
absolute paths, and writes what is kept into its own directory, or into the one that is named:

    /path/to/environment-of-4700bfa/bin/python make.py [TARGET]

Two nights, a run that died and a merged run are made by the unchanged code of that commit, except
that its clock is set back to January 2025 and that the run which has to die kills itself after
its first piece. What the same code makes of them afterwards is written to expected.json.
"""

from __future__ import annotations

import argparse
import base64
import csv
import dataclasses
import datetime
import hashlib
import importlib.metadata
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

ROOT = pathlib.Path("/tmp/image-features-v0_1")
INPUTS = ROOT / "inputs"
IMAGES = INPUTS / "images"
MODEL = INPUTS / "model"
COMMIT = "4700bfa"
FIRST_SECOND = 1_735_689_600  # 2025-01-01T00:00:00Z, when all inputs were written.
DAY = 86_400
SIDE = 8
STRIDE = 4
# Powers of two: a multiplication by them is exact.
SCALES = (1.0, 0.5, 2.0, 0.25, 4.0, 1.0, 8.0, 0.5, 1.0, 2.0, 0.25, 1.0)
COLUMN_TYPES = "stars:int64,weight:float32?,tags:string[]?,checked:bool,mark:bytes?,message:string?"
SHARD_KINDS = ("schema", "features", "index", "errors", "removed", "tombstones")
# Similarities of so many are far from where their last digit would be rounded the other way.
NEIGHBOURS = 2
# All in one process, whose log tells everything; a machine of many cores would have several.
ONE_PROCESS = "--direct_running_mode=multi_threading"

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Step:
    """A command whose result is known.

    Attributes:
      name: What it does.
      arguments: The arguments of the console script.
      run: The directory of the run that it makes, relative to the root.
      copies: The directory to copy first, relative to the root, and its copy's name.
      removes: Directories to remove after that, relative to the root.
      says: What the log on stderr must hold.
      varies: Whether the run's fingerprint depends on when the steps are taken.
    """

    name: str
    arguments: tuple[str, ...]
    run: str
    copies: tuple[str, str] | None = None
    removes: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    varies: bool = False


def main() -> int:
    """Makes everything, or runs one command of the old code with another clock."""
    parser = argparse.ArgumentParser(description="Makes the data set of version 0.1.")
    parser.add_argument("target", nargs="?", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--clock", help="Only run the command, which begins at this time.")
    parser.add_argument("--dies", action="store_true", help="Let the command kill itself.")
    parser.add_argument("--command", nargs=argparse.REMAINDER, help="Its arguments.")
    options = parser.parse_args()
    if options.clock:
        return run_here(options.clock, options.dies, options.command)
    make(pathlib.Path(options.target).resolve())
    return 0


def make(target: pathlib.Path) -> None:
    """Makes the stored state, stores it, and notes what the old code makes of it.

    Args:
      target: The directory to write to.

    Raises:
      FileExistsError: The root exists already; nothing is overwritten.
    """
    ROOT.mkdir()
    with tempfile.TemporaryDirectory(prefix="image-features-cache-") as cache:
        os.environ["IMAGE_FEATURES_CACHE"] = cache
        write_model()
        write_first_images()
        write_manifests()
        for dataset in ("dataset", "compacted"):
            run_at("2025-01-02T02:00:00", night_1(dataset, "night-1"))
        write_image("img-13", day=1)
        write_image("img-03", edition=2, day=2)
        for dataset in ("dataset", "compacted"):
            run_at("2025-01-03T02:00:00", night_2(dataset))
        write_image("img-07", edition=2, day=3)
        run_at("2025-01-04T02:00:00", half_done(), dies=True)
        make_staging_anonymous(ROOT / "dataset" / "half-done" / ".staging")
        write_image("img-05", edition=2, day=4)
        run_at("2025-01-04T12:00:00", ["compact", f"{ROOT}/compacted"])
        store(target)
        expected = as_json(expect()) + "\n"
        (target / "expected.json").write_text(expected, encoding="utf-8")
        shutil.rmtree(ROOT)


def write_model() -> None:
    """Writes a feature-vector module that selects pixels and scales them, and sums nothing."""
    import tensorflow as tf

    class Module(tf.Module):
        """Every fourth pixel of every fourth row, each channel times a power of two."""

        @tf.function(
            input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, name="images")]
        )
        def __call__(self, images: Any) -> Any:
            picked = images[:, ::STRIDE, ::STRIDE, :]
            return tf.reshape(picked, [-1, len(SCALES)]) * tf.constant(SCALES, tf.float32)

    module = Module()
    tf.saved_model.save(
        module, str(MODEL), signatures={"serving_default": module.__call__.get_concrete_function()}
    )
    # It is random, and no part of a model's content hash; an empty directory is not kept by git.
    (MODEL / "fingerprint.pb").unlink()
    for directory in MODEL.iterdir():
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
    for path in MODEL.rglob("*"):
        set_time(path, 0)


def write_first_images() -> None:
    """Writes the images in the state of the first night, and the files that are no images.

    One image that the first manifest names, img-13, comes after that night.
    """
    IMAGES.mkdir()
    for number in range(20):
        if number != 13:
            write_image(f"img-{number:02d}")
    whole = (IMAGES / "img-00.png").read_bytes()
    write_bytes(IMAGES / "broken.png", whole[: len(whole) // 2])
    write_bytes(IMAGES / "junk.png", b"This is a text and no image.\n")
    write_bytes(IMAGES / "empty.png", b"")


def write_image(name: str, *, edition: int = 1, day: int = 0) -> None:
    """Writes a picture of the model's size that is unlike any other name's or edition's.

    Args:
      name: The name of the file, without its suffix; every fifth image is grey.
      edition: Another number gives another picture.
      day: When it was written, in days after the first.
    """
    from PIL import Image

    mode = "L" if int(name[-2:]) % 5 == 4 else "RGB"
    size = SIDE * SIDE * len(mode)
    pixels = hashlib.shake_128(f"{name} {edition}".encode()).digest(size)
    out = io.BytesIO()
    Image.frombytes(mode, (SIDE, SIDE), pixels).save(out, "PNG")
    write_bytes(IMAGES / f"{name}.png", out.getvalue(), day)


def write_manifests() -> None:
    """Writes a manifest for each of the runs; all name `missing.png`, which is not there."""
    failing = ("broken", "empty", "missing")
    night_1 = [row_of(name) for name in (*numbered([*range(12), 13]), *failing)]
    night_1.append(row_of("img-02"))  # A duplicate.
    night_1.append(row_of("img-12") | {"stars": "many"})  # A bad row that names an image.
    write_jsonl("night-1", night_1)

    night_2 = [row_of(name) for name in (*numbered(range(10)), "img-12", "img-13", *failing)]
    lines = ["# The second night.", *csv_lines(night_2), "images/img-14.png,too,many,fields,here"]
    write_text(INPUTS / "night-2.csv", "\n".join(lines) + "\n")

    third = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, *range(12, 18)]
    rows = [row_of(name) for name in (*numbered(third), *failing, "junk")]
    write_jsonl("half-done", rows, more='{"uri": "images/img-18.png", \n')

    fourth = [*range(10), 11, 12, *range(14, 20)]
    rows = [row_of(name) for name in (*numbered(fourth), *failing)]
    write_text(INPUTS / "night-4.csv", "\n".join(csv_lines(rows)) + "\n")


def numbered(numbers: Sequence[int]) -> list[str]:
    """Names of images."""
    return [f"img-{number:02d}" for number in numbers]


def row_of(name: str) -> Row:
    """A manifest's row with all of the columns, some of them absent.

    Relative paths, absolute ones and file URIs are all among them.
    """
    number = sum(name.encode())
    prefix = {0: f"file://{IMAGES}", 1: str(IMAGES)}.get(number % 4, "images")
    row: Row = {
        "uri": f"{prefix}/{name}.png",
        "label": f"Größe {name}",
        "stars": number % 6 - 1,
        "checked": number % 3 == 0,
    }
    if number % 2:
        row |= {"weight": number / 8, "tags": [name, "ä"], "message": f"from {name}"}
    if number % 5 == 0:
        row |= {"mark": {"base64": base64.b64encode(bytes([0, 255, number % 256])).decode()}}
        row |= {"tags": []}
    return row


def write_jsonl(name: str, rows: Sequence[Row], more: str = "") -> None:
    """Writes a JSONL manifest, and a text after its rows."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_text(INPUTS / f"{name}.jsonl", "".join(lines) + more)


def csv_lines(rows: Sequence[Row]) -> list[str]:
    """Lines of CSV, which holds neither lists nor absent values, and has fewer columns for that."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("uri", "label", "stars", "checked")
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return out.getvalue().splitlines()


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file that has the first day's time."""
    write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, data: bytes, day: int = 0) -> None:
    """Writes a file, and gives it the time of a day."""
    path.write_bytes(data)
    set_time(path, day)


def set_time(path: pathlib.Path, day: int) -> None:
    """Sets a file's time of change to a whole second, so many days after the first."""
    os.utime(path, (FIRST_SECOND + day * DAY,) * 2)


def extraction(dataset: str, run_id: str, manifest: str, *options: str) -> list[str]:
    """The arguments of an extraction into one of the data sets."""
    return [
        "extract",
        f"--input={INPUTS / manifest}",
        f"--output={ROOT / dataset}",
        f"--run_id={run_id}",
        f"--model={MODEL}",
        f"--column_types={COLUMN_TYPES}",
        *options,
    ]


def night_1(dataset: str, run_id: str) -> list[str]:
    """The first night's command."""
    return extraction(dataset, run_id, "night-1.jsonl", "--incremental", "--num_shards=2")


def night_2(dataset: str) -> list[str]:
    """The second night's command, which hides what it does not name and compresses its shards."""
    options = ("--incremental", "--tombstone_removed", "--num_shards=3", "--compression=gzip")
    return extraction(dataset, "night-2", "night-2.csv", *options)


def half_done() -> list[str]:
    """The command of the run that dies, and that takes it up again."""
    return extraction("dataset", "half-done", "half-done.jsonl", "--incremental", "--num_shards=2")


def night_4(dataset: str) -> list[str]:
    """The fourth night's command."""
    options = ("--incremental", "--tombstone_removed", "--num_shards=3")
    return extraction(dataset, "night-4", "night-4.csv", *options)


def run_at(clock: str, arguments: Sequence[str], *, dies: bool = False) -> None:
    """Runs a command of the old code in a process whose clock is set back.

    Args:
      clock: When it begins, ISO 8601, UTC.
      arguments: The arguments of the console script.
      dies: Whether the process has to kill itself.

    Raises:
      RuntimeError: It did not end as it should have.
    """
    command = [sys.executable, __file__, f"--clock={clock}", *(["--dies"] if dies else [])]
    command += ["--command", *arguments, ONE_PROCESS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode != (-signal.SIGKILL if dies else 0):
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stderr}")
    print(done.stdout + done.stderr)


def run_here(clock: str, dies: bool, arguments: list[str]) -> int:
    """Runs a command of the old code in this process, as `run_at` has asked for it."""
    import pipeline.config

    begun, start = datetime.datetime.fromisoformat(f"{clock}+00:00"), time.monotonic()

    def utc_now() -> str:
        return (begun + datetime.timedelta(seconds=time.monotonic() - start)).isoformat()

    # Before anything else is imported, so that all modules get this one.
    pipeline.config.utc_now = utc_now
    if dies:
        die_after_first_piece()
    from pipeline import cli

    code = cli.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def die_after_first_piece() -> None:
    """Lets this process kill itself where it would write the second piece of features."""
    from transforms import shard_files

    write = shard_files._WritePiecesDoFn._write
    lock = threading.Lock()
    written: list[Any] = []

    def write_or_die(self: Any, content: Any) -> Any:
        if self._naming.kind != "features":
            return write(self, content)
        with lock:
            if written:
                os.kill(os.getpid(), signal.SIGKILL)
            written.append(write(self, content))
            return written[0]

    shard_files._WritePiecesDoFn._write = write_or_die


def make_staging_anonymous(staging: pathlib.Path) -> None:
    """Replaces the host's name in a staging directory, and lets the claim in it be over."""
    launch = json.loads((staging / "launch.json").read_text())
    (staging / "launch.json").write_text(json.dumps(launch | {"host": "example"}))
    claim = json.loads((staging / "claim.json").read_text())
    began = datetime.datetime.fromisoformat("2025-01-04T02:00:00+00:00")
    claim |= {"host": "example", "process": 12345, "since": "2025-01-04T02:00:00Z"}
    claim["expires"] = began.timestamp() + 120
    (staging / "claim.json").write_text(json.dumps(claim))


def store(target: pathlib.Path) -> None:
    """Copies the root to the target, and lists the times of the inputs."""
    kept = target / ROOT.name
    if kept.exists():
        shutil.rmtree(kept)
    shutil.copytree(ROOT, kept)
    files = sorted(path for path in INPUTS.rglob("*") if path.is_file())
    times = {str(path.relative_to(ROOT)): path.stat().st_mtime_ns for path in files}
    (target / "mtimes.json").write_text(json.dumps(times, indent=2) + "\n", encoding="utf-8")


def expect() -> dict[str, Any]:
    """What the old code reads in the stored state, and what it makes of it, step by step."""
    from pipeline.layout import find_run

    merged = next(path.name for path in (ROOT / "compacted").glob("compacted-*"))
    key = hashlib.sha256(str(IMAGES / "img-03.png").encode()).hexdigest()[:32]
    recorded = find_run(str(ROOT / "dataset"))[1]["versions"]
    return {
        "commit": COMMIT,
        "root": str(ROOT),
        "versions": recorded | {"pyarrow": importlib.metadata.version("pyarrow")},
        "merged_run": merged,
        "read": {name: read(name) for name in ("dataset", "compacted")},
        "search": [search(name, key) for name in ("dataset", "compacted")],
        "steps": [take(step) for step in steps(merged)],
    }


def steps(merged: str) -> list[Step]:
    """The commands to run on the stored state, in this order.

    Args:
      merged: The name of the merged run in the data set `compacted`.
    """
    fresh = extraction("fresh", "fresh", "night-1.jsonl", "--num_shards=2")
    retry = (
        "extract",
        "--retry_errors=night-1",
        f"--output={ROOT / 'retried'}",
        "--run_id=retry",
        f"--model={MODEL}",
        "--num_shards=2",
    )
    compact = ("compact", f"{ROOT / 'merged'}", "--run_id=merged", "--num_shards=3")
    takes_up = "Takes up the run half-done where an earlier attempt has left it."
    return [
        Step("fresh", tuple(fresh), "fresh/fresh"),
        # The errors shard's own time of change counts.
        Step("retry", retry, "retried/retry", copies=("dataset", "retried"), varies=True),
        Step("resume", (*half_done(), ONE_PROCESS), "dataset/half-done", says=(takes_up,)),
        # The time when the run was resumed counts.
        Step("compact", compact, "merged/merged", copies=("dataset", "merged"), varies=True),
        Step(
            "extend",
            tuple(night_4("extended")),
            "extended/night-4",
            copies=("dataset", "extended"),
        ),
        Step(
            "compact_again",
            ("compact", f"{ROOT / 'merged-again'}"),
            f"merged-again/{merged}",
            copies=("compacted", "merged-again"),
            removes=(f"merged-again/{merged}",),
        ),
        Step(
            "extend_compacted",
            tuple(night_4("extended-compacted")),
            "extended-compacted/night-4",
            copies=("compacted", "extended-compacted"),
        ),
    ]


def take(step: Step) -> dict[str, Any]:
    """Takes a step with the old code's console script, and tells what came of it."""
    if step.copies:
        source, copy = step.copies
        shutil.copytree(ROOT / source, ROOT / copy)
    for directory in step.removes:
        shutil.rmtree(ROOT / directory)
    done = console(step.arguments)
    print(f"{step.name}:\n{done.stdout}{done.stderr}")
    if done.returncode != 0 or not all(text in done.stderr for text in step.says):
        raise RuntimeError(f"The step {step.name} ended with {done.returncode}.")
    run = json.loads((ROOT / step.run / "run.json").read_text())
    if run["model"]["engine"] != "litert":
        raise RuntimeError(f"The step {step.name} has computed with {run['model']['engine']}.")
    files = [file for file in run["files"] if file["kind"] in SHARD_KINDS]
    return dataclasses.asdict(step) | {
        "exit_code": done.returncode,
        "taken_over": taken_over(done.stderr),
        "fingerprint": None if step.varies else run["fingerprint"],
        "counts": run["counts"],
        "files": [{key: file[key] for key in ("kind", "name", "sha256")} for file in files],
    }


def taken_over(log: str) -> list[dict[str, Any]]:
    """The events of a log that tell of rows which an earlier attempt has left, by shard."""
    lines = [line[line.index("{") :] for line in log.splitlines() if '"taken_over"' in line]
    return sorted((json.loads(line) for line in lines), key=lambda event: event["shard"])


def read(name: str) -> dict[str, Any]:
    """All that `load_numpy` gives of a data set, sorted by key, as JSON."""
    from pipeline.dataset import load_numpy

    found = load_numpy(str(ROOT / name))
    order = found.keys.argsort().tolist()
    return {
        "keys": found.keys[order].tolist(),
        "uris": found.uris[order].tolist(),
        "features": found.features[order].tolist(),
        "columns": {
            column: [plain(values[place]) for place in order]
            for column, values in found.columns.items()
        },
    }


def plain(value: Any) -> Any:
    """A column's value as JSON can hold it; bytes become {"base64": "..."}."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value.item() if hasattr(value, "item") else value


def search(name: str, key: str) -> dict[str, Any]:
    """The lines that `search` prints of the neighbours of a row."""
    arguments = ("search", str(ROOT / name), f"--key={key}", "--json", "-k", str(NEIGHBOURS))
    done = console(arguments)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return {"dataset": name, "arguments": arguments, "lines": done.stdout.splitlines()}


def console(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs the old code's console script."""
    script = pathlib.Path(sys.executable).parent / "image-features"
    return subprocess.run([script, *arguments], capture_output=True, text=True, cwd=ROOT)


def as_json(value: Any, indent: str = "") -> str:
    """JSON in which a list or an object that holds no other ones is on one line."""
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list | tuple) or not any(
        isinstance(item, dict | list | tuple) for item in items
    ):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + "  "
    lines = [inner + as_json(item, inner) for item in items]
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {as_json(item, inner)}" for key, item in value.items()]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n" + ",\n".join(lines) + f"\n{indent}{end}"


if __name__ == "__main__":
    sys.exit(main())
