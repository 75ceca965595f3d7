"""The duplicates of a dataset: which rows are in a group, and which of them leads it."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from image_features.errors import UsageError
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dedup import find, groups, screen, vectors
from image_features.pipeline.dedup.duplicates import Duplicates
from tests.vector_runs import Row, write_run

THRESHOLDS = (1.0, 0.95, 0.7, 0.01)


def quiet(step: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def found(*runs: Run, threshold: float = 0.95) -> Duplicates:
    return find.find_duplicates(runs, threshold=threshold, report=quiet)


def by_name(duplicates: Duplicates) -> list[tuple[int, str, float, bool]]:
    return [
        (
            row["group"],
            pathlib.PurePath(row["uri"]).stem,
            pytest.approx(row["similarity"], abs=1e-6),
            row["keep"],
        )
        for row in duplicates.table.to_pylist()
    ]


def cosine(one: Row, other: Row) -> float:
    a, b = (np.asarray(row.vector, np.float32).astype(np.float64) for row in (one, other))
    lengths = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / lengths) if lengths else -1.0


def by_rule(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row.size[0] * row.size[1], row.key))


def expected(rows: Sequence[Row], threshold: float) -> dict[str, tuple[str, float]]:
    """Groups rows one by one; returns the leader of each, and the cosine with it."""
    files: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.key):
        files.setdefault(row.sha256, []).append(row)
    free = by_rule([same[0] for same in files.values()])
    leads: dict[str, tuple[str, float]] = {}
    while free:
        leader, others = free[0], free[1:]
        near = [row for row in others if cosine(leader, row) >= threshold - 1e-12]
        for row in (leader, *near):
            like = 1.0 if row is leader else cosine(leader, row)
            leads |= {same.key: (leader.key, like) for same in files[row.sha256]}
        free = [row for row in others if row not in near]
    return leads


def check(duplicates: Duplicates, leads: dict[str, tuple[str, float]]) -> None:
    """Makes sure that a table has these groups, in the order that it promises."""
    rows = duplicates.table.to_pylist()
    sizes: dict[str, int] = {}
    for leader, _ in leads.values():
        sizes[leader] = sizes.get(leader, 0) + 1
    large = sorted((leader for leader in sizes if sizes[leader] > 1), key=lambda k: (-sizes[k], k))
    numbers = {leader: number for number, leader in enumerate(large)}
    assert {row["key"]: (row["group"], row["keep"]) for row in rows} == {
        key: (numbers[leader], key == leader)
        for key, (leader, _) in leads.items()
        if leader in numbers
    }
    for row in rows:
        assert row["similarity"] == pytest.approx(leads[row["key"]][1], abs=1e-6)
    assert rows == sorted(
        rows, key=lambda row: (row["group"], not row["keep"], -row["similarity"], row["key"])
    )


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a few rows need several blocks, batches and directions."""
    monkeypatch.setattr(groups, "_HEADS", 3)
    monkeypatch.setattr(groups, "_COLUMNS", 4)
    monkeypatch.setattr(vectors, "_BATCH_VALUES", 10)
    monkeypatch.setattr(screen, "_FEW_PRODUCTS", 0)
    monkeypatch.setattr(screen, "_WIDTHS", (2, 3))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    yield tmp_path_factory.mktemp("found")


def fresh(directory: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(dir=directory))


@st.composite
def rows_of(draw: st.DrawFn, names: str = "abcdefghijklmnop") -> list[Row]:
    """Draws rows that are often alike, some of the same file, some without a direction."""
    width = draw(st.shared(st.integers(1, 5), key="width"))
    values = st.integers(-1, 3).map(float)
    rows = []
    for name in draw(st.lists(st.sampled_from(names), unique=True)):
        if rows and draw(st.integers(0, 4)) == 0:
            of = draw(st.sampled_from(rows))
            rows.append(dataclasses.replace(of, name=name, file=of.file or of.name))
        else:
            vector = draw(st.lists(values, min_size=width, max_size=width))
            rows.append(Row(name, vector, (draw(st.integers(1, 3)), 2)))
    return rows


@given(rows=rows_of(), threshold=st.sampled_from(THRESHOLDS), shards=st.integers(1, 3))
@settings(max_examples=80, deadline=None)
@pytest.mark.usefixtures("small_blocks")
def test_groups_are_those_that_comparing_one_by_one_gives(
    directory: pathlib.Path, rows: list[Row], threshold: float, shards: int
) -> None:
    path = fresh(directory)
    run = write_run(path, rows, shards=shards)
    duplicates = found(run, threshold=threshold)
    check(duplicates, expected(rows, threshold))
    assert duplicates.rows == len(rows)
    assert duplicates.same_files == len(rows) - len({row.sha256 for row in rows})
    assert duplicates.zero_rows == sum(not any(row.vector) for row in rows)
    shutil.rmtree(path)


