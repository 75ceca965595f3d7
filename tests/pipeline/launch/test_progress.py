from image_features.pipeline.launch.progress import describe
from image_features.transforms.runtime.progress import Snapshot


def test_a_log_line_tells_rows_rate_and_time_left():
    shown = describe(Snapshot(12, 2, 28), 7)
    assert shown == "14 of 28 images, 2 failed, 2/s, about 7 s left"
