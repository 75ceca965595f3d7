"""The textbook pipeline as its users end up with it: a Reshuffle, and as many threads as cores."""

from __future__ import annotations

from benchmarks.contenders.job import parse_job
from benchmarks.contenders.textbook_beam import run

if __name__ == "__main__":
    run(parse_job(__doc__), tuned=True)
