"""A worker process of the in-process runner, which is started as a script.

Nothing of Beam is imported before it is known how.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from image_features.pipeline.process import limit_garbage_collection, limit_heaps, quieten
from image_features.pipeline.runners.lean_beam import import_beam


def main() -> NoReturn:
    """Runs a worker until its runner has no more work for it."""
    quieten()
    limit_garbage_collection()
    limit_heaps()
    import_beam()
    from apache_beam.runners.worker import sdk_worker_main

    from image_features.pipeline.runners.local_runner import print_nothing

    print_nothing()
    sdk_worker_main.main(sys.argv)
    os._exit(0)


if __name__ == "__main__":
    main()
