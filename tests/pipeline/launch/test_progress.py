import io
import logging
import sys

from image_features.pipeline.launch import progress
from image_features.pipeline.launch.progress import describe
from image_features.transforms.runtime.progress import Snapshot


def test_a_log_line_tells_rows_rate_and_time_left():
    shown = describe(Snapshot(12, 2, 28), 7)
    assert shown == "14 of 28 images, 2 failed, 2/s, about 7 s left"


def test_log_lines_are_not_written_into_the_bar(monkeypatch):
    plain, above = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(plain)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(sys, "stderr", above)  # As the bar does it.
    with progress._logs_above_the_bar():
        logging.error("within")
    logging.error("after")
    assert (above.getvalue(), plain.getvalue()) == ("within\n", "after\n")
