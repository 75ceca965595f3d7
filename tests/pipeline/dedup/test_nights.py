"""Duplicates night by night: what was kept stays kept, and new rows are compared with all."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.pipeline.dataset.export import runs_in
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dedup.duplicates import Duplicates, Earlier
from image_features.pipeline.dedup.find import find_duplicates
from tests.pipeline.dedup import test_find
from tests.pipeline.dedup.test_find import cosine, fresh, quiet, rows_of
from tests.vector_runs import Row, write_run

directory, small_blocks = test_find.directory, test_find.small_blocks


def found(*runs: Run, earlier: Earlier | None = None, threshold: float = 0.95) -> Duplicates:
    return find_duplicates(runs, threshold=threshold, earlier=earlier, report=quiet)


def of(duplicates: Duplicates, *runs: Run) -> Earlier:
    return Earlier(duplicates.table, runs_in(runs))


def leaders(duplicates: Duplicates) -> dict[str, str]:
    """Returns the name of the row that leads each, by its name."""
    leads: dict[int, str] = {}
    found = {}
    for row in duplicates.table.to_pylist():
        name = pathlib.PurePath(row["uri"]).stem
        if row["keep"]:
            leads[row["group"]] = name
        found[name] = leads[row["group"]]
    return found


def at(name: str, degrees: float, size: int = 10, file: str = "") -> Row:
    angle = np.radians(degrees)
    return Row(name, [np.cos(angle), np.sin(angle)], (size, size), file)


def two_nights(
    path: pathlib.Path, first: Sequence[Row], second: Sequence[Row], removed: Sequence[Row] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns who leads after a night, and after the next one."""
    one = write_run(path, first, run_id="one", width=2)
    before = found(one)
    two = write_run(path, second, run_id="two", removed=removed, width=2)
    return leaders(before), leaders(found(two, one, earlier=of(before, one)))


def test_what_was_kept_stays_kept_though_larger_ones_come(tmp_path: pathlib.Path) -> None:
    before, after = two_nights(
        tmp_path,
        [at("lead", 0), at("follow", 5, 9), at("alone", 60)],
        [at("larger", 2, 50), at("beside", 62, 50), at("new", 120, 50), at("newer", 121, 51)],
    )
    assert before == {"lead": "lead", "follow": "lead"}
    assert after == {
        **before,
        "larger": "lead",
        "alone": "alone",
        "beside": "alone",
        "newer": "newer",
        "new": "newer",
    }


def test_a_new_row_joins_the_nearest_of_the_groups(tmp_path: pathlib.Path) -> None:
    first = [at("a", 0, 20), at("a2", 1), at("b", 30, 10), at("b2", 31, 9)]
    _, after = two_nights(tmp_path, first, [at("new", 16, 99), at("other", 14, 99)])
    assert (after["new"], after["other"]) == ("b", "a")


def test_a_group_whose_representative_is_gone_is_made_anew(tmp_path: pathlib.Path) -> None:
    first = [at("lead", 15, 20), at("x", 0, 12), at("y", 30, 11), at("z", 32, 10), at("far", 90)]
    before, after = two_nights(tmp_path, first, [at("new", 75)], removed=first[:1])
    assert set(before) == {"lead", "x", "y", "z"}
    # What is left of the group is not all alike.
    assert after == {"y": "y", "z": "y", "far": "far", "new": "far"}


def test_a_row_that_has_changed_is_new(tmp_path: pathlib.Path) -> None:
    first = [at("lead", 0, 20), at("follow", 1), at("third", 2), at("alone", 90)]
    _, after = two_nights(tmp_path, first, [at("follow", 91, 99, file="another")])
    assert after == {"lead": "lead", "third": "lead", "alone": "alone", "follow": "alone"}
    # The one that led has become another image: the rest has a representative among itself.
    path = tmp_path / "other"
    _, after = two_nights(path, first, [at("lead", 91, 99, file="another")])
    second = min(first[1:3], key=lambda row: row.key).name
    assert after == {
        **dict.fromkeys(("follow", "third"), second),
        **dict.fromkeys(("alone", "lead"), "alone"),
    }


def test_copies_of_a_file_join_its_group_though_no_vector_is_read(tmp_path: pathlib.Path) -> None:
    first = [at("lead", 0, 20), at("follow", 10), at("alone", 90), Row("none", [0, 0])]
    second = [
        at("copy", 10, 10, file="follow"),
        at("twin", 90, 10, file="alone"),
        Row("nil", [0, 0], file="none"),
    ]
    _, after = two_nights(tmp_path, first, second)
    assert after == {
        **dict.fromkeys(("lead", "follow", "copy"), "lead"),
        **dict.fromkeys(("alone", "twin"), "alone"),
        **dict.fromkeys(("none", "nil"), "none"),
    }


