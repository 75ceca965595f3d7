"""The preparation of an export; everything is checked before any work starts."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.errors import UsageError
from image_features.pipeline.compact import merge_of, shards_of
from image_features.pipeline.config import ExportConfig, Guards, utc_now
from image_features.pipeline.dataset.export import Export, export_directory, runs_in
from image_features.pipeline.dataset.layout import EXPORTS, ExportLayout, dataset_of
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import open_whole
from image_features.pipeline.export import Exporting
from image_features.pipeline.launch.attempt import (
    State,
    begin_attempt,
    clear_committed,
    find_export,
)
from image_features.pipeline.launch.export_history import (
    check_apart,
    check_follows,
    check_kin,
    check_same,
    history_of,
    identity_of,
    in_order_of,
)
from image_features.pipeline.launch.export_options import ExportOptions, fields_of
from image_features.pipeline.launch.export_target import store_of, target_of
from image_features.pipeline.launch.fingerprint import hash_of
from image_features.pipeline.launch.prepare import check_libraries
from image_features.pipeline.launch.vector_range import check_range
from image_features.pipeline.locations import explain
from image_features.pipeline.runners import runner
from image_features.system.paths import absolute
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.exports.fields import RowFields
from image_features.transforms.exports.qdrant import QdrantStore
from image_features.transforms.exports.store import VectorStore
from image_features.transforms.merge_rows import Merge
from image_features.transforms.shards.index import INDEX_KIND
from image_features.transforms.shards.known_files import KnownFiles
from image_features.transforms.stores.files import remove_tree


@dataclasses.dataclass(frozen=True)
class NothingToDo:
    """An export that need not be launched.

    Attributes:
      export: The export that the target has.
      why: The reason, a sentence.
    """

    export: Export
    why: str


def prepare_export(
    options: ExportOptions, beam_options: PipelineOptions
) -> Exporting | NothingToDo:
    """Checks everything that can be checked before rows are read.

    Raises:
      UsageError: the dataset, an option or the target cannot be used.
      RunHeldError: another launcher exports other rows to the target at this moment.
    """
    started = utc_now()
    FileSystems.set_options(beam_options)
    check_libraries([options.dataset])
    store = store_of(options) if options.format.is_database else None
    if store is None:
        check_libraries([options.target])
    dataset = absolute(options.dataset)
    place = dataset if store else absolute(options.target)
    runner.check(beam_options, wait=True, inputs=(dataset,), output=place)
    if isinstance(store, QdrantStore) and store.is_local:
        runner.stay_in_process(beam_options, store.location)
    plan = _plan(options, store, place)
    if isinstance(plan, NothingToDo):
        return plan
    made = plan.made(options)
    num_shards = options.num_shards or _shards(plan.changed, options)
    fingerprint = hash_of([made, num_shards])
    layout = plan.layout(options, fingerprint)
    begun = begin_attempt(
        find_export(layout, layout.dataset if store else options.target), fingerprint, started
    )
    committed = Export.read(layout.directory) if begun.state is State.COMMITTED else None
    if committed:
        return NothingToDo(committed, f"{layout.directory} is committed already.")
    config = ExportConfig(
        dataclasses.replace(layout, fingerprint=fingerprint),
        started,
        ShardPolicy(num_shards),
        {**plan.place_of(layout), **made},
        store,
        guards=Guards(max_error_rate=1.0),
    )
    try:
        since = plan.last if plan.new is not None else None
        target = target_of(options, config, plan.fields, num_shards, since)
    except ValueError as error:
        if begun.state is State.NEW:
            _undo(layout)
        raise error if isinstance(error, UsageError) else UsageError(str(error)) from error
    return Exporting(
        run=config,
        merge=plan.merge,
        target=target,
        rows=sum(run.rows for run in plan.runs),
        rows_before=plan.last.rows if plan.last and plan.new is not None else 0,
        num_shards=num_shards,
    )


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Which rows go where.

    Attributes:
      runs: The runs of the dataset, the latest first.
      merge: Their files.
      fields: The fields of exported rows.
      store: The database, if the target is one.
      place: The directory that is written to; with a database the dataset's or the run's.
      history: The exports that the target has.
      new: The ages of the runs with the changes that are wanted; None for all rows.
    """

    runs: list[Run]
    merge: Merge
    fields: RowFields
    store: VectorStore | None
    place: str
    history: list[Export]
    new: frozenset[int] | None

    @property
    def last(self) -> Export | None:
        """The target's last export."""
        return self.history[-1] if self.history else None

    @property
    def changed(self) -> list[Run]:
        """The runs whose rows may be written."""
        return [run for age, run in enumerate(self.runs) if self.new is None or age in self.new]

    def made(self, options: ExportOptions) -> dict[str, Any]:
        """Returns what a .export.json says of what was exported and how."""
        follows = self.last if self.store or self.new is not None else None
        return {
            "identity": identity_of(options, self.fields, self.runs[0]),
            "number": follows.number + 1 if follows else 0,
            "since": self.last.run_id if self.last and self.new is not None else None,
            "runs": runs_in(self.runs),
        }

    @property
    def dataset(self) -> str:
        """The directory of the dataset, where a run of it was named too."""
        alone = self.place == self.runs[0].directory
        return dataset_of(self.place) if alone else self.place

    def place_of(self, layout: ExportLayout) -> dict[str, str]:
        """Returns what the record says of where rows go, and come from."""
        if self.store is None:
            return {"target": layout.directory}
        return {"target": self.store.shown, "dataset": self.dataset}

    def layout(self, options: ExportOptions, fingerprint: str) -> ExportLayout:
        """Returns the paths of the export: a database has a directory of the dataset for all."""
        if self.store is None:
            number = 0 if self.new is None else len(self.history)
            return ExportLayout(export_directory(self.place, number).rstrip("/"))
        directory = FileSystems.join(self.dataset, EXPORTS, hash_of(self.store.shown))
        return ExportLayout(directory, name=fingerprint)


