"""What a run reads: the manifests it was given, or the rows that failed in an earlier run."""

from __future__ import annotations

import os

from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.commit.schema import check_column_names
from image_features.pipeline.dataset.layout import RunNotFoundError, UnreadableRunError
from image_features.pipeline.dataset.records import Run, committed_runs
from image_features.pipeline.errors import UsageError
from image_features.pipeline.launch import attempt as place
from image_features.pipeline.options import FeatureExtractorOptions
from image_features.transforms.manifests.columns import Column, parse_column_types
from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.read_manifest import ManifestSpec, examine, find_sources
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import FetchError


def examine_input(options: FeatureExtractorOptions, http: HttpPolicy) -> ManifestSpec:
    """Finds the sources and looks at the head of each.

    Raises:
      UsageError: they cannot be read, or name no image.
    """
    wanted = None if options.input_format == "auto" else ManifestFormat(options.input_format)
    columns: dict[str, Column] = {}
    uri_column, version_column = options.uri_column, options.version_column
    if options.retry_errors:
        run = _failed_run(options)
        options.input = [
            FileSystems.join(run.directory, entry["name"])
            for entry in run.files("errors")
            if entry["rows"]
        ]
        # As they were: a column of few rows may look like another type.
        columns = {column.name: column for column in run.columns}
        wanted = uri_column = None
    try:
        sources = find_sources(options.input, wanted)
        spec, any_row = examine(
            sources,
            uri_column=uri_column,
            declared=columns | parse_column_types(options.column_types),
            http=http,
            version_column=version_column,
        )
        check_column_names(spec.columns)
    except FetchError as error:
        raise UsageError(f"The input cannot be read: {error}") from error
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(f"The input cannot be used: {place.why(error)}.") from error
    if not any_row and not options.allow_empty:
        named = (
            f"The run --retry_errors={options.retry_errors} has no row that failed"
            if options.retry_errors
            else f"The input {', '.join(options.input)} names no image"
        )
        raise UsageError(f"{named}; if that may be, pass --allow_empty.")
    return spec


def _failed_run(options: FeatureExtractorOptions) -> Run:
    name = options.retry_errors
    path = name if "/" in name else FileSystems.join(options.output, name)
    if "://" not in path:
        path = os.path.abspath(os.path.expanduser(path))
    try:
        (run,) = committed_runs(path)
    except (RunNotFoundError, UnreadableRunError) as error:
        raise UsageError(f"--retry_errors={name}: {error}") from error
    except ValueError as error:
        raise UsageError(f"--retry_errors={name} is a dataset; name one of its runs.") from error
    except OSError as error:
        raise UsageError(f"--retry_errors={name} cannot be read: {place.why(error)}.") from error
    return run
