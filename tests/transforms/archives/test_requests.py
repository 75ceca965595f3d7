"""How many requests an archive costs that lies behind a network."""

import io
import os
import tarfile
import zipfile

import pytest

from image_features.transforms.archives.framing import frame
from image_features.transforms.archives.member import Wanted
from image_features.transforms.archives.options import FOUND
from image_features.transforms.archives.store import ArchiveStore
from image_features.transforms.manifests.packed import read_packed
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import archive_format, split_member
from image_features.transforms.stores.ranged import open_ranged
from tests.range_server import RangeServer
from tests.transforms.archives.examples import example, of_bytes

POLICY = HttpPolicy(allow_private_hosts=True)
IMAGES = {f"{i:04d}.jpg": b"\xff\xd8\xff" + os.urandom(30_000) for i in range(200)}


def packed(name):
    file = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(file, "w") as archive:
            for member, data in IMAGES.items():
                archive.writestr(member, data)
        return file.getvalue()
    if name.endswith(".tfrecord"):
        return b"".join(frame(example(of_bytes("image", data))) for data in IMAGES.values())
    with tarfile.open(fileobj=file, mode="w:gz" if name.endswith(".gz") else "w") as archive:
        for member, data in IMAGES.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("ranges", ["known", "unknown", "without Content-Range"])
@pytest.mark.parametrize(
    ("name", "listing", "span"),
    [("a.tar", 1, 1), ("a.tar.gz", 1, 1), ("a.zip", 2, 2), ("a.tfrecord", 1, 2)],
)
def test_an_archive_is_listed_and_read_in_few_requests(name, listing, span, ranges, monkeypatch):
    monkeypatch.setattr("image_features.transforms.archives.spans.SPAN_BYTES", 1_000_000)
    # It is asked as a whole in the end, of which nothing is read twice.
    more = {"known": 0, "unknown": 1, "without Content-Range": 2}[ranges]
    with RangeServer(packed(name)) as server:
        server.ranges = ranges
        archive = server.url(name)
        with open_ranged(archive, http=POLICY) as file:
            rows = list(read_packed(file, archive_format(archive), FOUND))
        assert len(rows) == len(IMAGES) and len(server.asked) <= listing + more
        spans = {row.place.span for row in rows}
        # What is read from its beginning each time is read once.
        assert (len(spans) > 1) == (ranges == "known" and name != "a.tar.gz")
        server.asked.clear()
        wanted = [Wanted(split_member(row.uri)[1], row.place) for row in rows[100:150]]
        store = ArchiveStore(POLICY, max_bytes=10**6, options=FOUND)
        for number, content in store.read(archive, wanted):
            assert content.data == list(IMAGES.values())[100 + number]
            assert content.version == rows[100 + number].version
        assert len(server.asked) <= span + more
