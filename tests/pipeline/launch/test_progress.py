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


def test_steps_of_one_process_are_told_now_and_then(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    times = iter([0.0, 1.0, 10.5, 11.0, 30.0])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with progress.steps() as report:
        for done in range(1, 5):
            report("rows read", done, 9)
        report("rows written", 1, 9)
    assert caplog.messages == ["rows read: 3 of 9."]
