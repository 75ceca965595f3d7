"""The set-up of a process before any work: memory, garbage collection, logs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
from typing import Any

_M_ARENA_MAX = -8  # The value is in glibc's malloc.h.
PACKAGE = "image_features"


def limit_garbage_collection() -> None:
    """Makes Python look for garbage less often.

    Beam's imports make a hundred thousand objects that stay, and to look through them takes a
    tenth of a second each time.
    """
    gc.set_threshold(50_000, 20, 100)


def limit_heaps() -> None:
    """Keeps glibc from giving every thread a heap, each of which keeps some images' memory."""
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # Worker processes read it; this one has begun.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, int(os.environ["MALLOC_ARENA_MAX"]))


def quieten() -> None:
    """Silences libraries: TensorFlow's page about the processor, gRPC's lines about forks."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def log_to_stderr(style: str = "text") -> None:
    """Shows our own log lines and others' errors.

    Args:
      style: The format of a line: "text", or "json" for an object with time, level, logger,
        message and the fields of an event.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(asctime)s %(message)s")
    if style == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_JsonFormatter())
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger(PACKAGE).setLevel(logging.INFO)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "severity": record.levelname,  # Cloud Logging looks for this name.
            "logger": record.name,
        }
        message = record.getMessage()
        fields: Any = None
        if message.startswith("{"):
            with contextlib.suppress(ValueError):
                fields = json.loads(message)
        if isinstance(fields, dict):
            line.update(fields)
        else:
            line["message"] = message
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
