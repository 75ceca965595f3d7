"""Rows of archives that are made arrays of, many at once, give what they give one by one."""

import contextlib
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.archives import tar_headers
from image_features.transforms.manifests import plain, samples
from image_features.transforms.manifests.columns import ColumnError, fit, parse_column_types
from image_features.transforms.manifests.fitting import fit_values
from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.manifests.gathered import gathered
from image_features.transforms.manifests.plain import Plainly, PlainRows
from image_features.transforms.manifests.references import ref_of
from image_features.transforms.manifests.rows import UNREADABLE, ManifestRow
from image_features.transforms.manifests.sources import Source
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.read_manifest import read_blocks, read_source
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.table_packer import TablePacker
from image_features.transforms.stores.members import archive_format
from image_features.transforms.values import ImageRef, Place, Reason
from tests.transforms.archives import zips
from tests.transforms.archives.tars import listed, pack

OFTEN = settings(max_examples=200, deadline=None)
SCHEMA = parse_column_types("n:int64?,x:float32?,t:string?,b:bytes?,l:float32[]?,s:string[]?")
ARCHIVES = ["/a.tar", "https://u@h.example/a.tar?x=1&x-goog-signature=2", "gs://b/a.tar", "/a.dat"]
NAMES = ["a/é.jpg", "row/3", "a@b#c?d.jpg", "a\0.jpg", "\udcff.jpg", "b.tar!/x.jpg", "w" * 8192]
PIECES = ["a", ".jpg", ".TAR", ".tar", ".zip", ".gz", ".json", ".Txt", ".records", "http://", "/"]
PIECES += ["-00000-of-00002", "?", ".", "\n", "\u017f", "\u0130"]
scalar = st.one_of(
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.booleans(),
    st.sampled_from(["", "7", "1.5", "true", "é", "\udc80", b"", b"\xc3\xa9", b"\xed\xa0\x80"]),
    st.binary(max_size=5),
)
values = st.one_of(
    st.none(), scalar, st.lists(scalar, max_size=3), st.floats(width=32), st.just(UNREADABLE)
)
sound = st.builds(
    ManifestRow,
    number=st.integers(1, 2**40),
    uri=st.tuples(st.just("/a.tar"), st.text("ab/", min_size=1, max_size=5)).map("!/".join),
    values=st.fixed_dictionaries(
        {"n": st.integers(-9, 9), "t": st.text("aé", max_size=3)},
        optional={"x": st.floats(-1, 1), "l": st.lists(st.floats(-1, 1), max_size=2)},
    ),
    version=st.sampled_from(["", "member:1:2"]),
    place=st.builds(Place, st.integers(0, 3), st.integers(0, 2**60), st.integers(0, 2**60)),
)
odd = st.builds(
    ManifestRow,
    number=st.integers(0, 9),
    uri=st.tuples(st.sampled_from(ARCHIVES), st.sampled_from(NAMES)).map("!/".join),
    values=st.dictionaries(st.sampled_from([*SCHEMA, "other"]), values, max_size=3),
    problem=st.sampled_from(["", "", "a problem"]),
    reason=st.sampled_from([Reason.BAD_MANIFEST_ROW, Reason.CORRUPT_ARCHIVE]),
    place=st.one_of(st.none(), st.just(Place(0, 1, 2))),
)
batches = st.one_of(st.lists(sound, max_size=8), st.lists(st.one_of(sound, sound, odd), max_size=8))


def seen(rows, columns, version_column=None, location="/a.tar"):
    """Returns what rows say, in their order."""
    found = []
    for row in rows:
        if isinstance(row, PlainRows):
            table = RefTable.of_rows(row, location, columns)
            assert table.table.validate(full=True) is None
            found += map(repr, table.refs())
            continue
        if isinstance(row, ManifestRow):
            row = ref_of(row, location, {c.name: c for c in columns}, version_column)
        if isinstance(row, ImageRef):
            (row,) = RefTable.of([row], columns).refs()
        found.append(repr(row))
    return found


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(f"{gathered.__module__}._BATCH_ROWS", 4)
    monkeypatch.setattr(f"{gathered.__module__}._BATCH_BYTES", 60)
    monkeypatch.setattr(plain, "_FEW", 1)


@given(batches, st.sampled_from([None, "t", "n", "absent"]), st.booleans())
@OFTEN
def test_many_rows_give_what_each_gives(rows, version_column, fails):
    def read():
        yield from rows
        if fails:
            raise RuntimeError("it ends here")

    columns = tuple(SCHEMA.values())
    found = []
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        for row in gathered(read(), Plainly("/a.tar", SCHEMA, version_column)):
            found.append(row)
    assert seen(found, columns, version_column) == seen(rows, columns, version_column)


