import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from image_features.transforms.shards.known_index import latest_entries


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=30))
def test_of_several_entries_the_latest_runs_holds(entries):
    entries = list(dict.fromkeys(entries))  # A run says one thing of a key.
    keys = np.array([bytes([key]).rjust(16, b"k") for key, _ in entries], "S16")
    ages = np.array([age for _, age in entries], np.int32)
    expected = {}
    for key, age in entries:
        expected[key] = min(age, expected.get(key, age))
    found = latest_entries(keys, ages)
    assert [entries[place] for place in found] == sorted(expected.items())
    # Without ages, those of later runs come first.
    order = np.argsort(ages, kind="stable")
    assert order[latest_entries(keys[order])].tolist() == found.tolist()
