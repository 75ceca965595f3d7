"""What tests do with datasets, and look at in them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.records import open_shard
from image_features.pipeline.dataset.run import current_runs, read_record
from image_features.pipeline.dataset.series import open_series
from image_features.transforms.archives.framing import read_records


def extract(
    input: object, output: pathlib.Path, run_id: str, *options: str, code: int = 0
) -> pathlib.Path:
    """Runs `extract` in this process; returns the run's directory."""
    arguments = [f"--input={input}", f"--output={output}", f"--run_id={run_id}", *options]
    if not any(option.startswith("--model") for option in options):
        arguments.append("--model=untrained")
    assert cli.main(["extract", *arguments]) == code
    return output / run_id


def compact(path: pathlib.Path, *options: str, code: int = 0) -> pathlib.Path:
    """Merges the runs into one, named `all` unless an option says otherwise."""
    assert cli.main(["compact", str(path), "--run_id=all", *options]) == code
    return path / "all"


def vectors(path: pathlib.Path) -> dict[str, bytes]:
    """Returns the vectors that readers see, by URI; makes sure that each row comes once."""
    arrays = reading.load_numpy(str(path))
    assert len(set(arrays.keys)) == len(arrays.keys)
    return dict(zip(arrays.uris, map(bytes, arrays.features), strict=True))


def read_examples(path: pathlib.Path | str) -> Iterator[Any]:
    """Yields the rows that readers see as TensorFlow's own Example messages, shard by shard."""
    from tensorflow.core.example import example_pb2

    latest = LatestRows(open_series(str(path)).runs)
    for run in latest.runs:
        for shard in run.files():
            if shard.rows:
                mask = latest.mask(run, shard)
                with open_shard(run, shard) as file:
                    for row, record in enumerate(read_records(cast(BinaryIO, file))):
                        if mask is None or mask[row]:
                            yield example_pb2.Example.FromString(record)


def names(path: pathlib.Path | str) -> list[str]:
    """Returns the names of the files whose images readers see, sorted."""
    return sorted(pathlib.Path(uri).name for uri in reading.load_numpy(str(path)).uris)


def run_ids(path: pathlib.Path) -> list[str]:
    """Returns the names of the runs that readers look at, the latest first."""
    return [run.run_id for run in current_runs(str(path))]


def counts(run: pathlib.Path) -> tuple[int, ...]:
    """Returns the rows of a run: in, out, failed, unchanged, removed."""
    found = record_of(run)["counts"]
    names = ("rows_in", "rows_out", "rows_failed", "rows_unchanged", "rows_removed")
    return tuple(found[name] for name in names)


def lines(run: pathlib.Path, kind: str) -> list[dict[str, Any]]:
    """Returns the rows of a run's JSON lines of a kind, such as errors."""
    found = []
    for entry in record_of(run)["files"]:
        if entry["kind"] == kind:
            found += (run / entry["name"]).read_text().splitlines()
    return [json.loads(line) for line in found]


def files(path: pathlib.Path) -> list[str]:
    """Returns the paths of all files below a directory, sorted."""
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def record_of(run: pathlib.Path) -> dict[str, Any]:
    """Returns the run.json of a run that must be committed."""
    record = read_record(str(run))
    assert record is not None
    return record


def rewrite(run: pathlib.Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes a run.json."""
    record = json.loads((run / "run.json").read_text())
    change(record)
    (run / "run.json").write_text(json.dumps(record))
