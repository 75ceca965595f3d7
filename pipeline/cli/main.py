"""The command line, `image-features COMMAND`."""

from __future__ import annotations

import argparse
import atexit
import importlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn, Protocol, cast

from image_features.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, ImageFeaturesError, UsageError
from image_features.pipeline.process import (
    limit_garbage_collection,
    limit_heaps,
    log_to_stderr,
    quieten,
)
from image_features.pipeline.runners.lean_beam import import_beam, needs_clouds
from image_features.pipeline.streams import complain, open_closed_streams, say, show
from image_features.pipeline.terminal import PROGRAM
from image_features.transforms.stores.gcs_credentials import check_credentials

# Each command is the module of this name beside this one.
_COMMANDS = (
    "extract",
    "pack",
    "inspect",
    "compact",
    "gc",
    "export",
    "dedup",
    "search",
    "report",
    "model",
    "samples",
)
_WITH_BEAM = frozenset({"extract", "pack", "compact", "gc", "export"})


class Command(Protocol):
    """The content of a command's module.

    The module imports Beam and TensorFlow only when the command runs, since they take seconds.

    Attributes:
      HELP: One line for the list of commands.
    """

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's options, and what its help says beside them."""

    def run(self, argv: list[str]) -> int:
        """Runs the command with the arguments that follow its name; returns an exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
      0 done, 1 failed, 2 bad arguments, 3 done with more failed rows than were allowed, 4 another
      launcher works on the run, 5 stopped by a guard. A signal ends the process with 128 + its
      number.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    quieten()
    log_to_stderr()
    try:
        return _run(arguments)
    except ImageFeaturesError as error:
        complain(error)
        for note in getattr(error, "__notes__", ()):
            complain(note)
        return error.exit_code
    except OSError as error:  # Something is wrong with this machine, and not with us.
        from image_features.pipeline.locations import explain

        complain(f"{explain(error)}.")
        return EXIT_FAILED
    except SystemExit as end:  # Some parsers end this way when they have printed their help.
        return end.code if isinstance(end.code, int) else EXIT_FAILED
    except KeyboardInterrupt:
        complain("interrupted before any work.")
        return 128 + signal.SIGINT


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        show(_help().rstrip("\n"), exact=True)
        return EXIT_OK if arguments else EXIT_USAGE
    if "--version" in arguments[:2]:
        show(f"{PROGRAM} {importlib.metadata.version('image-feature-extractor')}")
        return EXIT_OK
    if any("gs://" in argument.lower() for argument in arguments):
        check_credentials()
    command = _command(arguments[0])
    is_help = "-h" in arguments or "--help" in arguments
    if arguments[0] in _WITH_BEAM and not is_help and not needs_clouds(arguments):
        import_beam()
    return command.run(arguments[1:])


def _command(name: str) -> Command:
    if name not in _COMMANDS:
        raise UsageError(f"There is no command {name!r}; the commands are {', '.join(_COMMANDS)}.")
    return cast(Command, importlib.import_module(f"image_features.pipeline.cli.{name}"))


def _help() -> str:
    commands = "".join(f"  {name:<9} {_command(name).HELP}\n" for name in _COMMANDS)
    return (
        "usage: image-features COMMAND [options]\n\n"
        "Extracts feature vectors from images in batches, at any scale.\n\n"
        f"commands:\n{commands}\n"
        "`image-features COMMAND --help` tells more, `image-features --version` the version.\n"
    )


def console() -> NoReturn:
    """The console script: runs `main`, and ends without waiting for fetches of a failed run."""
    limit_garbage_collection()
    limit_heaps()
    open_closed_streams()
    code = main()
    atexit._run_exitfuncs()  # Stops the job servers that Beam has started.
    say()
    os._exit(code)
