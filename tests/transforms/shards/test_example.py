import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.example import example_pb2

from image_features.transforms.shards.example import serialize_example

_VALUES = st.one_of(
    st.lists(st.binary(max_size=300)),
    st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.floats(width=32, allow_nan=False)).map(lambda v: np.array(v, np.float32)),
)


@given(st.dictionaries(st.text(max_size=20), _VALUES, max_size=5))
def test_protobuf_reads_back_what_was_written(features):
    example = example_pb2.Example.FromString(serialize_example(features))
    present = {name: value for name, value in features.items() if len(value)}
    assert set(example.features.feature) == set(present)
    for name, value in present.items():
        feature = example.features.feature[name]
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(np.array(feature.float_list.value, np.float32), value)
        elif isinstance(value[0], bytes):
            assert list(feature.bytes_list.value) == value
        else:
            assert list(feature.int64_list.value) == value


def test_the_order_of_insertion_does_not_show():
    one = serialize_example({"a": [1], "b": [b"x"]})
    assert one == serialize_example({"b": [b"x"], "a": [1]})
