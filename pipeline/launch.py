"""From options to a run: everything is checked first, then the pipeline starts."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)

from models.compiler import Precision
from models.engines import Engine, PreparedModel
from models.engines import prepare as prepare_model
from models.errors import ModelError
from pipeline import extract
from pipeline.config import ExtractConfig, default_run_id, is_run_id, utc_now
from pipeline.layout import RunLayout
from pipeline.options import MIB, FeatureExtractorOptions
from pipeline.progress import watch
from pipeline.schema import check_column_names
from pipeline.usage import UsageError
from transforms.columns import parse_column_types
from transforms.concurrency import available_cores
from transforms.fetch import FetchPolicy
from transforms.http import HttpPolicy
from transforms.manifest import ManifestSpec, examine, find_sources
from transforms.manifest_rows import ManifestFormat
from transforms.pixels import DecodePolicy
from transforms.retries import FetchError, RetryPolicy
from transforms.shards import ShardPolicy
from transforms.storage import create
from transforms.uris import redact_text

_LOG = logging.getLogger(__name__)

# "DirectRunner" would first look for another runner on the network, by name it does not.
IN_PROCESS_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# What one interpreter's lock serves: a core's share of it is about a tenth (docs/performance.md).
CORES_PER_PROCESS = 4
_LOCAL_NAMES = {"", "local", "directrunner", "direct", "fnapirunner"}


class RunFailedError(RuntimeError):
    """The pipeline stopped before its commit."""


def prepare(options: FeatureExtractorOptions, beam_options: PipelineOptions) -> ExtractConfig:
    """Checks everything that can be checked, and loads the model once.

    Raises:
      UsageError: an argument, the input, the output or the model is not usable.
    """
    started = utc_now()
    FileSystems.set_options(beam_options)
    for flag in ("input", "output", "model"):
        if not getattr(options, flag):
            raise UsageError(f"--{flag} is missing; see image-features extract --help.")
    if options.num_shards and options.images_per_shard:
        raise UsageError("--num_shards and --images_per_shard exclude each other; give one.")
    layout, run_id = _layout(options)
    fetch = _fetch_policy(options)
    manifest = _manifest(options, fetch.http)
    model = _model(options)
    return ExtractConfig(
        manifest=manifest,
        layout=layout,
        run_id=run_id,
        model=model,
        fetch=fetch,
        decode=DecodePolicy(
            image_size=model.image_size,
            resize=options.resize,
            decode=options.decode,
            allow_truncated=options.allow_truncated,
            max_pixels=int(options.max_megapixels * 1e6),
            max_bytes=fetch.max_bytes,
        ),
        shards=ShardPolicy(options.num_shards, options.images_per_shard or 10_000),
        keep_secrets=options.keep_uri_secrets,
        cpu_threads=options.cpu_threads,
        started=started,
    )


def _layout(options: FeatureExtractorOptions) -> tuple[RunLayout, str]:
    run_id = options.run_id or default_run_id()
    if not is_run_id(run_id):
        raise UsageError(f"--run_id={run_id} must be letters, digits, dots, dashes, underscores.")
    output = options.output
    if "://" not in output:
        output = os.path.abspath(os.path.expanduser(output))
    directory = FileSystems.join(output, run_id)
    try:
        if FileSystems.match([directory.rstrip("/") + "/**"], [1])[0].metadata_list or (
            "://" not in directory and os.path.exists(directory)
        ):
            raise UsageError(
                f"The output {directory} exists already; choose another --run_id or remove it."
            )
        if "://" not in output:
            os.makedirs(output, exist_ok=True)
            if not os.access(output, os.W_OK):
                raise UsageError(f"--output={output} is not writable.")
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"--output={options.output} cannot be used: {error}.") from error
    return RunLayout(directory, options.compression), run_id


def _fetch_policy(options: FeatureExtractorOptions) -> FetchPolicy:
    max_bytes = int(options.max_megabytes * MIB)
    http = HttpPolicy(
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        total_timeout=options.total_timeout,
        retries=RetryPolicy(max_attempts=options.fetch_attempts),
        max_redirects=options.max_redirects,
        allow_private_hosts=options.allow_private_hosts,
    )
    return FetchPolicy(
        http=http,
        max_bytes=max_bytes,
        threads=options.fetch_threads,
    )


def _manifest(options: FeatureExtractorOptions, http: HttpPolicy) -> ManifestSpec:
    wanted = None if options.input_format == "auto" else ManifestFormat(options.input_format)
    try:
        sources = find_sources(options.input, wanted)
        spec, any_row = examine(
            sources,
            uri_column=options.uri_column,
            declared=parse_column_types(options.column_types),
            http=http,
        )
        check_column_names(spec.columns)
    except FetchError as error:
        raise UsageError(f"The input cannot be read: {error}") from error
    except (ValueError, OSError, EOFError) as error:
        message = redact_text(str(error)).rstrip(".")
        raise UsageError(f"The input cannot be used: {message}.") from error
    if not any_row and not options.allow_empty:
        raise UsageError(
            f"The input {', '.join(options.input)} names no image; if that may be, "
            "pass --allow_empty."
        )
    return spec


def _model(options: FeatureExtractorOptions) -> PreparedModel:
    try:
        return prepare_model(
            options.model,
            engine=Engine(options.engine),
            precision=Precision(options.precision),
            batch_size=options.batch_size,
        )
    except ModelError as error:
        raise UsageError(f"--model={options.model}: {error}") from error


def run(config: ExtractConfig, beam_options: PipelineOptions) -> Any:
    """Runs the pipeline to its commit.

    Returns:
      Beam's result of the finished pipeline.

    Raises:
      RunFailedError: it ended without one.
    """
    standard = beam_options.view_as(StandardOptions)
    local = (standard.runner or "").lower() in _LOCAL_NAMES
    if local:
        standard.runner = IN_PROCESS_RUNNER
        config = _on_this_machine(config, beam_options.view_as(DirectOptions))
    beam_options.view_as(SetupOptions).save_main_session = False
    staging = config.layout.staging
    if "://" not in staging:
        os.makedirs(staging)
    if not local:
        config = _staged(config)
    pipeline = beam.Pipeline(options=beam_options)
    extract.build(pipeline, config)
    with watch(staging if "://" not in staging else None):
        try:
            result = pipeline.run()
            state = result.wait_until_finish()
        except Exception as error:
            raise RunFailedError(
                f"The run {config.run_id} failed and is not committed: "
                f"{redact_text(_last_line(error))}"
            ) from error
    if str(state) != "DONE":
        raise RunFailedError(f"The run {config.run_id} ended {state} and is not committed.")
    with _tolerated("remove the staging directory"):
        remove_staging(staging)
    return result


def _on_this_machine(config: ExtractConfig, direct: DirectOptions) -> ExtractConfig:
    """Settles how many workers a local run has, and how many cores each of them."""
    cores = available_cores()
    if (direct.direct_num_workers, direct.direct_running_mode) == (1, "in_memory"):
        direct.direct_num_workers = max(1, cores // CORES_PER_PROCESS)
        if direct.direct_num_workers > 1:
            direct.direct_running_mode = "multi_processing"
    elif direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_threading"  # In memory there is one worker only.
    threads = cores
    if direct.direct_running_mode == "multi_processing":
        # Workers of 0 are Beam's word for one a core.
        threads = max(1, cores // (direct.direct_num_workers or cores))
    return dataclasses.replace(config, cpu_threads=config.cpu_threads or threads)


def _staged(config: ExtractConfig) -> ExtractConfig:
    """Puts the compiled model where workers elsewhere can read it: they write there too."""
    model = config.model
    if not model.flatbuffer:
        return config
    target = FileSystems.join(config.layout.staging, "model.tflite")
    with open(model.flatbuffer, "rb") as source, create(target) as copy:
        shutil.copyfileobj(source, copy)
    return dataclasses.replace(config, model=dataclasses.replace(model, flatbuffer=target))


def remove_staging(staging: str) -> None:
    """Deletes the staging directory of a committed run."""
    if "://" not in staging:
        shutil.rmtree(staging)
    else:
        files = FileSystems.match([staging + "/**"])[0].metadata_list
        FileSystems.delete([file.path for file in files])


@contextlib.contextmanager
def _tolerated(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # The run is committed: tidiness must not undo that.
        _LOG.warning("Could not %s: %s", what, error)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1][:1000] if lines else type(error).__name__
