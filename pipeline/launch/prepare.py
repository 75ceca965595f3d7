"""From options to a run: everything is checked first, then the pipeline starts."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tarfile
import time
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.models.engines import PreparedModel
from image_features.models.engines import prepare as prepare_model
from image_features.models.errors import ModelError
from image_features.models.identity import Engine, Precision
from image_features.pipeline import compact, extract
from image_features.pipeline.commit.descriptions import provenance
from image_features.pipeline.commit.guards import Guards, recorded
from image_features.pipeline.config import ExtractConfig, utc_now
from image_features.pipeline.dataset.known_runs import (
    all_runs,
    going_on,
    known_files,
    merged_into,
    removed_before,
)
from image_features.pipeline.dataset.layout import dataset_of, read_run
from image_features.pipeline.dataset.records import Run
from image_features.pipeline.errors import UsageError
from image_features.pipeline.launch import attempt as place
from image_features.pipeline.launch import inputs
from image_features.pipeline.launch.fingerprint import fingerprint
from image_features.pipeline.launch.progress import watch
from image_features.pipeline.options import MIB, FeatureExtractorOptions
from image_features.pipeline.runners import runners
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.pixels import DecodePolicy
from image_features.transforms.skip_known import Known
from image_features.transforms.stores.files import create
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import RetryPolicy
from image_features.transforms.stores.uris import redact_text

_LOG = logging.getLogger(__name__)
_ENDED = frozenset({"DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED"})
_CANCEL_SECONDS = 120.0


class AlreadyCommittedError(Exception):
    """The run is there, made of the same input, model and preprocessing; str() is its directory.

    Or it was merged, for runs that go on from what there is: str() is then the merged run's.
    """


class RunFailedError(RuntimeError):
    """The pipeline stopped before its commit."""


class GuardedError(RunFailedError):
    """All was computed, but a guard stopped the commit; str() holds its sentences."""


def prepare(options: FeatureExtractorOptions, beam_options: PipelineOptions) -> ExtractConfig:
    """Checks everything that can be checked, and loads the model once.

    Raises:
      UsageError: an argument, the input, the output or the model is not usable.
      AlreadyCommittedError: this very run is done.
    """
    started = utc_now()
    FileSystems.set_options(beam_options)
    _check_options(options)
    runners.check(options, beam_options)
    found = place.find(options)
    fetch = _fetch_policy(options)
    manifest = inputs.examine_input(options, fetch.http)
    model = _model(options)
    decode = DecodePolicy(
        image_size=model.image_size,
        resize=options.resize,
        decode=options.decode,
        allow_truncated=options.allow_truncated,
        max_pixels=int(options.max_megapixels * 1e6),
        max_bytes=fetch.max_bytes,
    )
    config = ExtractConfig(
        manifest=manifest,
        layout=dataclasses.replace(found.layout, tombstones=options.tombstone_removed),
        run_id=found.run_id,
        model=model,
        fetch=fetch,
        decode=decode,
        shards=ShardPolicy(options.num_shards, options.images_per_shard or 10_000),
        keep_secrets=options.keep_uri_secrets,
        cpu_threads=options.cpu_threads,
        started=started,
        guards=Guards(
            max_error_rate=options.max_error_rate,
            min_rows=options.min_rows,
            max_duration=options.max_duration,
            fail_on_drift=options.fail_on_drift,
            drift_threshold=options.drift_threshold,
            max_removed_rate=options.max_removed_rate,
        ),
    )
    if options.incremental and found.standing is not place.Standing.COMMITTED:
        config = _with_known(config, options)
    mark = fingerprint(
        manifest=manifest,
        model=model,
        decode=decode,
        keep_secrets=options.keep_uri_secrets,
        incremental=options.incremental,
    )
    entered = place.enter(found, mark, started)
    if entered.standing is place.Standing.COMMITTED:
        raise AlreadyCommittedError(entered.layout.directory)
    return dataclasses.replace(
        config,
        layout=dataclasses.replace(config.layout, fingerprint=mark),
        resumed=entered.standing is place.Standing.TAKEN_UP,
    )


def _check_options(options: FeatureExtractorOptions) -> None:
    for flag in ("input", "output", "model"):
        if not getattr(options, flag) and not (flag == "input" and options.retry_errors):
            raise UsageError(f"--{flag} is missing; see image-features extract --help.")
    if options.input and options.retry_errors:
        raise UsageError("--input and --retry_errors exclude each other; give one.")
    if options.num_shards and options.images_per_shard:
        raise UsageError("--num_shards and --images_per_shard exclude each other; give one.")
    for flag in ("verify_content", "tombstone_removed", "max_removed_rate"):
        if getattr(options, flag) not in (None, False) and not options.incremental:
            raise UsageError(f"--{flag} is of use with --incremental only; add it.")
    if options.retry_errors:
        for flag in ("tombstone_removed", "max_removed_rate"):
            if getattr(options, flag) not in (None, False):
                raise UsageError(
                    f"--{flag} would count every row that did not fail: leave it out with "
                    "--retry_errors."
                )


def _with_known(config: ExtractConfig, options: FeatureExtractorOptions) -> ExtractConfig:
    dataset = dataset_of(config.layout.directory)
    try:
        runs = all_runs(dataset)
        new = Run(config.layout.directory, {"run_id": config.run_id, **provenance(config)})
        merged = merged_into(runs, new)
        if merged:
            raise AlreadyCommittedError(
                f"{merged.directory}, into which {config.run_id} was merged,"
            )
        earlier = going_on(runs, new)
        files = known_files(earlier)
    except (ValueError, OSError) as error:
        raise UsageError(f"--incremental cannot go on in {dataset}: {place.why(error)}.") from error
    return dataclasses.replace(
        config,
        known=Known(files, options.verify_content, removals=not options.retry_errors),
        guards=dataclasses.replace(config.guards, removed_before=removed_before(earlier)),
    )


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
      GuardedError: a guard stopped the commit already.
      RunFailedError: it could not be started, or failed already.
    """
    config = runners.settle(config, beam_options)
    staging = config.layout.staging
    try:
        if runners.runner_of(beam_options) is not runners.Runner.LOCAL and not config.merging:
            config = _staged(config)
        pipeline = beam.Pipeline(options=beam_options)
        (compact if config.merging else extract).build(pipeline, config)
        with watch(staging if "://" not in staging else None):
            return pipeline.run()
    except Exception as error:
        raise _failed(config, error) from error


