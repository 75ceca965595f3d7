"""The preparation of an export; everything is checked before any work starts."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.errors import UsageError
from image_features.pipeline.compact import merge_of, shards_of
from image_features.pipeline.config import ExportConfig, Guards, utc_now
from image_features.pipeline.dataset.export import (
    Export,
    export_directory,
    exports_in,
    runs_in,
    untold_changes,
)
from image_features.pipeline.dataset.layout import EXPORTS, ExportLayout, dataset_of
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import merged_columns, open_whole
from image_features.pipeline.export import Exporting
from image_features.pipeline.launch.attempt import State, begin_attempt, find_export
from image_features.pipeline.launch.prepare import AlreadyCommitted
from image_features.pipeline.locations import explain
from image_features.pipeline.runners import runner
from image_features.system.paths import absolute
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.exports.fields import OWN_NAMES, RowFields, VectorType
from image_features.transforms.exports.file_target import ParquetTarget
from image_features.transforms.exports.store import VectorStore
from image_features.transforms.exports.store_target import StoreTarget
from image_features.transforms.exports.target import REMOVED_KEYS, VECTORS, Target
from image_features.transforms.shards.index import INDEX_KIND


class ExportFormat(enum.StrEnum):
    """What an export can be."""

    PARQUET = "parquet"
    NPY = "npy"
    LANCE = "lance"
    QDRANT = "qdrant"
    PGVECTOR = "pgvector"

    @property
    def is_database(self) -> bool:
        """Whether rows go to a database, and not to a directory."""
        return self in (ExportFormat.QDRANT, ExportFormat.PGVECTOR)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of an export.

    Attributes:
      dataset: The dataset's directory or a run's, as the user gave it.
      target: The directory to write to, or the address of a database.
      format: What to make.
      type: The type of the vectors' values.
      normalize: Whether vectors are scaled to length one.
      columns: The names of the fields to export beside key and vector; None for all.
      features: The name of the model whose vectors are exported; None is the only one.
      since_last: Whether only what has changed since the target's last export is written.
      num_shards: A fixed number of files; None chooses one.
      images_per_shard: The rows that a file may hold on average, where the number is chosen.
      table: The name of the table or collection in a database.
    """

    dataset: str
    target: str
    format: ExportFormat = ExportFormat.PARQUET
    type: VectorType = VectorType.FLOAT32
    normalize: bool = False
    columns: tuple[str, ...] | None = None
    features: str | None = None
    since_last: bool = False
    num_shards: int | None = None
    images_per_shard: int = 10_000
    table: str = "image_features"


def prepare_export(
    options: ExportOptions, beam_options: PipelineOptions
) -> Exporting | AlreadyCommitted | None:
    """Checks everything that can be checked before rows are read.

    Returns:
      The export, or None where nothing has changed since the last one.

    Raises:
      UsageError: the dataset, an option or the target cannot be used.
    """
    started = utc_now()
    FileSystems.set_options(beam_options)
    dataset = absolute(options.dataset)
    runs = _runs(options)
    fields = _fields(options, runs)
    store = store_of(options) if options.format.is_database else None
    place = dataset if store else absolute(options.target)
    runner.check(beam_options, wait=True, inputs=(), output=place)
    identity = _identity(options, fields, runs[0])
    history = _history(options, store, place)
    last = history[-1] if history else None
    new: frozenset[int] | None = None
    if options.since_last and last is not None:
        _check_follows(options, last, runs, identity)
        new = frozenset(age for age, run in enumerate(runs) if not last.has(run))
        if not new:
            return None
    changed = [run for age, run in enumerate(runs) if new is None or age in new]
    num_shards = options.num_shards or shards_of(changed, options.images_per_shard)
    number = len(history) if new is not None and store is None else 0
    made = {
        "identity": identity,
        "number": last.number + 1 if last and (store or new is not None) else 0,
        "since": last.run_id if last and new is not None else None,
        "runs": runs_in(runs),
    }
    fingerprint = _hash([made, num_shards])
    if store:
        directory = FileSystems.join(
            _dataset_of(dataset, runs[0]), EXPORTS, _hash([store.shown, fingerprint])
        )
    else:
        directory = export_directory(place, number)
    attempt = find_export(directory, options.target)
    begun = begin_attempt(attempt, fingerprint, started)
    layout = begun.layout
    assert isinstance(layout, ExportLayout)
    if begun.state is State.COMMITTED:
        return AlreadyCommitted(layout.directory)
    config = ExportConfig(
        layout,
        started,
        ShardPolicy(num_shards),
        {"target": store.shown if store else layout.directory, **made},
        store,
        guards=Guards(max_error_rate=1.0),
    )
    return Exporting(
        run=config,
        merge=dataclasses.replace(merge_of(runs), errors=(), new=new),
        target=_target(options, config, fields, num_shards, whole=new is None),
        rows=sum(run.rows for run in runs),
        num_shards=num_shards,
    )