def test_a_night_without_news_changes_nothing(tmp_path: pathlib.Path) -> None:
    rows = [at(str(i), angle) for i, angle in enumerate([0, 1, 2, 50, 51, 90, 0])]
    one = write_run(tmp_path, [*rows, at("copy", 0, file="0")], run_id="one")
    before = found(one)
    empty = write_run(tmp_path, [], run_id="two", width=2)
    after = found(empty, one, earlier=of(before, one))
    assert after.table.equals(before.table)
    assert (after.rows, after.same_files) == (before.rows, before.same_files) == (8, 1)


def test_merged_runs_are_old_if_all_their_parts_are(tmp_path: pathlib.Path) -> None:
    first, second = [at("small", 0), at("alone", 60)], [at("follow", 3, 9), at("new", 62, 50)]
    one, two = write_run(tmp_path, first, run_id="one"), write_run(tmp_path, second, run_id="two")
    before = found(one)
    replaces = runs_in([one, two])
    merged = write_run(tmp_path, [*first, *second], run_id="merged", replaces=replaces)
    # What was alone cannot be told from what is new, and the largest leads.
    assert leaders(found(merged, earlier=of(before, one))) == {
        **dict.fromkeys(("small", "follow"), "small"),
        **dict.fromkeys(("alone", "new"), "new"),
    }
    after = found(two, one, earlier=of(before, one))
    assert leaders(after)["new"] == "alone"
    large = write_run(tmp_path, [at("large", 1, 99)], run_id="large")
    later = [large, merged]
    for earlier in (of(after, one, two), of(after, merged)):
        assert leaders(found(*later, earlier=earlier)) == {**leaders(after), "large": "small"}
    # In a run that was merged with a new one, those that led are the first to lead again.
    mixed = write_run(
        tmp_path, [*first, *second, at("large", 1, 99)], run_id="mixed",
        replaces=runs_in([one, two, large]),
    )  # fmt: skip
    assert leaders(found(mixed, earlier=of(after, one, two))) == {
        **leaders(after),
        "large": "small",
    }


@given(
    first=rows_of(),
    second=rows_of("klmnopqrstuvwxyz"),
    cut=st.integers(0, 8),
    threshold=st.sampled_from([1.0, 0.95, 0.7]),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.usefixtures("small_blocks")
def test_nights_keep_what_they_promise(
    directory: pathlib.Path, first: list[Row], second: list[Row], cut: int, threshold: float
) -> None:
    path = fresh(directory)
    width = max([1, *(len(row.vector) for row in (*first, *second))])
    changed = {row.name for row in second}
    gone = [row for row in first[:cut] if row.name not in changed]
    old = {row.name: row for row in first[cut:] if row.name not in changed}
    rows = old | {row.name: row for row in second}
    one = write_run(path, first, run_id="one", width=width)
    before = found(one, threshold=threshold)
    two = write_run(path, second, run_id="two", removed=gone, width=width)
    after = found(two, one, threshold=threshold, earlier=of(before, one))
    led = {name: name for name in rows} | leaders(after)
    assert set(led) == set(rows) and after.rows == len(rows)
    led_before = {row.name: row.name for row in first} | leaders(before)
    least = threshold - 1e-9
    kept = [row for name, row in rows.items() if led[name] == name]
    for name, row in rows.items():
        files = [other for other in rows.values() if other.sha256 == row.sha256]
        assert len({led[other.name] for other in files}) == 1
        leader = rows[led[name]]
        # Vectors of one file may differ here, which they never do: one of them must be near.
        near = any(cosine(other, like) >= least for other in files for like in same(rows, leader))
        assert leader.sha256 == row.sha256 or near
        if name in old and led_before[name] == name:
            assert led[name] == name
        if name in old and led_before[name] in old:
            assert led[name] == led_before[name]
    for row in kept:
        assert not [other for other in kept if other != row and cosine(other, row) >= threshold]
    again = found(two, one, threshold=threshold, earlier=of(after, one, two))
    assert again.table.equals(after.table)
    shutil.rmtree(path)


def same(rows: dict[str, Row], row: Row) -> list[Row]:
    return [other for other in rows.values() if other.sha256 == row.sha256]
