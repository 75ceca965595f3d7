"""What is launched, on which terms, and what comes of it."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, Protocol

import apache_beam as beam

from image_features.pipeline.config import Committed, JobConfig


@dataclasses.dataclass(frozen=True)
class Terms:
    """The terms on which a launcher runs a job.

    Attributes:
      wait: Whether to wait for the commit.
      notify: The address to post a failure to; None posts none.
      deadline: The time.monotonic() at which the run is given up; None never gives it up.
      owns_process: Whether a signal or the deadline may end this process, which a command owns.
        A caller of the library keeps its process; only the commit's own guard then heeds the
        deadline.
      again: The command that takes up the run, for the user to copy; a caller of the library has
        none.
    """

    wait: bool = True
    notify: str | None = None
    deadline: float | None = None
    owns_process: bool = True
    again: str = ""

    @property
    def advice(self) -> str:
        """The sentence that follows when a run has ended without a commit; it may be empty."""
        return f"To go on where this run ended: {self.again}" if self.again else ""


class Work(Protocol[Committed]):
    """A graph that ends with a commit: an `Extraction`, a `Compaction` or a `Packing`."""

    @property
    def run(self) -> JobConfig[Committed]:
        """The configuration."""

    def build(self, pipeline: beam.Pipeline) -> Any:
        """Adds the work to a pipeline; returns the PCollection of its one commit."""


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[Committed]):
    """The outcome of a job.

    Attributes:
      run: What was committed; None if nobody waited for the commit.
      result: The result that Beam returned; None if another launcher had done the work.
      seconds: The time that the job took.
    """

    run: Committed | None
    result: Any = None
    seconds: float = 0.0
