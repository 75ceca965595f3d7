"""The contenders that the extractor is measured against, each a program of its own."""

import os

# This is set before any of them is imported: none shall report its use to its makers.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
