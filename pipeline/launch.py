"""From options to a run: everything is checked first, then the pipeline starts."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import platform
import shutil
import tarfile
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from models.compiler import Precision
from models.engines import Engine, PreparedModel
from models.engines import prepare as prepare_model
from models.errors import ModelError
from pipeline import extract, runners
from pipeline.config import ExtractConfig, default_run_id, is_run_id, utc_now
from pipeline.layout import RunLayout, read_run
from pipeline.options import MIB, FeatureExtractorOptions
from pipeline.progress import watch
from pipeline.schema import check_column_names
from pipeline.usage import UsageError
from transforms.columns import parse_column_types
from transforms.fetch import FetchPolicy
from transforms.http import HttpPolicy
from transforms.manifest import ManifestSpec, examine, find_sources
from transforms.manifest_rows import ManifestFormat
from transforms.pixels import DecodePolicy
from transforms.retries import FetchError, RetryPolicy
from transforms.shards import ShardPolicy
from transforms.storage import create, reason_of
from transforms.types import Reason
from transforms.uris import redact_text

_LOG = logging.getLogger(__name__)


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
    runners.check(options, beam_options)
    layout, run_id = _layout(options)
    fetch = _fetch_policy(options)
    manifest = _manifest(options, fetch.http)
    model = _model(options)
    _begin(options, layout, started)
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
        raise UsageError(f"--output={options.output} cannot be used: {_why(error)}.") from error
    return RunLayout(directory, options.compression), run_id


def _begin(options: FeatureExtractorOptions, layout: RunLayout, started: str) -> None:
    """Makes the run's place, last of all checks: it may be readable and not writable."""
    try:
        if "://" not in layout.staging:
            os.makedirs(layout.staging)
        else:
            with create(FileSystems.join(layout.staging, "launch.json")) as file:
                file.write(json.dumps({"started": started, "host": platform.node()}).encode())
    except Exception as error:  # Each file system has exceptions of its own.
        raise UsageError(
            f"--output={options.output} cannot be written to: {_why(error)}."
        ) from error


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
        raise UsageError(f"The input cannot be used: {_why(error)}.") from error
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


def submit(config: ExtractConfig, beam_options: PipelineOptions) -> Any:
    """Starts the pipeline; the local runner has then finished it.

    Returns:
      Beam's result of the pipeline.

    Raises:
      RunFailedError: it could not be started, or failed already.
    """
    config = runners.settle(config, beam_options)
    staging = config.layout.staging
    try:
        if runners.runner_of(beam_options) is not runners.Runner.LOCAL:
            config = _staged(config)
        pipeline = beam.Pipeline(options=beam_options)
        extract.build(pipeline, config)
        with watch(staging if "://" not in staging else None):
            return pipeline.run()
    except Exception as error:
        raise _failed(config, error) from error


def wait(config: ExtractConfig, result: Any) -> dict[str, Any]:
    """Waits for a pipeline's commit.

    Returns:
      The content of run.json.

    Raises:
      RunFailedError: it ended without one.
    """
    staging = config.layout.staging
    failure: Exception | None = None
    state = ""
    try:
        with watch(staging if "://" not in staging else None):
            state = str(result.wait_until_finish())
    except Exception as error:
        failure = error
    run = read_run(config.layout.directory)
    if run is None:
        if failure is not None:
            raise _failed(config, failure) from failure
        raise RunFailedError(f"The run {config.run_id} ended {state} and is not committed.")
    if failure is not None or state != "DONE":
        # Its last step was done; what the engine lost after that was of no more use.
        _LOG.warning("The run is committed, though the job ended %s.", failure or state)
    return run


def _failed(config: ExtractConfig, error: Exception) -> RunFailedError:
    return RunFailedError(
        f"The run {config.run_id} failed and is not committed: {redact_text(_last_line(error))}"
    )


def _staged(config: ExtractConfig) -> ExtractConfig:
    """Puts the model where workers elsewhere can read it: they write there too."""
    model, staging = config.model, config.layout.staging
    if model.flatbuffer:
        target = FileSystems.join(staging, "model.tflite")
        with open(model.flatbuffer, "rb") as source, create(target) as copy:
            shutil.copyfileobj(source, copy)
        model = dataclasses.replace(model, flatbuffer=target)
    elif "://" not in model.handle:
        # A module that only this machine has.
        target = FileSystems.join(staging, "module.tar.gz")
        with create(target) as copy, tarfile.open(fileobj=copy, mode="w:gz") as archive:
            archive.add(model.directory, ".")
        model = dataclasses.replace(model, directory=target)
    return dataclasses.replace(config, model=model)


def _why(error: Exception) -> str:
    """What is wrong with a location, as a user would say it, without a full stop."""
    shown = ""
    if isinstance(error, BeamIOError) and error.exception_details:
        shown = f"{next(iter(error.exception_details))} "
    reason = reason_of(error)
    if shown and reason is Reason.NOT_FOUND:
        return f"{shown}does not exist, or its bucket does not"
    if reason is Reason.ACCESS_DENIED:
        of = f" to {shown.strip()}" if shown else ""
        return f"access{of} is denied; check the credentials and what they may do"
    return redact_text(str(error)).strip().rstrip(".")


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1][:1000] if lines else type(error).__name__
