"""The command that takes up a run, for a user to copy."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence

from image_features.pipeline.terminal import PROGRAM, printable
from image_features.transforms.stores.uris import REDACTED, redact_text, redact_uri

_SECRET = "--notify"


def command_again(command: str, argv: Sequence[str], run_id: str = "") -> str:
    """Spells a command as it was given, with the name of its run.

    Args:
      command: The command, such as "extract".
      argv: The arguments that followed its name.
      run_id: The name of the run, which the arguments need not hold; empty
        for a command whose arguments name all that there is.

    Returns:
      A line for a shell. Where an argument holds a secret, REDACTED stands in its place, and
      words after a `#`, which a shell passes over, say so.
    """
    given = [name for name in argv if name == "--run_id" or name.startswith("--run_id=")]
    shown = [*_without_secrets(argv), *([] if given or not run_id else [f"--run_id={run_id}"])]
    line = f"{_program()} {command} {shlex.join(shown)}"
    if shown[: len(argv)] != list(argv):
        line += f"  # with your own words for {REDACTED}"
    return printable(line)


def _without_secrets(argv: Sequence[str]) -> list[str]:
    shown = []
    for before, argument in zip(["", *argv], argv, strict=False):
        name, equals, value = argument.partition("=")
        if before == _SECRET:
            shown.append(REDACTED)
        elif name == _SECRET and equals:
            shown.append(f"{name}={REDACTED}")
        elif name.startswith("--") and equals:
            # A model's address may come after its name.
            shown.append(f"{name}={redact_text(redact_uri(value))}")
        else:
            shown.append(redact_text(redact_uri(argument)))
    return shown


def _program() -> str:
    """Returns how this process was started, as far as a shell can repeat it."""
    started = sys.argv[0]
    if os.path.basename(started) == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m image_features"
    if os.path.basename(started) != PROGRAM or shutil.which(PROGRAM) == started:
        return PROGRAM
    return shlex.quote(started)
