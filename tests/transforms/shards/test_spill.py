import os

import pytest

from image_features.transforms.shards.spill import Spill


@pytest.mark.parametrize("name", ["", "known", "ü#1+2\udc80"])
def test_parts_come_back_from_wherever_they_wait(tmp_path, name):
    spill = Spill(str(tmp_path / name) if name else "")
    parts = {0: b"", 3: b"three", 7: b"7" * 1000}
    waiting = dict(spill.put(iter(parts.items())))
    waiting_more = dict(spill.put({3: b"more"}.items()))
    assert dict(zip(parts, spill.get(waiting.values()), strict=True)) == parts
    assert list(spill.get([waiting[3], waiting_more[3]])) == [b"three", b"more"]
    assert list(spill.put(())) == []
    spill.clear()
    if name:
        assert os.listdir(tmp_path) == []
        with pytest.raises(OSError):
            list(spill.get(waiting.values()))
    spill.clear()