@given(rows=rows_of(), cut=st.integers(0, 16), changed=rows_of())
@settings(max_examples=30, deadline=None)
def test_the_same_rows_give_the_same_groups_in_whatever_runs_they_are(
    directory: pathlib.Path, rows: list[Row], cut: int, changed: list[Row]
) -> None:
    path = fresh(directory)
    names = {row.name for row in changed}
    seen = [*changed, *(row for row in rows[cut:] if row.name not in names)]
    gone = [row for row in rows[:cut] if row.name not in names]
    width = max([1, *(len(row.vector) for row in (*rows, *changed))])
    first = write_run(path / "two", rows, run_id="first", width=width)
    second = write_run(path / "two", changed, run_id="second", shards=3, removed=gone, width=width)
    alone = write_run(path, seen, shards=1)
    assert found(second, first).table.equals(found(alone).table)
    shutil.rmtree(path)


def test_a_chain_is_divided_and_the_largest_leads(tmp_path: pathlib.Path) -> None:
    angles = np.radians([0, 15, 30, 45, 60])
    sizes = [(9, 9), (9, 9), (10, 10), (20, 20), (9, 9)]
    rows = [
        Row(name, [np.cos(angle), np.sin(angle)], size)
        for name, angle, size in zip("abcde", angles, sizes, strict=True)
    ]
    duplicates = found(write_run(tmp_path, rows))
    near = np.cos(np.radians(15))
    second = sorted((rows[0], rows[1]), key=lambda row: row.key)[0].name
    assert by_name(duplicates)[0] == (0, "d", 1.0, True)
    assert sorted(by_name(duplicates)[1:3], key=lambda row: row[1]) == [
        (0, "c", near, False),
        (0, "e", near, False),
    ]
    assert by_name(duplicates)[3:] == [
        (1, second, 1.0, True),
        (1, "ab".replace(second, ""), near, False),
    ]
    assert (duplicates.groups, duplicates.dropped, duplicates.same_files) == (2, 3, 0)


def test_a_file_is_one_whatever_its_vectors_are(tmp_path: pathlib.Path) -> None:
    rows = [
        Row("a", [1, 0], (3, 3)),
        Row("b", [0, 1], (3, 3), file="a"),
        Row("y", [0, 0]),
        Row("z", [0, 0], file="y"),
        Row("zero", [0, 0]),
    ]
    duplicates = found(write_run(tmp_path, rows), threshold=1)
    assert {name for _, name, _, _ in by_name(duplicates)} == {"a", "b", "y", "z"}
    assert {row["similarity"] for row in duplicates.table.to_pylist()} == {1}
    assert (duplicates.groups, duplicates.same_files, duplicates.zero_rows) == (2, 2, 3)


@pytest.mark.parametrize("scale", [1, 2, 3, 1e-18, 1e30])
def test_equal_directions_are_at_the_threshold_1(tmp_path: pathlib.Path, scale: float) -> None:
    vector = np.random.default_rng(0).random(1280).astype(np.float32)
    rows = [Row("a", vector), Row("b", vector * np.float32(scale)), Row("c", vector + 1)]
    duplicates = found(write_run(tmp_path, rows), threshold=1)
    assert {name for _, name, _, _ in by_name(duplicates)} == {"a", "b"}


def test_one_picture_ten_thousand_times_is_one_group(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.random(32)
    rows = [Row(str(i), base + rng.normal(0, 0.01, 32)) for i in range(10_000)]
    duplicates = found(write_run(tmp_path, rows))
    assert (duplicates.groups, duplicates.dropped) == (1, 9_999)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("width", [8, 64])
def test_short_vectors_lose_no_pair(tmp_path: pathlib.Path, width: int) -> None:
    rng = np.random.default_rng(1)
    some = rng.random((40, width)) * (np.arange(width) < 12)
    near = some[rng.integers(0, 40, 60)] + rng.normal(0, 0.05, (60, width))
    rows = [Row(str(i), vector) for i, vector in enumerate([*some, *near])]
    check(found(write_run(tmp_path, rows)), expected(rows, 0.95))


def test_runs_without_indexes_tell_their_files_by_their_rows(tmp_path: pathlib.Path) -> None:
    rows = [Row("a", [1, 0]), Row("b", [0, 1], file="a"), Row("c", [1, 0]), Row("d", [1, 1])]
    indexed = found(write_run(tmp_path / "new", rows))
    assert found(write_run(tmp_path / "old", rows, indexed=False)).table.equals(indexed.table)
    assert len(indexed.table) == 3


@pytest.mark.parametrize("rows", [[], [Row("a", [1, 2])]])
def test_few_rows_have_no_duplicates(tmp_path: pathlib.Path, rows: list[Row]) -> None:
    duplicates = found(write_run(tmp_path, rows))
    assert (duplicates.groups, duplicates.dropped, duplicates.rows) == (0, 0, len(rows))
    assert len(duplicates.table) == 0
    assert str(duplicates.table.schema.field("uri").type) == "string"


@pytest.mark.parametrize("threshold", [0, -0.5, 1.0001, float("nan")])
def test_a_threshold_is_above_0_and_at_most_1(tmp_path: pathlib.Path, threshold: float) -> None:
    run = write_run(tmp_path, [Row("a", [1])])
    with pytest.raises(ValueError, match="not above 0 and at most 1"):
        found(run, threshold=threshold)


def test_a_disk_without_room_is_told_before_anything_is_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path, [Row("a", [1.0] * 1000)])
    usage: Any = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3999))
    with pytest.raises(UsageError, match="TMPDIR"):
        found(run)
