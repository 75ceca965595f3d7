import pytest
from apache_beam.io.filesystems import FileSystems

from image_features.transforms.stores.beam import BeamStore
from image_features.transforms.stores.retries import FetchError, RetryPolicy
from image_features.transforms.stores.store import Content
from image_features.transforms.values import Reason


def store(waits):
    return BeamStore(RetryPolicy(3, 0.01), 1000, waits.append)


def test_a_file_is_read_as_it_is_and_has_no_version(tmp_path):
    (tmp_path / "a.jpg.gz").write_bytes(b"bytes as they are")
    content = store([]).read(str(tmp_path / "a.jpg.gz"))
    assert content == Content(b"bytes as they are", "", 1)
    assert not store([]).is_unchanged(str(tmp_path / "a.jpg.gz"), content.version)


@pytest.mark.parametrize(
    ("name", "reason"), [("absent", Reason.NOT_FOUND), ("large", Reason.TOO_MANY_BYTES)]
)
def test_what_will_not_pass_is_tried_once(tmp_path, name, reason):
    (tmp_path / "large").write_bytes(b"x" * 1001)
    waits = []
    with pytest.raises(FetchError) as caught:
        store(waits).read(str(tmp_path / name))
    assert (caught.value.reason, caught.value.attempts, waits) == (reason, 1, [])


def test_what_may_pass_is_tried_again(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"image")
    failures, plain = [RuntimeError("busy"), RuntimeError("busy")], FileSystems.open

    def opens(*arguments, **options):
        if failures:
            raise failures.pop()
        return plain(*arguments, **options)

    monkeypatch.setattr(FileSystems, "open", opens)
    waits = []
    assert store(waits).read(str(tmp_path / "a.jpg")) == Content(b"image", "", 3)
    assert len(waits) == 2