def _plan(options: ExportOptions, store: VectorStore | None, place: str) -> _Plan | NothingToDo:
    runs = _runs(options)
    fields = fields_of(options, runs)
    check_range(fields, runs)
    if store is None:
        check_apart(options.target, place, runs)
    shown = store.shown if store else options.target
    history = history_of(shown, store, place)
    last = history[-1] if history else None
    if last and store is None:
        clear_committed(ExportLayout(last.directory))
    new: frozenset[int] | None = None
    if last and (store or options.since_last):
        check_same(shown, last, options, identity_of(options, fields, runs[0]))
        fields = in_order_of(last, fields)
    if last and options.since_last:
        check_follows(shown, last, options, runs)
        new = frozenset(age for age, run in enumerate(runs) if not last.has(run))
        if not new:
            return NothingToDo(last, f"{shown}: nothing has changed since the last export.")
    try:
        merge = dataclasses.replace(merge_of(runs), errors=KnownFiles.of(()), new=new)
    except (ValueError, OSError) as error:
        raise UsageError(f"{options.dataset} cannot be exported: {explain(error)}.") from error
    plan = _Plan(runs, merge, fields, store, place, history, new)
    if last and store and new is None:
        check_kin(shown, last, plan.dataset, runs)
    return plan


def _runs(options: ExportOptions) -> list[Run]:
    runs = open_whole(options.dataset, options.features, done="exported")
    for run in runs:
        if len(run.files(INDEX_KIND)) != len(run.files()):
            raise UsageError(
                f"The run {run.directory} has no index, as of an earlier version: it cannot be "
                "exported; extract it anew."
            )
    return runs


def _shards(changed: list[Run], options: ExportOptions) -> int:
    """Returns the number of files, one for a night that brought nothing."""
    return shards_of(changed, options.images_per_shard) if any(r.rows for r in changed) else 1


def _undo(layout: ExportLayout) -> None:
    """Leaves no trace of an attempt that could not begin."""
    with contextlib.suppress(OSError):
        remove_tree(layout.directory)
