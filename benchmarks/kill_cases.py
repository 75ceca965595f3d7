"""The commands that `kills` kills: what each begins with, and how its outcome is compared.

The images are drawn here: small ones with two labels, one that is broken, one that is named twice.
The second night has new images, one that has changed and some that are gone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from image_features.errors import RunNotFoundError
from image_features.pipeline.dataset import inspection, reading
from image_features.pipeline.dataset.export import exports_in
from image_features.pipeline.dataset.layout import EXPORT_FILE
from image_features.pipeline.dataset.run import committed_runs

_IMAGES = 48
_NEW = 16
_SHARDS = "--num_shards=3"
# What differs between two undisturbed runs, being times or made of them.
_TIMES = ("started", "finished", "duration_seconds", "images_per_second")
# TensorFlow names a graph's functions by how many the process has made, which are fewer after a
# training that was taken up, and gives each graph a random id.
_OTHERWISE = ("metrics.prom", "saved_model.pb", "fingerprint.pb")
Tree = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Case:
    """A command, and the place that it works on.

    Attributes:
      name: The name in the table.
      arguments: The command's arguments.
      start: A copy of what the place holds before the command.
      sees: A function that tells what readers see there, as a hash; empty if there is nothing.
      clean: The arguments of the command that removes what died; empty if there is none.
      is_once: Whether the command is refused when its outcome is there already.
    """

    name: str
    arguments: Sequence[str]
    start: pathlib.Path
    sees: Callable[[pathlib.Path], str]
    clean: Sequence[str] = ()
    is_once: bool = False


def prepare(scratch: pathlib.Path, place: pathlib.Path) -> dict[str, Case]:
    """Draws images, and makes what each command begins with.

    Args:
      scratch: An empty directory for what stays as it is.
      place: The directory that the commands will work on.
    """
    empty = scratch / "empty"
    empty.mkdir()
    dataset, night = str(place / "dataset"), "--run_id=night"
    manifest = scratch / "night.csv"

    def keep(name: str) -> pathlib.Path:
        shutil.copytree(place, scratch / name)
        return scratch / name

    extract = ["extract", f"--output={dataset}", _SHARDS]
    first = [*extract, f"--input={_draw(scratch, 0)}", "--run_id=base"]
    whole = [*extract, f"--input={manifest}", night]
    incremental = [*whole, "--incremental", "--tombstone_removed"]
    compact = ["compact", dataset, _SHARDS]
    gc = ["gc", dataset, "--merged_hours=0", "--died_days=0"]
    _run(first)
    _draw(scratch, 1)
    base = keep("base")
    export = ["export", dataset, str(place / "target"), "--since=last"]
    _run(export)
    shutil.move(place / "target", scratch / "target")
    _run(incremental)
    two = keep("two")
    shutil.copytree(two, scratch / "exported")
    shutil.move(scratch / "target", scratch / "exported" / "target")
    _run(compact)
    _leave_garbage(place, two / "dataset" / "night", [*extract, f"--input={manifest}"])
    merged = keep("merged")
    module = scratch / "module"
    _write_module(str(module))
    finetune = ["model", "finetune", f"--model={module}", f"--train={manifest}"]
    finetune += [f"--output={place / 'tuned'}", "--batch_size=8", "--epochs=6"]
    cases = [
        Case("extract", whole, empty, _dataset, gc),
        Case("incremental", incremental, base, _dataset, gc),
        Case("compact", compact, two, _dataset, gc),
        Case("gc", gc, merged, _dataset),
        Case("export", export, scratch / "exported", _exported),
        Case("finetune", finetune, empty, _module, is_once=True),
    ]
    return {case.name: case for case in cases}


def tree(place: pathlib.Path) -> Tree:
    """Returns a hash of each file that a finished command leaves, times and logs apart."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_dir() or name.startswith("tuned.training/"):
            continue
        data = path.read_bytes()
        if path.name in ("run.json", EXPORT_FILE):
            data = json.dumps(_without_times(json.loads(data)), sort_keys=True).encode()
        found[name] = "" if path.name in _OTHERWISE else hashlib.sha256(data).hexdigest()
    return found


