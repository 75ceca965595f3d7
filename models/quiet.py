"""Importing TensorFlow without the remarks that native libraries make on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def muted_stderr() -> Iterator[None]:
    """Discards what any thread writes to the descriptor of stderr within the block.

    TensorFlow and LiteRT remark on the machine there before any setting of ours reaches them.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def import_tensorflow(*, threads_per_operation: int | None = None) -> None:
    """Imports TensorFlow without its remarks.

    Args:
      threads_per_operation: The number of threads that an operation uses; None is one a core. It
        is set at the first import only, as TensorFlow takes it before its first operation only.
    """
    first = "tensorflow" not in sys.modules
    if first:
        # Whoever has imported it before, or has set this, wants to hear what it says.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with muted_stderr():
        import tensorflow as tf
    if first and threads_per_operation is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads_per_operation)
