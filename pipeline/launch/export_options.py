"""The options of an export, apart from how flags spell them."""

from __future__ import annotations

import argparse
import dataclasses
import enum
from collections.abc import Sequence

from image_features.errors import UsageError
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import merged_columns
from image_features.transforms.exports.fields import (
    KEY_NAME,
    OWN_NAMES,
    VECTOR,
    RowFields,
    VectorType,
)


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

    @classmethod
    def of(cls, options: argparse.Namespace) -> ExportOptions:
        """Returns the options as the command was given them."""
        columns = options.columns
        return cls(
            dataset=options.dataset,
            target=options.target,
            format=ExportFormat(options.format),
            type=VectorType(options.dtype),
            # Qdrant scales vectors itself, and leaves very short ones as they are.
            normalize=options.normalize or options.format is ExportFormat.QDRANT,
            columns=None if columns is None else tuple(filter(None, columns.split(","))),
            features=options.features,
            since_last=options.since == "last",
            num_shards=options.num_shards,
            images_per_shard=options.images_per_shard,
            table=options.table,
        )


def fields_of(options: ExportOptions, runs: Sequence[Run]) -> RowFields:
    """Returns the fields of exported rows.

    Raises:
      UsageError: the dataset has no such column.
    """
    columns = {column.name: column for column in merged_columns(runs)}
    own = OWN_NAMES
    if options.columns is not None:
        # Key and vector are there in any case, and whoever names them too is right.
        known = {*columns, *OWN_NAMES, KEY_NAME, VECTOR}
        unknown = [name for name in options.columns if name not in known]
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
        # Qdrant scales vectors itself, and leaves very short ones as they are.
        normalize=options.normalize or options.format is ExportFormat.QDRANT,
    )
