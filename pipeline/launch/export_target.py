"""What an export writes to: a directory of files of a format, or a database."""

from __future__ import annotations

from image_features.errors import UsageError
from image_features.pipeline.config import ExportConfig
from image_features.pipeline.dataset.export import Export
from image_features.pipeline.dataset.layout import ExportLayout
from image_features.pipeline.launch.export_options import ExportFormat, ExportOptions
from image_features.system.paths import absolute
from image_features.transforms.exports.fields import RowFields, VectorType
from image_features.transforms.exports.file_target import NpyTarget, ParquetTarget
from image_features.transforms.exports.lance_target import LanceTarget
from image_features.transforms.exports.pgvector import PgVectorStore
from image_features.transforms.exports.qdrant import qdrant_store
from image_features.transforms.exports.store import VectorStore
from image_features.transforms.exports.store_target import StoreTarget
from image_features.transforms.exports.target import REMOVED_KEYS, VECTORS, Target


def store_of(options: ExportOptions) -> VectorStore:
    """Returns the database that an export writes to.

    Raises:
      UsageError: its address is none, or its client is not installed.
    """
    if options.format is ExportFormat.PGVECTOR:
        if options.type is VectorType.INT8:
            raise UsageError(
                "--dtype=int8 is not for --format=pgvector, which has no such vectors; export "
                "float16, which it keeps as halfvec."
            )
        return PgVectorStore.at(options.target, options.table)
    if options.format is ExportFormat.QDRANT:
        return qdrant_store(
            options.target, options.table, options.type, since_last=options.since_last
        )
    raise AssertionError(f"{options.format} is no database")


def target_of(
    options: ExportOptions,
    run: ExportConfig,
    fields: RowFields,
    num_shards: int,
    since: Export | None,
) -> Target:
    """Returns what takes the rows, and makes what is to be there before.

    Args:
      options: The options.
      run: The export.
      fields: The fields of a row.
      num_shards: The number of files.
      since: The export that the changes are since; None for all rows.

    Raises:
      ValueError: what is there is of another kind, in a sentence for the user.
    """
    whole = since is None
    layout = run.layout
    assert isinstance(layout, ExportLayout)
    if run.store:
        run.store.prepare(fields, run.run_id)
        return StoreTarget(run.store, fields, run.run_id, whole, layout.staging)
    removed = None if whole else layout.naming(REMOVED_KEYS, ".parquet")
    if options.format is ExportFormat.PARQUET:
        return ParquetTarget(fields, layout.naming(VECTORS, ".parquet"), removed, num_shards)
    if options.format is ExportFormat.NPY:
        return NpyTarget(fields, layout.naming(VECTORS, ".npy"), removed, num_shards)
    if options.format is ExportFormat.LANCE:
        names = layout.naming(VECTORS, ".lance")
        lance = LanceTarget(
            fields,
            names,
            removed,
            num_shards,
            absolute(options.target),
            layout.fingerprint,
            None if since is None else since.fingerprint,
        )
        lance.table.check(lance.since, since.rows if since else 0)
        return lance
    raise AssertionError(f"{options.format} is no format of files")
