"""The ceiling for what lies in .tar files: the tight loop, to which webdataset reads.

Its manifest names the archives, on disk or by http.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import webdataset

from benchmarks.contenders import tight_loop
from benchmarks.contenders.job import parse_job


def main() -> None:
    """Reads the images of the archives one after the other, as a stream allows."""
    job = parse_job(__doc__)
    tight_loop.run(job, _images(job.paths()), bytes)


def _images(archives: Sequence[str]) -> Iterator[bytes]:
    # It takes an archive as the share of one worker, and would complain of an idle one.
    for sample in webdataset.WebDataset(archives, shardshuffle=False, empty_check=False):
        yield sample["jpg"]


if __name__ == "__main__":
    main()
