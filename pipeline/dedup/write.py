"""The files of a result, and the one that commits them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.errors import CommitError
from image_features.pipeline.commit.descriptions import versions
from image_features.pipeline.commit.tidy_up import remove_leftovers
from image_features.pipeline.config import utc_now
from image_features.pipeline.dataset.file_list import FORMAT_VERSION
from image_features.pipeline.dataset.layout import DEDUP_FILE, RunLayout
from image_features.pipeline.dedup.duplicates import Duplicates
from image_features.pipeline.dedup.manifests import ManifestFields, divided
from image_features.pipeline.dedup.page import Page
from image_features.pipeline.dedup.prepare import Deduplication
from image_features.pipeline.dedup.result import DROP, GROUPS, KEEP, PAGE, Counts, Result
from image_features.transforms.shards.shard_content import HashingSink
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import create_once, create_whole, sync_names

_GROUP_ROWS = 100_000


def write(work: Deduplication, found: Duplicates, report: Callable[[int], object]) -> Result:
    """Writes everything that tells of duplicates, and commits it.

    Args:
      work: What was asked for.
      found: The duplicates.
      report: A function that is called now and then with the number of rows that are written.

    Raises:
      CommitError: the rows do not add up, or another job has committed there.
      ValueError: a shard is not as it was written.
      OSError: something cannot be read or written.
    """
    fields = ManifestFields.of(work.runs)
    page = Page(found, work.options.samples)
    files = [_write_groups(work.layout, found)]
    files += _write_manifests(work, found, fields, page, report)
    kept, dropped = (file.rows for file in files[1:])
    if (kept + dropped, dropped) != (found.rows, found.dropped):
        raise CommitError(
            f"Of {found.rows} rows {found.dropped} were to be dropped, and of the rows that were "
            f"written {kept} are kept and {dropped} dropped. That does not add up; nothing is "
            "committed."
        )
    counts = Counts(
        rows=found.rows,
        groups=found.groups,
        same_files=found.same_files,
        near=found.dropped - found.same_files,
        dropped=dropped,
        kept=kept,
        zero_rows=found.zero_rows,
    )
    if work.options.samples:
        files.append(_write_page(work, page, counts))
    return _commit(work, counts, fields, files)


@contextlib.contextmanager
def _file(layout: RunLayout, name: str) -> Iterator[HashingSink]:
    """Opens a file of the result, which appears when it is whole."""
    part = FileSystems.join(layout.staging, f"{name}.{uuid.uuid4().hex}")
    with create_whole(layout.path(name), part) as file:
        yield HashingSink(file)


def _entry(kind: str, name: str, rows: int, sink: HashingSink) -> ShardFile:
    return ShardFile(kind, name, rows, sink.size, sink.digest.hexdigest())


def _write_groups(layout: RunLayout, found: Duplicates) -> ShardFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _file(layout, GROUPS) as sink:
        pq.write_table(
            found.table,
            pa.PythonFile(sink, mode="w"),
            row_group_size=_GROUP_ROWS,
            compression="zstd",
        )
    return _entry("groups", GROUPS, len(found.table), sink)


def _write_manifests(
    work: Deduplication,
    found: Duplicates,
    fields: ManifestFields,
    page: Page,
    report: Callable[[int], object],
) -> list[ShardFile]:
    """Writes keep.jsonl and drop.jsonl in one pass, in which the page sees its images, too."""
    import pyarrow.compute as pc

    gone = found.table["key"].filter(pc.invert(found.table["keep"])).to_pylist()
    rows = {True: 0, False: 0}
    with _file(work.layout, KEEP) as keep, _file(work.layout, DROP) as drop:
        for run, record, dropped in divided(work.runs, gone, report):
            (drop if dropped else keep).write(fields.line(record))
            rows[dropped] += 1
            page.see(run, record)
    return [_entry("keep", KEEP, rows[False], keep), _entry("drop", DROP, rows[True], drop)]


def _write_page(work: Deduplication, page: Page, counts: Counts) -> ShardFile:
    page.read_pictures(private_hosts=work.options.private_hosts)
    vector = work.runs[0].vector
    handle = work.runs[0].provenance.models[vector.model].handle
    with _file(work.layout, PAGE) as sink:
        sink.write(
            page.render(
                work.options.dataset, counts, work.options.threshold, (vector.model, handle)
            )
        )
    return _entry("page", PAGE, 0, sink)


def _commit(
    work: Deduplication, counts: Counts, fields: ManifestFields, files: list[ShardFile]
) -> Result:
    layout, finished = work.layout, utc_now()
    times = [datetime.datetime.fromisoformat(text) for text in (work.started, finished)]
    record: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "fingerprint": layout.fingerprint,
        "started": work.started,
        "finished": finished,
        "duration_seconds": round(max(0.0, (times[1] - times[0]).total_seconds()), 3),
        "counts": dataclasses.asdict(counts),
        **work.recipe,
        "input_options": list(fields.options),
        "versions": versions(),
        "files": [file.to_json() for file in files],
    }
    # The files are on the disk; their names must be, before a file lists them.
    sync_names(layout.directory)
    path = layout.path(DEDUP_FILE)
    part = FileSystems.join(layout.staging, f"{DEDUP_FILE}.{uuid.uuid4().hex}")
    if not create_once(path, (json.dumps(record, indent=2) + "\n").encode(), part):
        raise CommitError(f"{path} was written by another job, so this one is not committed.")
    remove_leftovers(record, layout)
    return Result.of(layout.directory, record)
