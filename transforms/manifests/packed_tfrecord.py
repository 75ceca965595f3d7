"""The rows of TFRecord files: the examples in them.

The image of an example is in one of its features; the others are columns. An example does not tell
whether a feature is a list, nor whether bytes are text: all values of a file's first rows do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from image_features.transforms.archives.example import Features
from image_features.transforms.archives.examples import (
    Example,
    choose_feature,
    detail_of,
    image_problem,
    parsed,
)
from image_features.transforms.archives.member import CorruptArchiveError
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.spans import Spans
from image_features.transforms.archives.tfrecord import LONGEST_RECORD, Records, name_of
from image_features.transforms.manifests.columns import Column, Kind, infer_columns
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.manifests.samples import corrupt_row
from image_features.transforms.stores import versions
from image_features.transforms.stores.members import join_member
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import ColumnValue, Reason

# Names that records of features keep for themselves, and those that lie below another, go in here.
_ASIDE = "example"


def tfrecord_rows(
    file: RangedFile, options: ArchiveOptions, *, listed: bool, schema: Mapping[str, Column]
) -> Iterator[ManifestRow]:
    """Yields the examples of a TFRecord file, as `packed.read_packed` does.

    A file that a listing has, and that holds no images, has no rows: it may hold features.
    """
    records = Records(file, longest=LONGEST_RECORD)
    examples = parsed(records.scan())
    chosen = choose_feature(examples, records, options, strict=not listed)
    if listed and not chosen.feature and any(map(_is_whole, chosen.examples)):
        return
    spans = Spans(whole=records.compressed or not file.in_parts)
    rows = _Rows(file, chosen.feature, spans, schema)
    try:
        while chosen.examples:
            yield rows.row(chosen.examples.pop(0))
        yield from map(rows.row, examples)
        if chosen.damage:
            raise chosen.damage
    except CorruptArchiveError as error:
        yield corrupt_row(file, error)


def infer_feature_columns(rows: Sequence[Mapping[str, ColumnValue]]) -> dict[str, Column]:
    """Infers a schema from sample rows; bytes that are text in all of them are text."""
    columns = infer_columns(rows)
    for name, column in columns.items():
        if column.kind is Kind.BYTES and all(_is_text(row.get(name)) for row in rows):
            columns[name] = dataclasses.replace(column, kind=Kind.STRING)
    return columns


def widest(columns: Iterable[Column]) -> Column:
    """Returns the column that holds what those of several files hold, as far as there is one."""
    columns = list(columns)
    column = columns[0]
    kinds = {found.kind for found in columns}
    return dataclasses.replace(
        column,
        kind=Kind.BYTES if kinds == {Kind.BYTES, Kind.STRING} else column.kind,
        repeated=any(found.repeated for found in columns),
    )


class _Rows:
    """Makes rows of examples.

    Args:
      file: The file.
      feature: The feature that holds the images.
      spans: Divides the file.
      schema: The run's columns by name, where they are known.
    """

    def __init__(
        self, file: RangedFile, feature: str, spans: Spans, schema: Mapping[str, Column]
    ) -> None:
        self._uri = file.uri
        self._version = file.version
        self._feature = feature
        self._spans = spans
        self._schema = schema
        self._names: list[str] = []
        self._known: list[tuple[str, str, Column | None]] = []

    def row(self, example: Example) -> ManifestRow:
        """Returns the row of an example."""
        record, features = example
        values: dict[str, ColumnValue] = {}
        problem: FetchError | None
        if isinstance(features, FetchError):
            problem = features
        else:
            values = self._columns(features)
            problem = image_problem(features, self._feature)
        return ManifestRow(
            record.number + 1,
            join_member(self._uri, name_of(record.number)),
            values,
            problem.message if problem else "",
            False,
            problem.reason if problem else Reason.BAD_MANIFEST_ROW,
            versions.of_member(self._version, detail_of(record, self._feature)),
            self._spans.place(record.begin, record.size),
        )

    def _columns(self, features: Features) -> dict[str, ColumnValue]:
        names = self._names
        # Mostly those of an example are those of the one before.
        if len(features) != len(names) or not all(map(features.__contains__, names)):
            self._names = list(features)
            others = {name for name in self._names if name != self._feature}
            self._known = [(name, *self._column(name, others)) for name in sorted(others)]
        return {label: _value(features[name], column) for name, label, column in self._known}

    def _column(self, name: str, names: set[str]) -> tuple[str, Column | None]:
        label = _column_name(name, names)
        aside = f"{_ASIDE}/{label}"
        label = aside if aside in self._schema else label
        return label, self._schema.get(label)


def _column_name(name: str, names: set[str]) -> str:
    parts = [part or "_" for part in name.split("/")]
    column = "/".join(parts)
    above = {"/".join(parts[:i]) for i in range(1, len(parts))}
    if parts[0] == "image" or above & names:
        return f"{_ASIDE}/{column}"
    return column


def _value(feature: Any, column: Column | None) -> ColumnValue:
    kind = feature.WhichOneof("kind")
    if not kind:
        return None
    items = getattr(feature, kind).value
    count = len(items)
    several = count > 1 or (column is not None and column.repeated)
    value: ColumnValue = None
    if count:
        value = items[:] if several else items[0]
    return value


def _is_whole(example: Example) -> bool:
    """Whether a record is what was written, be it an example or not."""
    features = example.features
    return not isinstance(features, FetchError) or features.reason is Reason.BAD_MANIFEST_ROW


def _is_text(value: ColumnValue) -> bool:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bytes):
            try:
                item.decode()
            except UnicodeDecodeError:
                return False
    return True