def store_of(options: ExportOptions) -> VectorStore:
    """Returns the database that an export writes to.

    Raises:
      UsageError: its address is none, or its client is not installed.
    """
    raise UsageError(f"--format={options.format} is not there yet.")


def _target(
    options: ExportOptions,
    run: ExportConfig,
    fields: RowFields,
    num_shards: int,
    *,
    whole: bool,
) -> Target:
    layout = run.layout
    assert isinstance(layout, ExportLayout)
    if run.store:
        run.store.prepare(fields, run.run_id)
        return StoreTarget(run.store, fields, run.run_id, whole, layout.staging)
    removed = None if whole else layout.naming(REMOVED_KEYS, ".parquet")
    if options.format is ExportFormat.PARQUET:
        return ParquetTarget(fields, layout.naming(VECTORS, ".parquet"), removed, num_shards)
    raise UsageError(f"--format={options.format} is not there yet.")


def _runs(options: ExportOptions) -> list[Run]:
    runs = open_whole(options.dataset, options.features, done="exported")
    for run in runs:
        if len(run.files(INDEX_KIND)) != len(run.files()):
            raise UsageError(
                f"The run {run.directory} has no index, as of an earlier version: it cannot be "
                "exported; extract it anew."
            )
    return runs


def _fields(options: ExportOptions, runs: Sequence[Run]) -> RowFields:
    columns = {column.name: column for column in merged_columns(runs)}
    own = OWN_NAMES
    if options.columns is not None:
        unknown = [name for name in options.columns if name not in {*columns, *OWN_NAMES}]
        if unknown:
            raise UsageError(
                f"--columns={unknown[0]} is none of the dataset's; it has "
                f"{', '.join([*OWN_NAMES, *columns])}."
            )
        own = tuple(name for name in OWN_NAMES if name in options.columns)
        # A manifest's column may have one of our names: then both are meant.
        columns = {name: columns[name] for name in options.columns if name in columns}
    return RowFields(
        vector=runs[0].vector,
        own=own,
        columns=tuple(columns.values()),
        type=options.type,
        normalize=options.normalize,
    )


def _identity(options: ExportOptions, fields: RowFields, latest: Run) -> dict[str, Any]:
    """Returns what exports to one target must have in common."""
    made = latest.provenance.models[latest.vector.model]
    return {
        "format": str(options.format),
        "vectors": {
            "name": fields.vector.model,
            "width": fields.vector.width,
            "type": str(fields.type),
            "normalize": fields.normalize,
        },
        "fields": [*fields.own],
        "columns": [column.to_json() for column in fields.columns],
        "model": made.to_json(),
        "preprocessing": latest.provenance.decode.to_json(),
    }


def _history(options: ExportOptions, store: VectorStore | None, target: str) -> list[Export]:
    """Returns the target's exports so far, of a database only the last."""
    try:
        if store is None:
            return exports_in(target)
        record = store.last_export()
        return [Export(store.shown, record)] if record else []
    except (ValueError, OSError) as error:
        raise UsageError(f"{options.target} cannot be used: {explain(error)}.") from error


def _check_follows(
    options: ExportOptions, last: Export, runs: Sequence[Run], identity: Mapping[str, Any]
) -> None:
    """Makes sure that what has changed since the last export can be told, and can go beside it.

    Raises:
      UsageError: it cannot.
    """
    for name, mine in identity.items():
        theirs = last.identity.get(name)
        if theirs != mine and not _same(name, theirs, mine):
            raise UsageError(
                f"{options.target} was exported with another {name}: {json.dumps(theirs)}, now "
                f"{json.dumps(mine)}; export to another target."
            )
    if why := untold_changes(runs, last.runs):
        raise UsageError(
            f"What has changed since the last export to {options.target} cannot be told: {why}. "
            "Export without --since=last"
            + ("." if options.format.is_database else ", to another directory.")
        )


def _same(name: str, theirs: Any, mine: Any) -> bool:
    """Whether two descriptions of what made vectors mean the same, though they are not equal."""
    if name != "model":
        return False
    return bool(theirs.get("content_hash") == mine["content_hash"])


def _dataset_of(path: str, run: Run) -> str:
    """Returns the directory of the dataset, where a run of it was named too."""
    return dataset_of(run.directory) if path == run.directory else path


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
