"""The directory of a run: new, left by an attempt that died, or committed."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import os
import platform
import uuid

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from image_features.pipeline.config import default_run_id, is_run_id
from image_features.pipeline.dataset.layout import (
    LAUNCH_FILE,
    RunLayout,
    UnreadableRunError,
    check_path,
    read_run,
)
from image_features.pipeline.errors import UsageError
from image_features.pipeline.options import FeatureExtractorOptions
from image_features.transforms.runtime import progress
from image_features.transforms.stores.files import create_once, open_plain, reason_of
from image_features.transforms.stores.uris import redact_text
from image_features.transforms.values import Reason

_LOG = logging.getLogger(__name__)


class Standing(enum.Enum):
    """What there is of a run."""

    NEW = enum.auto()
    TAKEN_UP = enum.auto()
    COMMITTED = enum.auto()


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a run goes, and what is there.

    Attributes:
      layout: Its paths.
      run_id: Its name.
      standing: What is there; of something unfinished or committed it is not yet known whether it
        is this run.
    """

    layout: RunLayout
    run_id: str
    standing: Standing


def find(options: FeatureExtractorOptions) -> Place:
    """Looks at the run's place, before the work of preparing begins.

    Raises:
      UsageError: it cannot be a run's, or holds something else.
    """
    run_id = options.run_id or default_run_id()
    if not is_run_id(run_id):
        raise UsageError(f"--run_id={run_id} must be letters, digits, dots, dashes, underscores.")
    output = options.output
    if "://" not in output:
        output = os.path.abspath(os.path.expanduser(output))
    layout = RunLayout(FileSystems.join(output, run_id), options.compression)
    try:
        check_path(output)
        standing = _standing(layout)
        if "://" not in output:
            os.makedirs(output, exist_ok=True)
            if not os.access(output, os.W_OK):
                raise UsageError(f"--output={output} is not writable.")
    except (UsageError, UnreadableRunError) as error:
        raise UsageError(str(error)) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"--output={options.output} cannot be used: {why(error)}.") from error
    return Place(layout, run_id, standing)


def _standing(layout: RunLayout) -> Standing:
    directory = layout.directory
    found = FileSystems.match([directory.rstrip("/") + "/**"], [1])[0].metadata_list
    if not (found or ("://" not in directory and os.path.exists(directory))):
        return Standing.NEW
    if read_run(directory) is not None:
        return Standing.COMMITTED
    if FileSystems.exists(FileSystems.join(layout.staging, LAUNCH_FILE)):
        return Standing.TAKEN_UP
    if "://" not in directory and os.path.isdir(layout.staging):
        return Standing.NEW  # Of an attempt that died before it could write anything.
    raise UsageError(
        f"The output {directory} exists already and is no run; choose another --run_id or remove "
        "it."
    )


def enter(place: Place, fingerprint: str, started: str) -> Place:
    """Makes the run's place, last of all checks: it may be readable and not writable.

    Returns:
      The place with the fingerprint in its layout.

    Raises:
      UsageError: it cannot be written to, or holds a run of another fingerprint.
    """
    layout = dataclasses.replace(place.layout, fingerprint=fingerprint)
    launch = FileSystems.join(layout.staging, LAUNCH_FILE)
    try:
        if (standing := _standing(layout)) is not place.standing:
            # Another launcher has begun it or committed it meanwhile, or it was cleared away.
            place = dataclasses.replace(place, standing=standing)
        if place.standing is Standing.NEW:
            details = {"fingerprint": fingerprint, "started": started, "host": platform.node()}
            if "://" not in layout.staging:
                os.makedirs(layout.staging, exist_ok=True)
            data = json.dumps(details).encode()
            if not create_once(launch, data, f"{launch}.{uuid.uuid4().hex}"):
                # At this very moment.
                return enter(
                    dataclasses.replace(place, standing=Standing.TAKEN_UP), fingerprint, started
                )
        elif place.standing is Standing.COMMITTED:
            _same(layout, (read_run(layout.directory) or {}).get("fingerprint"), "committed")
        else:
            with open_plain(launch) as file:
                _same(layout, json.loads(file.read()).get("fingerprint"), "begun")
            progress.clear(layout.staging)
            _LOG.info("Takes up the run %s where an earlier attempt has left it.", place.run_id)
    except UsageError:
        raise
    except Exception as error:  # Each file system has exceptions of its own.
        raise UsageError(
            f"The output {layout.directory} cannot be written to: {why(error)}."
        ) from error
    return dataclasses.replace(place, layout=layout)


def _same(layout: RunLayout, found: object, how: str) -> None:
    if found != layout.fingerprint:
        raise UsageError(
            f"The run in {layout.directory} was {how} with another input, model or preprocessing; "
            "choose another --run_id or remove it."
        )


def why(error: Exception) -> str:
    """What is wrong with a location, as a user would say it, without a full stop."""
    shown = ""
    if isinstance(error, BeamIOError) and error.exception_details:
        shown = str(next(iter(error.exception_details)))
    reason = reason_of(error)
    if shown and reason is Reason.NOT_FOUND:
        return f"{shown} does not exist, or its bucket does not"
    if reason is Reason.ACCESS_DENIED:
        of = f" to {shown}" if shown else ""
        return f"access{of} is denied; check the credentials and what they may do"
    return redact_text(str(error)).strip().rstrip(".")
