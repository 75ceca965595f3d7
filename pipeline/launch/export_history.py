"""What a target has been given so far, and whether more can go beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from image_features.errors import UsageError
from image_features.models.identity import ModelIdentity
from image_features.pipeline.dataset.export import Export, exports_in, runs_in, untold_changes
from image_features.pipeline.dataset.layout import dataset_of
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.launch.export_options import ExportOptions
from image_features.pipeline.locations import explain, real
from image_features.transforms.exports.fields import RowFields
from image_features.transforms.exports.store import StoreError, VectorStore
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.manifests.columns import Column


def identity_of(options: ExportOptions, fields: RowFields, latest: Run) -> dict[str, Any]:
    """Returns what exports to one target must have in common, as .export.json keeps it."""
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
        "model": latest.provenance.models[latest.vector.model].to_json(),
        "preprocessing": latest.provenance.decode.to_json(),
    }


def history_of(shown: str, store: VectorStore | None, target: str) -> list[Export]:
    """Returns the target's exports so far, of a database only the last.

    Args:
      shown: The target, as messages name it.
      store: The database; None where the target is a directory.
      target: The directory.

    Raises:
      UsageError: the target cannot be read.
    """
    try:
        if store is None:
            return exports_in(target)
        record = store.last_export()
        return [Export.of(store.shown, record)] if record else []
    except StoreError as error:  # It names the database itself.
        raise UsageError(str(error)) from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{shown} cannot be used: {explain(error)}.") from error


def check_apart(shown: str, target: str, runs: Sequence[Run]) -> None:
    """Makes sure that a target is no part of what is exported.

    Raises:
      UsageError: it is the dataset, or in one of its runs.
    """
    place = real(target).rstrip("/")
    for run in runs:
        directory = real(run.directory).rstrip("/")
        if place in (directory, dataset_of(directory)):
            raise UsageError(f"{shown} is the dataset itself; name a new directory for the export.")
        if place.startswith(f"{directory}/"):
            raise UsageError(
                f"{shown} is in the run {run.run_id}, which `gc` may remove; name a directory "
                "outside of it."
            )


def check_same(
    shown: str, last: Export, options: ExportOptions, identity: Mapping[str, Any]
) -> None:
    """Makes sure that rows are of the same kind as those that the target has.

    Raises:
      UsageError: they are not, as the message says in words of the options.
    """
    found = list(_differences(last.identity, identity))
    if not found:
        return
    advice = "Export to another " + ("--table." if options.format.is_database else "directory.")
    hint = _columns_then(last.identity, identity)
    if hint and all(name == "columns" for name, _ in found):
        advice = f"Pass {hint} to go on as before, or export to another target."
    raise UsageError(
        f"{shown} was exported otherwise, and cannot have these rows beside its own: "
        f"{'; '.join(text for _, text in found)}. {advice}"
    )


def check_kin(shown: str, last: Export, dataset: str, runs: Sequence[Run]) -> None:
    """Makes sure that a whole export replaces rows of the same dataset, if of other runs.

    Raises:
      UsageError: it is another one.
    """
    if last.record.get("dataset") != dataset and not runs_in(runs).items() & last.runs.items():
        raise UsageError(
            f"{shown} has the rows of another dataset, {last.record.get('dataset')}, which this "
            "export would remove. Export to another --table, or remove that one first."
        )


def check_follows(shown: str, last: Export, options: ExportOptions, runs: Sequence[Run]) -> None:
    """Makes sure that what has changed since the last export can be told.

    Raises:
      UsageError: it cannot.
    """
    why = untold_changes(runs, last.runs)
    if not why:
        return
    raise UsageError(
        f"What has changed since the last export to {shown} cannot be told: {why}. Export without "
        "--since=last"
        + (
            ", which replaces all rows."
            if options.format.is_database
            else ", to another directory."
        )
    )


def in_order_of(last: Export, fields: RowFields) -> RowFields:
    """Returns fields in the order that the target has them in, however they are named now."""
    places = {entry["name"]: place for place, entry in enumerate(last.identity["columns"])}
    columns = sorted(fields.columns, key=lambda column: places[column.name])
    return dataclasses.replace(fields, columns=tuple(columns))


def _differences(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields what differs: a name for it, and a phrase that says how it was and is."""
    if theirs["format"] != mine["format"]:
        yield "format", f"--format={theirs['format']} -> {mine['format']}"
    before, now = theirs["vectors"], mine["vectors"]
    if before["name"] != now["name"]:
        yield "name", f"--features={before['name']} -> {now['name']}"
    if before["width"] != now["width"]:
        yield "width", f"vectors of {before['width']} values -> of {now['width']}"
    if before["type"] != now["type"]:
        yield "type", f"--dtype={before['type']} -> {now['type']}"
    if before["normalize"] != now["normalize"]:
        yield (
            "normalize",
            "with --normalize -> without"
            if before["normalize"]
            else ("without --normalize -> with it"),
        )
    for phrase in _made(theirs).differences(_made(mine)):
        yield "made", phrase
    columns = _column_differences(_columns(theirs), _columns(mine))
    if columns:
        yield "columns", f"columns: {', '.join(columns)}"


def _made(identity: Mapping[str, Any]) -> Provenance:
    """Returns what vectors were made from, as far as they depend on it."""
    return Provenance(
        inputs=(),
        columns=(),
        models={"": ModelIdentity.from_json(identity["model"])},
        decode=DecodePolicy.from_json(identity["preprocessing"]),
        max_fetch_bytes=0,
    )


def _columns(identity: Mapping[str, Any]) -> dict[str, str]:
    """Returns the types of a target's columns by their names, in order.

    A value may be absent in any column of a target.
    """
    found = dict.fromkeys(identity["fields"], "")
    for entry in identity["columns"]:
        column = dataclasses.replace(Column.from_json(entry), nullable=False)
        # It may have one of our names, and then both are there.
        found[column.name] = f"{found.get(column.name, '')} {column}".strip()
    return found


def _column_differences(theirs: Mapping[str, str], mine: Mapping[str, str]) -> list[str]:
    gone = [f"{name} is missing" for name in theirs if name not in mine]
    new = [f"{name} is new" for name in mine if name not in theirs]
    other = [
        f"{name} {theirs[name] or 'of ours'} -> {mine[name] or 'of ours'}"
        for name in theirs
        if name in mine and theirs[name] != mine[name]
    ]
    return [*gone, *new, *other]


def _columns_then(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """Returns the option that names the target's columns, if the dataset has all of them still."""
    before, now = _columns(theirs), _columns(mine)
    if all(now.get(name) == kind for name, kind in before.items()):
        return f"--columns={','.join(before)}"
    return ""
