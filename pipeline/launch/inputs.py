"""The input of a run: the manifests it was given, or the rows that failed in an earlier run."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
from collections.abc import Mapping, Sequence

from apache_beam.io.filesystems import FileSystems

from image_features.errors import RunNotFoundError, UnreadableRunError, UsageError
from image_features.pipeline.commit.schema import check_column_names
from image_features.pipeline.dataset.layout import LAUNCH_FILE, PACK_FILE, STAGING_NAME
from image_features.pipeline.dataset.run import Run, committed_runs
from image_features.pipeline.locations import explain
from image_features.pipeline.options import FeatureExtractorOptions
from image_features.system.paths import absolute
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.manifests.columns import Column, parse_column_types
from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.manifests.heads import Examined, examine
from image_features.transforms.manifests.sources import Source, find_sources
from image_features.transforms.manifests.spec import ManifestSpec, check_whole
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.listing import list_files
from image_features.transforms.stores.retries import FetchError

# The options that say where in archives the images are, and of which archives.
_SAID_OF = {
    "image_member": {ManifestFormat.TAR, ManifestFormat.ZIP},
    "image_column": {ManifestFormat.PARQUET},
    "image_feature": {ManifestFormat.TFRECORD},
}


@dataclasses.dataclass(frozen=True)
class _Input:
    """The input as it was asked for.

    Attributes:
      locations: The manifests, directories and globs.
      format: The format of the manifests; None takes what each suffix says.
      uri_column: The column that holds the URIs; None finds it.
      columns: The types of columns that are known already.
      empty: The message to the user where no row is found.
    """

    locations: Sequence[str]
    format: ManifestFormat | None
    uri_column: str | None
    columns: Mapping[str, Column]
    empty: str


# Commands that name their input in another way have a namespace with the same names.
Options = FeatureExtractorOptions | argparse.Namespace


def archive_options(options: Options) -> ArchiveOptions:
    """Returns what the options say of where in archives the images are."""
    members = [name.strip(" .") for name in (options.image_member or "").lower().split(",")]
    return ArchiveOptions(
        members=tuple(filter(None, members)),
        column=options.image_column or "",
        feature=options.image_feature or "",
    )


def _check_archive_options(sources: Sequence[Source], options: Options) -> None:
    """Refuses what is said of kinds of archives that the input has none of.

    A manifest, which Parquet may be too, or a listing may name any.
    """
    if options.image_member is not None and not archive_options(options).members:
        raise UsageError(f"--image_member={options.image_member} names no extension, such as jpg.")
    formats = {source.format for source in sources}
    if any(format is None or not format.archive for format in formats):
        return
    for flag, kinds in _SAID_OF.items():
        if getattr(options, flag) and not formats & kinds:
            names = " and ".join(sorted(str(format) for format in formats))
            raise UsageError(
                f"--{flag}={getattr(options, flag)} says nothing of {names}, which is all that the "
                "input has; leave it out."
            )


def _check_packed(sources: Sequence[Source]) -> None:
    """Refuses the directory of a packing that goes on or has died, and may lack archives."""
    for source in sources:
        directory = source.location.rstrip("/")
        if source.format is not None or not list_files(directory, "images-"):
            continue
        begun = FileSystems.exists(FileSystems.join(directory, STAGING_NAME, LAUNCH_FILE))
        if begun and not FileSystems.exists(FileSystems.join(directory, PACK_FILE)):
            raise UsageError(
                f"The archives in {directory} are not all there, since `pack` has not ended: run "
                "it again, or name the archives that are there by a glob."
            )


def examine_input(options: Options, http: HttpPolicy) -> ManifestSpec:
    """Finds the sources and looks at the head of each.

    Raises:
      UsageError: a source cannot be read, or none of them names an image.
    """
    chosen = _failed_rows(options) if options.retry_errors else _manifests(options)
    try:
        sources = find_sources(chosen.locations, chosen.format)
        _check_packed(sources)
        found = examine(
            sources,
            uri_column=chosen.uri_column,
            declared=parse_column_types(options.column_types),
            http=http,
            version_column=options.version_column,
            earlier=chosen.columns,
            quotes={"yes": True, "no": False}.get(options.manifest_quotes),
            archives=archive_options(options),
        )
        check_whole(found.spec)
        check_column_names(found.spec.columns)
    except FetchError as error:
        raise UsageError(f"The input cannot be read: {error}") from error
    except UsageError:
        raise
    except (ValueError, OSError) as error:
        raise UsageError(f"The input cannot be used: {explain(error)}.") from error
    _check_archive_options(found.spec.sources, options)
    if not found.any_row and not options.allow_empty:
        raise UsageError(f"{chosen.empty}; if that may be, pass --allow_empty.")
    _check_declared(found, options)
    return found.spec


def _check_declared(found: Examined, options: Options) -> None:
    """Refuses types of columns that are nowhere, which are misspelled ones mostly.

    A column that the dataset has may be missing from what is added to it.
    """
    unseen = set(found.unseen)
    if unseen and options.incremental:
        with contextlib.suppress(RunNotFoundError):
            runs = committed_runs(absolute(options.output))
            unseen -= {column.name for run in runs for column in run.columns}
    for name in sorted(unseen):
        names = [column.name for column in found.spec.columns if column.name not in found.unseen]
        near = difflib.get_close_matches(name, names, 1)
        advice = (
            f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}."
        )
        raise UsageError(f"--column_types names the column {name!r}, which no input has; {advice}")


def _manifests(options: Options) -> _Input:
    wanted = None if options.input_format == "auto" else ManifestFormat(options.input_format)
    empty = f"The input {', '.join(options.input)} names no image"
    return _Input(options.input, wanted, options.uri_column, {}, empty)


def _failed_rows(options: Options) -> _Input:
    run = _failed_run(options.retry_errors, options.output)
    return _Input(
        [run.path(shard) for shard in run.files("errors") if shard.rows],
        None,
        None,
        # The types are the earlier run's, since few rows of a column may look like another type.
        {column.name: column for column in run.columns},
        f"The run --retry_errors={options.retry_errors} has no row that failed",
    )


def _failed_run(name: str, output: str) -> Run:
    path = absolute(name if "/" in name else FileSystems.join(absolute(output), name))
    try:
        (run,) = committed_runs(path)
    except (RunNotFoundError, UnreadableRunError) as error:
        raise UsageError(f"--retry_errors={name}: {error}") from error
    except ValueError as error:
        raise UsageError(f"--retry_errors={name} is a dataset; name one of its runs.") from error
    except OSError as error:
        raise UsageError(f"--retry_errors={name} cannot be read: {explain(error)}.") from error
    return run
