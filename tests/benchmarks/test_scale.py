"""The verdict on runs of more and more rows."""

from __future__ import annotations

from benchmarks.scale import compared


def test_what_grows_is_told_from_what_is_flat() -> None:
    runs = [
        {"images": 10**6, "read_mib": 0, "group_mib": 500, "extract_mib": 500, "merge_mib": 500}
        | {"open_files": 20, "cpu_us": 200.0},
        {"images": 10**7, "read_mib": 9, "group_mib": 600, "extract_mib": 1300, "merge_mib": 1400}
        | {"open_files": 30, "cpu_us": 180.0},
    ]
    verdicts = {line[""]: line["verdict"] for line in compared(runs)}
    assert verdicts == {
        "group_mib": "flat",
        "extract_mib": "references",  # It is 93 bytes a row.
        "merge_mib": "grows",
        "open_files": "grows",
        "cpu_us": "flat",
    }
    assert not list(compared(runs[:1]))
