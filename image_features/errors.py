"""Complaints about arguments; apart from the options, which need all of Beam imported."""

from __future__ import annotations

import argparse
from typing import NoReturn


class UsageError(ValueError):
    """Something the user asked for cannot be done; one sentence, exit code 2."""


class OptionParser(argparse.ArgumentParser):
    """A parser whose complaints are UsageErrors, so that one place prints them."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.")