def _without_times(run: dict[str, object]) -> dict[str, object]:
    files = run["files"]
    assert isinstance(files, list)
    kept = [
        {"name": file["name"]} if file["name"] in _OTHERWISE else file
        for file in sorted(files, key=lambda file: str(file["name"]))
    ]
    return {**{name: run[name] for name in run if name not in _TIMES}, "files": kept}


def _dataset(place: pathlib.Path) -> str:
    """Hashes the rows that readers see, and makes sure that each committed run is whole."""
    dataset = str(place / "dataset")
    try:
        runs = committed_runs(dataset)
        arrays = reading.load_numpy(dataset)
    except RunNotFoundError:
        return ""
    for run in runs:
        if problems := inspection.verify(run):
            raise ValueError(f"{run.run_id}: {' '.join(problems)}")
    order = np.argsort(arrays.keys)
    digest = hashlib.sha256(arrays.features[order].tobytes())
    for values in (arrays.keys, arrays.uris, *arrays.columns.values()):
        digest.update(repr(values[order].tolist()).encode())
    return digest.hexdigest()


def _exported(place: pathlib.Path) -> str:
    """Hashes the rows of a target, as far as its exports are committed."""
    digest = hashlib.sha256()
    for export in exports_in(str(place / "target")):
        for file in export.all_files:
            digest.update(pathlib.Path(export.path(file)).read_bytes())
    return digest.hexdigest()


def _module(place: pathlib.Path) -> str:
    return repr(tree(place / "tuned")) if (place / "tuned").exists() else ""


def _run(arguments: Sequence[str]) -> None:
    command = [sys.executable, "-m", "image_features", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The command {' '.join(command)} failed:\n{done.stderr}")


def _leave_garbage(place: pathlib.Path, run: pathlib.Path, extract: Sequence[str]) -> None:
    """Leaves an attempt that died, and the staging directory of another in a committed run."""
    command = [sys.executable, "-m", "benchmarks.doomed", str(place), str(place / "count"), "12"]
    subprocess.run(
        [*command, *extract, "--run_id=died"], capture_output=True, start_new_session=True
    )
    (place / "count").unlink()
    dataset = place / "dataset"
    (merged,) = dataset.glob("compacted-*")
    shutil.copytree(dataset / "died" / ".staging", merged / ".staging")


def _draw(scratch: pathlib.Path, night: int) -> pathlib.Path:
    """Draws the images of a night; returns its manifest."""
    directory = scratch / "images"
    directory.mkdir(exist_ok=True)
    lines = ["uri,label"]
    for number in range(_NEW // 2 * night, _IMAGES + _NEW * night):
        path = directory / f"{number:03}.png"
        label = "ab"[number % 2]
        # The third image changes from one night to the other.
        if not path.exists() or number == _NEW:
            stream = np.random.default_rng([number, night])
            pixels = stream.integers(0, 200, (32, 32, 3))
            stripes = pixels[::4] if label == "a" else pixels[:, ::4]
            stripes += 55
            Image.fromarray(pixels.astype(np.uint8)).save(path)
        lines.append(f"{path},{label}")
    (directory / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    lines += [lines[-1], f"{directory / 'broken.jpg'},a"]
    manifest = scratch / ("night.csv" if night else "first.csv")
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def _write_module(directory: str) -> None:
    """Writes a small network that can be trained in a second."""
    import tensorflow as tf

    stream = np.random.default_rng(0)
    shapes = ((5, 5, 3, 8), (3, 3, 8, 16))
    kernels = [tf.Variable(stream.normal(0, 0.1, shape).astype(np.float32)) for shape in shapes]

    def call(images: tf.Tensor, training: bool = False) -> tf.Tensor:
        for kernel in kernels:
            images = tf.nn.relu(tf.nn.conv2d(images, kernel, 2, "SAME"))
        return tf.reduce_mean(images, [1, 2])

    spec = tf.TensorSpec([None, 32, 32, 3], tf.float32, name="images")
    module = tf.train.Checkpoint()
    module.variables = module.trainable_variables = kernels
    module.regularization_losses = []
    module.__call__ = tf.function(call)
    for training in (False, True):
        module.__call__.get_concrete_function(spec, training=training)
    serve = tf.function(lambda images: {"default": call(images)}, input_signature=[spec])
    tf.saved_model.save(module, directory, signatures={"serving_default": serve})
