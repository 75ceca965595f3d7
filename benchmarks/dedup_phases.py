"""One search for duplicates as `dedup` does it, with the time and the memory of each part.

python -m benchmarks.dedup_phases DATASET OUT [--threshold=0.98]

The last line that it prints is the parts as JSON: seconds and the peak of resident memory in MiB.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time

_STATUS = pathlib.Path("/proc/self/status")
_CLEAR = pathlib.Path("/proc/self/clear_refs")


class Clock:
    """The parts of the work, told by what is reported while it is done."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}
        self._part = "start"
        self._since = time.perf_counter()

    def report(self, part: str, done: int = 0, total: int = 0) -> None:
        """Takes the report that some of a part is done."""
        if part != self._part:
            self.end()
            self._part = part

    def end(self) -> None:
        """Ends the part that is being done."""
        now = time.perf_counter()
        part = self.parts.setdefault(self._part, {"seconds": 0.0, "peak_mib": 0.0})
        part["seconds"] = round(part["seconds"] + now - self._since, 2)
        part["peak_mib"] = max(part["peak_mib"], _peak_mib())
        _CLEAR.write_text("5")  # From here on the kernel looks for a new peak.
        self._since = now


def _peak_mib() -> float:
    lines = _STATUS.read_text().splitlines()
    return round(int(next(x for x in lines if x.startswith("VmHWM:")).split()[1]) / 1024, 1)


def main() -> None:
    """Finds the duplicates and writes them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset")
    parser.add_argument("output")
    parser.add_argument("--threshold", default="0.98")
    options = parser.parse_args()
    from image_features.pipeline.cli import main as cli
    from image_features.pipeline.dedup import job

    clock = Clock()

    class _Steps:
        def __enter__(self) -> object:
            return clock.report

        def __exit__(self, *_: object) -> None:
            clock.end()

    job.steps = _Steps  # type: ignore[assignment, misc]
    command = ["dedup", options.dataset, options.output, f"--threshold={options.threshold}"]
    status = cli.main([*command, "--samples=0"])
    if status:
        raise SystemExit(status)
    print(json.dumps(clock.parts))


if __name__ == "__main__":
    main()
