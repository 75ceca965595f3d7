"""The set-up of a process before any work: memory, garbage collection, logs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from image_features.errors import ImageFeaturesError
from image_features.pipeline.terminal import shown
from image_features.transforms.stores.uris import redact_text

_M_ARENA_MAX = -8  # The value is in glibc's malloc.h.
PACKAGE = "image_features"
_FORESEEN = re.compile(r"image_features\.errors\.\w+Error: |OSError: \[Errno ")


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
    logging.basicConfig(level=logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_JsonFormatter() if style == "json" else _TextFormatter())
        handler.addFilter(_is_news)
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger(PACKAGE).setLevel(logging.INFO)


def _event(message: str) -> dict[str, Any] | None:
    """Reads what `log_event` has written; returns None for an ordinary message."""
    if message.startswith('{"event": '):
        with contextlib.suppress(ValueError):
            return dict(json.loads(message))
    return None


def _is_news(record: logging.LogRecord) -> bool:
    """Drops Beam's traceback of an error that the command tells in a sentence when it ends."""
    if not record.name.startswith("apache_beam."):
        return True
    error = record.exc_info[1] if record.exc_info else None
    # What a worker in another process has logged comes as text.
    text = record.getMessage()
    told = isinstance(error, OSError | ImageFeaturesError)
    return not (told or (record.exc_info is None and _FORESEEN.search(text)))


class _TextFormatter(logging.Formatter):
    """Lines that nobody else's text can add to: whatever a message holds, it stays one line."""

    def __init__(self) -> None:
        super().__init__("%(levelname).1s %(asctime)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        event = _event(record.message)
        record.message = shown(_in_words(event) if event else record.message.strip())
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        # A traceback has lines of its own, which the indentation tells from log lines.
        lines = super().formatException(ei).splitlines()
        return "\n".join(f"    {shown(line)}" for line in lines)


def _in_words(event: Mapping[str, Any]) -> str:
    match event:
        case {"event": "shard", "name": name, "rows": rows, "bytes": size}:
            return f"Wrote {name}: {rows} rows, {size / 1e6:.2f} MB."
        case {"event": "taken_over", "shard": shard, "rows": rows, "left": left}:
            return (
                f"Shard {shard}: an earlier attempt left {rows} rows that are as good as new; "
                f"{left} are to do."
            )
    return ", ".join(f"{name} {value}" for name, value in event.items())


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "severity": record.levelname,  # Cloud Logging looks for this name.
            "logger": record.name,
        }
        message = record.getMessage()
        line.update(_event(message) or {"message": redact_text(message)})
        if record.exc_info:
            line["exception"] = redact_text(self.formatException(record.exc_info))
        return json.dumps(line)
