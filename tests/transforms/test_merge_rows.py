"""What is chosen of several runs, for any history of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms import merge_rows
from image_features.transforms.shards.known_index import TOMBSTONE, split_table

# What runs say of some keys, the earliest first: a row (True) or that it is gone.
_RUNS = st.lists(st.dictionaries(st.integers(0, 5), st.booleans()), min_size=1, max_size=6)


def key_of(name: int) -> bytes:
    # A key that ends with zeros is shorter as numpy tells it.
    return hashlib.md5(bytes([name])).digest()[:15] + bytes([name % 2])


class Choice:
    """What is chosen of runs: rows as (key, run), keys that are gone, and the counts."""

    def __init__(self, runs: Sequence[dict[int, bool]], new: set[int] | None) -> None:
        last = len(runs) - 1
        entries = [
            (key_of(name), run, row, is_there)
            for run, said in enumerate(runs)
            for row, (name, is_there) in enumerate(said.items())
        ]
        table = pa.table(
            {
                "key": pa.array([key for key, *_ in entries], pa.binary(16)),
                "validator": pa.nulls(len(entries), pa.binary()),
                "age": pa.array([last - run for _, run, *_ in entries], pa.int32()),
                "file": pa.array(
                    [run if is_there else TOMBSTONE for _, run, _, is_there in entries], pa.int32()
                ),
                "row": pa.array([row for *_, row, _ in entries], pa.uint32()),
            }
        )
        packs = [part for _, part in split_table(table, 1)] if entries else []
        ages = None if new is None else frozenset(last - run for run in new)
        choose = merge_rows._ChooseDoFn(1, ages)
        keys = {(run, row): key for key, run, row, _ in entries}
        self.rows: dict[bytes, int] = {}
        self.gone: set[bytes] = set()
        self.counts: dict[str, int] = {}
        for output in choose.process((0, {"known": packs, "errors": []})):
            self._take(output, keys)

    def _take(self, output: Any, keys: dict[tuple[int, int], bytes]) -> None:
        if not isinstance(output, TaggedOutput):
            run = int(output[0])
            for row in np.frombuffer(output[1], "<u4").tolist():
                assert keys[run, row] not in self.rows
                self.rows[keys[run, row]] = run
        elif output.tag == "removed":
            assert output.value.payload.decode() == output.value.key
            self.gone.add(bytes.fromhex(output.value.key))
        else:
            self.counts[output.tag] = output.value


@settings(max_examples=150, deadline=None)
@given(runs=_RUNS, data=st.data())
def test_the_changes_since_a_part_make_the_whole_of_it(runs, data):
    # Runs may come in another order than that of their age.
    new = data.draw(st.sets(st.integers(0, len(runs) - 1)))
    first = Choice([{} if run in new else said for run, said in enumerate(runs)], None)
    changes, whole = Choice(runs, new), Choice(runs, None)
    assert {**first.rows, **changes.rows}.keys() - changes.gone == whole.rows.keys()
    assert {
        key: run for key, run in {**first.rows, **changes.rows}.items() if key not in changes.gone
    } == whole.rows
    # Exactly those are removed that were there and are not any more, and only new rows are written.
    assert changes.gone == first.rows.keys() - whole.rows.keys()
    assert set(changes.rows.values()) <= new and not first.gone and not whole.gone
    counts = changes.counts
    assert counts["chosen"] == len(changes.rows)
    assert counts["chosen"] + counts["replaced"] == sum(sum(said.values()) for said in runs)
    assert counts["current"] == len(whole.rows) == whole.counts["added"]
    assert len(first.rows) + counts["added"] - len(changes.gone) == counts["current"]


@settings(max_examples=100, deadline=None)
@given(runs=_RUNS, data=st.data())
def test_merging_what_was_exported_changes_nothing(runs, data):
    """The exported runs are merged into one, which is as old as the latest of them."""
    split = data.draw(st.integers(1, len(runs)))
    first = Choice(runs[:split], None)
    merged = {name: True for name in range(6) if key_of(name) in first.rows}
    new = set(range(1, 1 + len(runs) - split))
    changes, whole = Choice([merged, *runs[split:]], new), Choice(runs, None)
    shifted = {key: run - 1 + split for key, run in changes.rows.items()}
    assert {
        key: run for key, run in {**first.rows, **shifted}.items() if key not in changes.gone
    } == whole.rows
    assert changes.gone == first.rows.keys() - whole.rows.keys()
