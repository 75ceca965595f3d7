"""The directory of a run before its launch: new, left by an attempt that died, or committed."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import logging
import os
import platform
import uuid

from apache_beam.io.filesystems import FileSystems

from image_features.errors import RunHeldError, UnreadableRunError, UsageError
from image_features.pipeline.config import default_run_id, is_run_id
from image_features.pipeline.dataset.claim import Claim, is_held
from image_features.pipeline.dataset.layout import (
    LAUNCH_FILE,
    DedupLayout,
    ExportLayout,
    PackLayout,
    RunLayout,
    check_path,
)
from image_features.pipeline.dataset.run import read_record
from image_features.pipeline.locations import explain
from image_features.system.disks import make_directories
from image_features.system.paths import absolute
from image_features.transforms.runtime import progress
from image_features.transforms.stores import libraries
from image_features.transforms.stores.files import (
    create_once,
    open_plain,
    remove_file,
    remove_tree,
)

_LOG = logging.getLogger(__name__)
_GOES_ON = "Takes up the run %s where an earlier attempt has left it."
# The user names these directories themselves, and not those that they are in.
_ALONE = {PackLayout: "packed images", ExportLayout: "export", DedupLayout: "duplicates"}


class State(enum.Enum):
    """The state of a run's directory before a launch."""

    NEW = enum.auto()
    BEGUN = enum.auto()
    COMMITTED = enum.auto()


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An attempt at a run.

    Attributes:
      layout: The paths of the run.
      state: The state of its directory. Whether what is there is this very run is known only
        when its fingerprint is.
    """

    layout: RunLayout
    state: State


def find_attempt(output: str, run_id: str | None, *, compression: str) -> Attempt:
    """Looks at a run's directory, before the work of preparing begins.

    Args:
      output: The dataset's directory, as the user gave it.
      run_id: The name of the run; None names it by the time.
      compression: The compression of its feature shards, "none" or "gzip".

    Raises:
      UsageError: the directory cannot be a run's, or it holds something else.
    """
    run_id = run_id or default_run_id()
    if not is_run_id(run_id):
        raise UsageError(f"--run_id={run_id} must be letters, digits, dots, dashes, underscores.")
    dataset = absolute(output)
    layout = RunLayout(f"{dataset.rstrip('/')}/{run_id}", compression)
    return _find(layout, f"--output={output}")


def find_pack(output: str, *, suffix: str) -> Attempt:
    """Looks at the directory of a packing, before the work of preparing begins.

    Args:
      output: The directory, as the user gave it.
      suffix: The suffix of its archives.

    Raises:
      UsageError: archives cannot be there, or it holds something else.
    """
    return _find_alone(PackLayout(absolute(output).rstrip("/"), suffix=suffix), output)


def find_export(layout: ExportLayout, shown: str) -> Attempt:
    """Looks at the directory of an export, before the work of preparing begins.

    Args:
      layout: The paths of the export.
      shown: The target, as the user gave it.

    Raises:
      UsageError: an export cannot be there, or it holds something else.
    """
    return _find_alone(layout, shown)


def find_dedup(output: str) -> Attempt:
    """Looks at the directory for the duplicates of a dataset, before the work begins.

    Args:
      output: The directory, as the user gave it.

    Raises:
      UsageError: duplicates cannot be written there, or it holds something else.
    """
    return _find_alone(DedupLayout(absolute(output).rstrip("/")), output)


def _find_alone(layout: RunLayout, shown: str) -> Attempt:
    if layout.dataset.rstrip("/").endswith(":"):
        raise UsageError(f"{shown} cannot be used: it is a whole bucket; name a directory in it.")
    return _find(layout, shown)


def _find(layout: RunLayout, shown: str) -> Attempt:
    dataset = layout.dataset or "/"
    try:
        check_path(layout.directory if type(layout) in _ALONE else dataset)
        libraries.check([layout.directory])
        state = _state_of(layout)
        if "://" not in dataset:
            make_directories(dataset)
            if not os.access(dataset, os.W_OK | os.X_OK):
                raise UsageError(f"{shown} is not writable.")
    except (UsageError, UnreadableRunError) as error:
        raise UsageError(str(error)) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{shown} cannot be used: {explain(error)}.") from error
    return Attempt(layout, state)


def _state_of(layout: RunLayout) -> State:
    directory = layout.directory
    if "://" not in directory:
        is_there = os.path.lexists(directory)
    else:
        is_there = bool(FileSystems.match([f"{directory}/**"], [1])[0].metadata_list)
    if not is_there:
        return State.NEW
    if read_record(directory, layout.commit_file) is not None:
        return State.COMMITTED
    if FileSystems.exists(FileSystems.join(layout.staging, LAUNCH_FILE)):
        return State.BEGUN
    if "://" not in directory and os.path.isdir(layout.staging):
        return State.NEW  # An attempt died here before it could write anything.
    if what := _ALONE.get(type(layout)):
        if _is_empty(directory):
            return State.NEW
        raise UsageError(
            f"The output {directory} exists already and holds no {what}; name another one or "
            "remove it."
        )
    raise UsageError(
        f"The output {directory} exists already and is no run; choose another --run_id or remove "
        "it."
    )


def _is_empty(directory: str) -> bool:
    return "://" not in directory and os.path.isdir(directory) and not os.listdir(directory)


def begin_attempt(attempt: Attempt, fingerprint: str, started: str) -> Attempt:
    """Makes a run's directory, as the last of all checks: it may be readable and not writable.

    Args:
      attempt: The attempt that `find_attempt` found.
      fingerprint: A hash of everything that the run's bytes depend on.
      started: The time of the launch, ISO 8601, UTC.

    Returns:
      The attempt as it is now, with the fingerprint in its layout.

    Raises:
      UsageError: the directory cannot be written to, or holds a run of another fingerprint.
      RunHeldError: another launcher makes another export there.
    """
    layout = dataclasses.replace(attempt.layout, fingerprint=fingerprint)
    try:
        # Another launcher may have begun or committed the run meanwhile, or cleared it away.
        state = _state_of(layout)
        if state is State.NEW and not _write_launch_file(layout, started):
            state = State.BEGUN  # Another launcher began it at this very moment.
        if state is State.COMMITTED:
            record = read_record(layout.directory, layout.commit_file) or {}
            _check_same(layout, record.get("fingerprint"), "committed")
        elif state is State.BEGUN:
            begun_with = _begun_with(layout, started)
            if isinstance(layout, ExportLayout | DedupLayout) and begun_with != fingerprint:
                _begin_anew(layout, started)
            else:
                _check_same(layout, begun_with, "begun")
                _LOG.info(_GOES_ON, layout.run_id)
            progress.clear(layout.staging)
    except (UsageError, RunHeldError):
        raise
    except Exception as error:  # Each file system has exceptions of its own.
        raise UsageError(
            f"The output {layout.directory} cannot be written to: {explain(error)}."
        ) from error
    return Attempt(layout, state)


def _write_launch_file(layout: RunLayout, started: str) -> bool:
    """Writes what tells a directory in staging to be an attempt of ours, if nothing is there."""
    path = FileSystems.join(layout.staging, LAUNCH_FILE)
    details = {"fingerprint": layout.fingerprint, "started": started, "host": platform.node()}
    if "://" not in layout.staging:
        make_directories(layout.staging)
    return create_once(path, json.dumps(details).encode(), f"{path}.{uuid.uuid4().hex}")


def _begun_with(layout: RunLayout, started: str) -> object:
    """Returns the fingerprint of the attempt that has begun a run.

    Where a crash has spoiled the file that tells it, this attempt takes its place: pieces are kept
    apart by their fingerprints, so that none is taken for another run's.
    """
    path = FileSystems.join(layout.staging, LAUNCH_FILE)
    with open_plain(path) as file:
        data = file.read()
    try:
        return json.loads(data)["fingerprint"]
    except (ValueError, KeyError, TypeError, RecursionError):
        if not is_held(layout.staging):  # Its holder is told apart when the run is claimed.
            _LOG.warning("%s is damaged, as by a crash: it is written anew.", path)
            remove_file(path)
            _write_launch_file(layout, started)
    return layout.fingerprint


def clear_committed(layout: RunLayout) -> None:
    """Removes what a job has left that was killed when it had committed, unless it goes on."""
    with contextlib.suppress(OSError):
        launched = FileSystems.exists(FileSystems.join(layout.staging, LAUNCH_FILE))
        if launched and not is_held(layout.staging):
            remove_tree(layout.staging)


def _begin_anew(layout: RunLayout, started: str) -> None:
    """Takes the place of an attempt at other rows, which nobody works on any more.

    The dataset has gone on since it died, so that nobody will take it up; nothing was committed.

    Raises:
      RunHeldError: somebody works on it.
    """
    claim = Claim(layout.staging)
    try:
        claim.take()
    except RunHeldError as error:
        raise RunHeldError(
            f"{layout.directory} is held, for other rows or with other options: {error}."
        ) from error
    try:
        remove_file(FileSystems.join(layout.staging, LAUNCH_FILE))
        _write_launch_file(layout, started)
    finally:
        claim.give_up()
    _LOG.info("Begins %s anew: the attempt that died was at other rows.", layout.run_id)


def _check_same(layout: RunLayout, found: object, how: str) -> None:
    if found == layout.fingerprint:
        return
    if isinstance(layout, PackLayout):
        raise UsageError(
            f"The packing in {layout.directory} was {how} with another input or other options; "
            "name another directory or remove it."
        )
    if isinstance(layout, ExportLayout):
        raise UsageError(
            f"The export in {layout.directory} was {how} from other runs or with other options; "
            "pass --since=last for what has changed since, or name another directory."
        )
    if isinstance(layout, DedupLayout):
        raise UsageError(
            f"The duplicates in {layout.directory} were {how} from other runs or with other "
            "options; name another directory or remove it."
        )
    raise UsageError(
        f"The run in {layout.directory} was {how} with another input, model, input range or "
        "preprocessing; choose another --run_id or remove it."
    )
