"""The inspection of a committed run: what is in it, and whether its files are sound."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

from image_features.pipeline.dataset.records import Block, blocks, open_shard
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import Series
from image_features.transforms.shards.record_format import FORMAT, HEIGHT, URI, WIDTH
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import open_plain
from image_features.transforms.stores.listing import side_by_side

_BLOCK = 2**20


def verify(run: Run) -> list[str]:
    """Compares every listed file with its size and checksum; returns a sentence for each fault."""

    def fault(file: ShardFile) -> str:
        try:
            size, digest = _digest(run.path(file))
        except OSError as error:
            why = f": {error.strerror}" if error.strerror else ""
            return f"{file.name} is missing or cannot be read{why}."
        if (size, digest) != (file.bytes, file.sha256):
            return f"{file.name} is not the file that was committed."
        return ""

    problems = [*filter(None, side_by_side(run.directory, fault, run.all_files))]
    counts = run.counts
    for kind, expected in (("features", counts.rows_out), ("errors", counts.rows_failed)):
        rows = run.files(kind).total("rows")
        if rows != expected:
            problems.append(f"The {kind} shards hold {rows} rows where run.json says {expected}.")
    return problems


def summarize(run: Run, series: Series | None = None) -> Iterator[str]:
    """Yields the lines that `inspect` prints about a run, without its verification.

    Args:
      run: The run.
      series: The runs of the dataset, where the run was found in one.
    """
    counts, shards = run.counts, run.files()
    yield f"run       {run.directory}"
    yield f"finished  {run.finished}"
    for name, model in run.provenance.models.items():
        yield (
            f"model     {f'{name} = ' if name else ''}{model.handle}  "
            f"({model.num_features} features, hash {model.content_hash[:12]})"
        )
    unchanged, removed = counts.rows_unchanged, counts.rows_removed
    yield (
        f"rows      {counts.rows_in} in = {counts.rows_out} out + "
        f"{counts.rows_failed} failed{f' + {unchanged} unchanged' if unchanged else ''};  "
        f"{counts.duplicates} duplicates dropped{f', {removed} removed' if removed else ''}"
    )
    yield f"shards    {len(shards)}, {shards.total('bytes') / 1e6:.1f} MB"
    for reason, count in counts.failed_by_reason.items():
        yield f"failed    {count:>8}  {reason}"
    yield from _health(run)
    for sentence in run.unchecked:
        yield f"unchecked {sentence}"
    if series and series.hidden:
        yield f"hidden    {series.hidden_in_words()}"


def _health(run: Run) -> Iterator[str]:
    for name, health in run.health.items():
        if health["rows"]:
            norm = health["norm"]
            yield (
                f"health    {_of(name)}norm {norm['mean']:.4g} +- {norm['std']:.2g};  "
                f"{health['zero_rows']} zero rows, {health['constant_dimensions']} constant "
                "dimensions"
            )
    for name, drift in run.drift.items():
        yield (
            f"drift     {_of(name)}{'YES' if drift['drifted'] else 'no'}, against "
            f"{drift['run_id']}: stability index {drift['psi']:.3g}, difference of means "
            f"{drift['mean_difference']:.3g}, threshold {drift['threshold']:g}"
        )


def _of(model: str) -> str:
    return f"{model}: " if model else ""


def sample_rows(run: Run, count: int) -> Iterator[str]:
    """Yields a line for each of the first rows."""
    left = count
    for shard in run.files():
        if left < 1:
            return
        if shard.rows:
            for field in run.vectors:
                one = run.reading(field.model)
                with open_shard(one, shard) as file:
                    block = next(blocks(one, file, rows=left))
                yield from _lines(block, field.model)
            left -= len(block.keys)


def _lines(block: Block, model: str) -> Iterator[str]:
    for record, vector in zip(block.records, block.features, strict=True):
        head = ", ".join(f"{value:.3f}" for value in vector[:4])
        yield (
            f"sample    {record.text(URI)}  {record.text(FORMAT)} "
            f"{record.number(WIDTH)}x{record.number(HEIGHT)}  "
            f"{_of(model)}[{head}, ...] ({len(vector)})"
        )


def _digest(path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with contextlib.closing(open_plain(path)) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