@given(
    st.sampled_from(list(SCHEMA)),
    st.one_of(
        st.lists(values, min_size=1, max_size=3),
        st.lists(st.one_of(st.none(), st.binary(max_size=4)), max_size=3),
        st.lists(st.lists(st.floats(width=32), max_size=2), max_size=3),
    ),
)
@OFTEN
def test_values_of_a_column_fit_as_each_does(name, found):
    column = SCHEMA[name]
    array = fit_values(found, column)
    try:
        expected = [fit(value, column) for value in found]
    except ColumnError:
        assert array is None
        return
    # What Arrow cannot hold is told row by row.
    if array is not None:
        assert repr(array.to_pylist()) == repr(expected)


def test_large_columns_are_held_in_small_batches():
    rows = [
        ManifestRow(n, f"/a.tar!/{n}", {"b": b"x" * 50}, place=Place(0, n, 1)) for n in range(9)
    ]
    batches = list(gathered(iter(rows), Plainly("/a.tar", SCHEMA)))
    assert list(map(len, batches)) == [2, 2, 2, 2, 1]


def test_rows_that_are_packed_stay_in_their_order():
    columns = tuple(SCHEMA.values())
    rows = [ManifestRow(n, f"/a.tar!/{n}", place=Place(0, n, 1)) for n in range(1, 6)]
    packer = TablePacker(columns)
    first = ref_of(rows[0], "/a.tar", SCHEMA, None)
    (batch,) = gathered(rows[1:], Plainly("/a.tar", SCHEMA))
    tables = [*packer.add(first), *packer.add_rows(batch, "/a.tar"), *packer.rest()]
    assert [ref.row for ref in RefTable.joined(tables).refs()] == [1, 2, 3, 4, 5]


def _agree(path, format, *, listed=False, columns=()):
    source = Source(str(path), format, listed=listed, named=listed, columns=columns)
    schema = parse_column_types("n:int64?,txt:string?,set:string?")
    spec = ManifestSpec((source,), tuple(schema.values()))
    blocks = list(read_blocks(source, spec))
    expected = seen(read_source(source, spec), spec.columns, location=str(path))
    assert seen(blocks, spec.columns, location=str(path)) == expected
    return blocks, expected


def _members(number):
    for name in [f"{n:02}" for n in range(number)]:
        yield f"{name}.jpg", name.encode()
        yield f"{name}.json", b"{" if name == "09" else b'{"n": %d}' % int(name)
        yield f"{name}.txt", b"\xff" if name == "17" else b"text"


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("damage", [0, 100, 3000, 30_000])
def test_archives_that_are_damaged_keep_their_rows_in_order(tmp_path, damage, listed):
    path = pack(tmp_path / "a.tar", list(_members(24)))
    if damage:
        data = path.read_bytes()
        path.write_bytes(data[:damage])
    blocks, rows = _agree(
        path, ManifestFormat.TAR, listed=listed, columns=(("set", "one"),) * listed
    )
    assert damage or sum(isinstance(block, PlainRows) for block in blocks) == 4
    assert ("corrupt_archive" in rows[-1]) == bool(damage)


def test_rows_of_zip_files(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zips.make(_members(12)))
    blocks, rows = _agree(path, ManifestFormat.ZIP)
    assert len(rows) == 12
    assert any(isinstance(block, PlainRows) for block in blocks)


@given(
    st.lists(st.tuples(st.integers(0, 10_239), st.integers(0, 255)), max_size=2),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.lists(st.sampled_from(["a.jpg", "é.jpg", "d/" * 60 + "x.jpg", "b.txt"]), max_size=4),
)
@OFTEN
def test_usual_headers_are_read_as_all_are(tmp_path_factory, changes, format, names):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    pack(path, [(name, b"x" * number * 300) for number, name in enumerate(names)], format=format)
    data = bytearray(path.read_bytes())
    for at, byte in changes:
        data[at] = byte
        start = at // 512 * 512
        data[start + 148 : start + 156] = b" " * 8
        data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    path.write_bytes(data)

    def outcome():
        try:
            return list(map(repr, listed(path)))
        except ValueError as error:
            return str(error)

    found = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tar_headers, "_usual_member", lambda held, begin: None)
        assert outcome() == found


@given(st.lists(st.sampled_from(PIECES), max_size=5).map("".join))
@OFTEN
def test_names_tell_what_members_are(name):
    assert samples.is_sidecar(name) == (samples._divided(name)[1] in samples._SIDECARS)
    unsafe = name.startswith("/") or ".." in name.split("/")
    assert unsafe or (samples._unsafe(name) == "archives") == (archive_format(name) is not None)