def wait(config: ExtractConfig, result: Any, *, deadline: float | None = None) -> dict[str, Any]:
    """Waits for a pipeline's commit.

    Args:
      config: Of the run.
      result: What `submit` returned.
      deadline: When to cancel the job, by time.monotonic(); None waits for ever.

    Returns:
      The content of run.json.

    Raises:
      GuardedError: a guard stopped the commit.
      RunFailedError: it ended without one.
    """
    staging = config.layout.staging
    failure: Exception | None = None
    state = ""
    cancelled = False
    try:
        with watch(staging if "://" not in staging else None):
            if deadline is None:
                state = str(result.wait_until_finish())
            else:
                left = max(1, int(1000 * (deadline - time.monotonic())))
                state = str(result.wait_until_finish(duration=left))
                if state not in _ENDED:
                    cancelled = True
                    state = _cancel(result)
    except Exception as error:
        failure = error
    run = read_run(config.layout.directory)
    if run is None:
        if cancelled:
            raise RunFailedError(f"{too_long(config)} Its job is {state}.") from failure
        raise _failed(config, failure, state) from failure
    if failure is not None or state != "DONE":
        # Its last step was done; what the engine lost after that was of no more use.
        _LOG.warning("The run is committed, though the job ended %s.", failure or state)
    return run


def too_long(config: ExtractConfig) -> str:
    """What is said of a run that is given up."""
    return (
        f"The run {config.run_id} lasted longer than "
        f"--max_duration={config.guards.max_duration:g} and was stopped; it is not committed."
    )


def _cancel(result: Any) -> str:
    """Cancels a job, and waits a while for its end; returns its state."""
    try:
        result.cancel()
    except Exception as error:  # Each engine has exceptions of its own.
        # The commit's own guard still keeps it from committing.
        _LOG.warning("The job could not be cancelled: %s", redact_text(str(error)))
    end = time.monotonic() + _CANCEL_SECONDS
    while (state := str(result.state)) not in _ENDED and time.monotonic() < end:
        time.sleep(0.5)
    return state


def _failed(config: ExtractConfig, error: Exception | None, state: str = "") -> RunFailedError:
    sentences = recorded(config.layout.staging, config.started)
    if sentences:
        return GuardedError(
            f"The run {config.run_id} is not committed: {' '.join(sentences)} What was computed "
            "is kept: the same command with other limits goes on from there."
        )
    if error is None:
        return RunFailedError(f"The run {config.run_id} ended {state} and is not committed.")
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


def _last_line(error: BaseException) -> str:
    # Dataflow's runner ends with "None" where the service gave no reason.
    lines = [line for line in str(error).splitlines() if line.strip() not in ("", "None")]
    return lines[-1].removesuffix(", Error:")[:1000] if lines else type(error).__name__
