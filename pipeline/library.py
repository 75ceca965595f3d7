"""The product as a library: what the commands do, with values instead of text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from image_features.errors import RunFailedError, UsageError
from image_features.pipeline.cli.export import add_arguments as add_export_arguments
from image_features.pipeline.cli.pack import add_arguments as add_pack_arguments
from image_features.pipeline.cli.parsing import parse_extract, parse_with_beam
from image_features.pipeline.dataset.export import Export
from image_features.pipeline.dataset.pack import Pack
from image_features.pipeline.dataset.run import Run, committed_runs
from image_features.pipeline.launch.export_options import ExportOptions
from image_features.pipeline.launch.job import run_job
from image_features.pipeline.launch.prepare import AlreadyCommitted, prepare
from image_features.pipeline.launch.prepare_export import NothingToDo, prepare_export
from image_features.pipeline.launch.prepare_pack import prepare_pack
from image_features.pipeline.launch.work import Terms

# As the command line spells them, or as they are: (-1, 1).
Numbers = str | Sequence[float]
# These make sense for a command only.
_NOT_HERE = ("no_wait", "wait", "profile", "notify", "log_format", "error_budget", "json")


def extract(
    *,
    input: str | Iterable[str] | None = None,
    output: str,
    model: str | Mapping[str, str] = "builtin",
    input_range: Numbers | Mapping[str, Numbers] | None = None,
    mean: Numbers | Mapping[str, Numbers] | None = None,
    std: Numbers | Mapping[str, Numbers] | None = None,
    beam_args: Iterable[str] = (),
    **options: Any,
) -> Run:
    """Extracts one feature vector for every image that the input names.

    It does what the command `extract` does, and takes its options by their names. Rows that fail
    become error rows of the run. The call waits for the commit; a run that is committed already
    is returned as it is.

    Args:
      input: A manifest, a directory of images or a glob, or several of them; local, gs:// or
        http(s)://. It may be left out with `retry_errors`.
      output: The dataset; the run is a directory in it.
      model: An image feature-vector module, as --model takes it, or several by their names.
      input_range: What the model takes for black and white, such as (-1, 1) or (0, 255); of
        several models by their names.
      mean: Instead of a range: what is taken from each channel's pixels in [0, 1].
      std: What the rest is divided by then.
      beam_args: Beam's own options, as on a command line: `["--runner=FlinkRunner", ...]`.
      **options: The other options of `extract`, such as `incremental=True`, `num_shards=8`,
        `column_types="label:int64"` or `max_error_rate=0.05`.

    Returns:
      The committed run: its `directory`, `run_id`, `counts`, `files()` and whatever run.json says.

    Raises:
      UsageError: an argument, the input, the output or the model cannot be used; no work has
        started.
      RunHeldError: another launcher works on the run.
      GuardError: everything was computed, but a guard such as `max_error_rate` stopped the commit.
      RunFailedError: the job ended without a commit.
    """
    _check_here("extract", options)
    arguments = [
        *(f"--input={location}" for location in _locations(input)),
        f"--output={output}",
        *_named("model", model),
        *_named("input_range", input_range),
        *_named("mean", mean),
        *_named("std", std),
        *(flag for name, value in options.items() for flag in _flags(name, value)),
    ]
    ours, beam_options = parse_extract([*arguments, *beam_args])
    begun = time.monotonic()
    work = prepare(ours, beam_options)
    if isinstance(work, AlreadyCommitted):
        return _committed(work.directory)
    # The caller's process is not ours to end: a local run is held to --max_duration by its guard.
    deadline = begun + ours.max_duration if ours.max_duration else None
    outcome = run_job(work, beam_options, Terms(deadline=deadline, owns_process=False))
    return outcome.run or _committed(work.run.layout.directory)


def pack(
    input: str | Iterable[str],
    output: str,
    *,
    beam_args: Iterable[str] = (),
    **options: Any,
) -> Pack:
    """Copies the images that the input names into archives.

    It does what the command `pack` does, and takes its options by their names. Rows that fail
    become error rows. The call waits for the commit; what is packed already is returned as it is.

    Args:
      input: A manifest, a directory of images or a glob, or several of them; local, gs:// or
        http(s)://.
      output: The directory of the archives; local or gs://.
      beam_args: Beam's own options, as on a command line: `["--runner=FlinkRunner", ...]`.
      **options: The other options of `pack`, such as `format="parquet"` or
        `images_per_archive=5000`.

    Returns:
      The archives: their `directory`, `counts`, `files()` and whatever pack.json says.

    Raises:
      UsageError: an argument, the input or the output cannot be used; no work has started.
      RunHeldError: another launcher works on it.
      GuardError: everything was fetched, but a guard such as `max_error_rate` stopped the commit.
      RunFailedError: the job ended without a commit.
    """
    _check_here("pack", options)
    named = [flag for name, value in options.items() for flag in _flags(name, value)]
    arguments = [*_locations(input), output, *named, *beam_args]
    ours, beam_options = parse_with_beam("pack", add_pack_arguments, arguments)
    begun = time.monotonic()
    work = prepare_pack(ours, beam_options)
    if isinstance(work, AlreadyCommitted):
        return _packed(work.directory)
    deadline = begun + ours.max_duration if ours.max_duration else None
    outcome = run_job(work, beam_options, Terms(deadline=deadline, owns_process=False))
    return outcome.run or _packed(work.layout.directory)


def export(
    dataset: str,
    target: str,
    *,
    beam_args: Iterable[str] = (),
    **options: Any,
) -> Export:
    """Writes the rows of a dataset, of each image the latest once, for other programs.

    It does what the command `export` does, and takes its options by their names. The call waits
    for the commit. Where there is nothing to do, the target's last export is returned.

    Args:
      dataset: The dataset's directory, or a run's; local or gs://.
      target: A directory, local or gs://, or the address of a database.
      beam_args: Beam's own options, as on a command line: `["--runner=FlinkRunner", ...]`.
      **options: The other options of `export`, such as `format="qdrant"`, `dtype="float16"` or
        `since="last"`.

    Returns:
      The export: its `directory`, `counts`, `rows` and whatever .export.json says.

    Raises:
      UsageError: an argument, the dataset or the target cannot be used; no work has started.
      RunHeldError: another launcher works on it.
      RunFailedError: the job ended without a commit.
    """
    _check_here("export", options)
    named = [flag for name, value in options.items() for flag in _flags(name, value)]
    ours, beam_options = parse_with_beam(
        "export", add_export_arguments, [dataset, target, *named, *beam_args]
    )
    work = prepare_export(ExportOptions.of(ours), beam_options)
    if isinstance(work, NothingToDo):
        return work.export
    outcome = run_job(work, beam_options, Terms(owns_process=False))
    assert outcome.run is not None  # The call has waited for it.
    return outcome.run


def _check_here(function: str, options: Mapping[str, Any]) -> None:
    for name in _NOT_HERE:
        if name in options:
            raise UsageError(
                f"{function}() has no option {name!r}, which is of use to a command only."
            )


def _locations(input: str | Iterable[str] | None) -> list[str]:
    return [input] if isinstance(input, str) else list(input or ())


def _named(option: str, value: Any) -> list[str]:
    """An option of a model, or of several by their names, as the command line spells it."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [f"--{option}={name}={_spelled(one)}" for name, one in value.items()]
    return [f"--{option}={_spelled(value)}"]


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(map(str, value))


def _flags(name: str, value: Any) -> list[str]:
    """An option as the command line spells it; None and False are the defaults."""
    if value is None or value is False:
        return []
    return [f"--{name}"] if value is True else [f"--{name}={value}"]


def _committed(directory: str) -> Run:
    run = Run.read(directory)
    if run is None:
        raise RunFailedError(f"The run in {directory} was removed when it was committed.")
    return run


def _packed(directory: str) -> Pack:
    pack = Pack.read(directory)
    if pack is None:
        raise RunFailedError(f"The archives in {directory} were removed when they were committed.")
    return pack


def runs(path: str) -> list[Run]:
    """Lists the committed runs of a dataset, the latest first; of a run's directory that one.

    Args:
      path: The dataset's directory, or a run's; local or on an object store.

    Raises:
      RunNotFoundError: there is none.
      UnreadableRunError: one of them was not written by this version or an earlier one.
    """
    return committed_runs(path)
