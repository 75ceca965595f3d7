from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.truth import Pairs, Rows, near_pairs, representatives, score


def _rows(angles: list[float], pixels: list[int], files: list[int] | None = None) -> Rows:
    """Makes rows in a plane, so that cosines are those of differences of angles in degrees."""
    turned = np.radians(angles)
    vectors = 3 * np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
    numbers = range(len(angles))
    keys = np.array([f"{number:032x}" for number in numbers])
    return Rows(keys, vectors, np.array(files or list(numbers)), np.array(pixels))


def _table(rows: Rows, groups: list[list[int]], similarities: list[list[float]]) -> pa.Table:
    """Makes a table of groups, of each of which the first is kept."""
    return pa.table(
        {
            "group": [number for number, group in enumerate(groups) for _ in group],
            "key": [rows.keys[row] for group in groups for row in group],
            "similarity": [one for group in similarities for one in group],
            "keep": [place == 0 for group in groups for place in range(len(group))],
        }
    )


def test_pairs_are_those_of_a_loop() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((5000, 4)).astype(np.float32)
    vectors[7] = 0
    number = np.arange(5000)
    rows = Rows(np.array([f"{n:032x}" for n in number]), vectors, number, number)
    pairs = near_pairs(rows, 0.99)
    units = vectors.astype(np.float64)
    units[number != 7] /= np.linalg.norm(units[number != 7], axis=1, keepdims=True)
    expected = [
        (row, int(other))
        for row in number
        for other in np.flatnonzero(units[row] @ units[row + 1 :].T >= 0.99) + row + 1
    ]
    assert len(expected) > 1000
    found = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    assert sorted(found) == expected
    assert (pairs.cosines >= 0.99).all()
    sample = np.array([3, 8, 24, 400, 4000])
    some = near_pairs(rows, 0.9, sample)
    of_all = near_pairs(rows, 0.9)
    touched = np.isin(of_all.first, sample) | np.isin(of_all.second, sample)
    ends = np.sort(np.stack([some.first, some.second]), axis=0).T.tolist()
    assert sorted(ends) == np.stack([of_all.first, of_all.second]).T[touched].tolist()
    assert len(ends) > 20
    assert len(pairs.above(0.995).first) == np.count_nonzero(pairs.cosines >= 0.995)


def test_the_largest_stands_for_its_duplicates_and_groups_do_not_chain() -> None:
    rows = _rows([0, 8, 16, 90, 95, 180], [1, 2, 2, 5, 5, 9])
    pairs = near_pairs(rows, np.cos(np.radians(10)))
    assert sorted(zip(pairs.first, pairs.second, strict=True)) == [(0, 1), (1, 2), (3, 4)]
    # Of two of one size the least key comes first.
    assert representatives(rows, pairs).tolist() == [1, 1, 1, 3, 3, 5]
    chained = _rows([0, 8, 16], [3, 2, 1])
    assert representatives(chained, near_pairs(chained, 0.985)).tolist() == [0, 0, 2]


def test_what_is_right_scores_one() -> None:
    rows = _rows([0, 8, 16, 90, 95, 180], [1, 2, 2, 5, 5, 9])
    threshold = float(np.cos(np.radians(10)))
    cosines = np.cos(np.radians([8, 8, 5]))
    table = _table(rows, [[1, 0, 2], [3, 4]], [[1, cosines[0], cosines[1]], [1, cosines[2]]])
    scores = score(table, rows, near_pairs(rows, threshold), threshold)
    assert scores["found"] == scores["pairs"] == scores["rows"] == 3
    for name in ("precision", "recall", "rows_recall", "same"):
        assert scores[name] == 1
    assert scores["error"] < 1e-6


def test_what_is_wrong_is_counted() -> None:
    rows = _rows([0, 8, 16, 90, 95, 180], [1, 2, 2, 5, 5, 9])
    threshold = float(np.cos(np.radians(10)))
    pairs = near_pairs(rows, threshold)
    # It misses 3 and 4, keeps another than the rule, and drops what is no duplicate.
    table = _table(rows, [[2, 1, 0], [5, 3]], [[1, 0.99, 0.99], [1, 0.99]])
    scores = score(table, rows, pairs, threshold)
    assert scores["found"] == 3
    assert scores["precision"] == pytest.approx(1 / 3)
    assert scores["recall"] == 1  # Of each pair one is dropped, if only as another's duplicate.
    assert scores["rows_recall"] == pytest.approx(1 / 3)
    assert scores["same"] == 0
    assert scores["error"] == pytest.approx(0.99)
    partly = score(table, rows, pairs, threshold, whole=False)
    assert partly == {name: scores[name] for name in partly} and "same" not in partly
    nothing = score(_table(rows, [], []), rows, pairs, threshold)
    assert nothing["found"] == nothing["recall"] == nothing["rows_recall"] == 0
    assert nothing["precision"] == 1


def test_the_same_file_is_a_duplicate_also_without_a_direction() -> None:
    rows = _rows([0, 0, 40], [1, 1, 1], files=[5, 5, 6])
    rows.vectors[:2] = 0
    assert rows.cosines(np.array([0, 0]), np.array([1, 2])).tolist() == [1, 0]
    same = Pairs(np.array([0]), np.array([1]), np.array([1.0]))
    table = _table(rows, [[0, 1]], [[1, 1]])
    assert score(table, rows, same, 0.9)["precision"] == 1


def test_an_unknown_key_is_an_error() -> None:
    rows = _rows([0, 1], [1, 1])
    with pytest.raises(ValueError, match="no row has"):
        rows.numbers(["f" * 32])
