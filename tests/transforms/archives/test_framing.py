import io

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from image_features.transforms.archives.framing import CorruptRecordError, frame, read_records


@given(st.lists(st.binary(max_size=500)))
def test_reads_back_what_it_frames(records):
    file = io.BytesIO(b"".join(map(frame, records)))
    assert list(read_records(file)) == records


def test_tensorflow_reads_it(tmp_path):
    path = tmp_path / "x.tfrecord"
    path.write_bytes(frame(b"one") + frame(b"") + frame(b"three" * 1000))
    records = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
    assert records == [b"one", b"", b"three" * 1000]


@given(st.binary(min_size=1, max_size=50), st.data())
def test_any_flipped_bit_or_cut_is_noticed(data, draw):
    framed = bytearray(frame(data))
    if draw.draw(st.booleans()):
        framed[draw.draw(st.integers(0, len(framed) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    else:
        del framed[draw.draw(st.integers(1, len(framed) - 1)) :]
    with pytest.raises(CorruptRecordError):
        list(read_records(io.BytesIO(bytes(framed))))
