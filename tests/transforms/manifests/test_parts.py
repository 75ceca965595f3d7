"""Manifests read by columns and in parts give what reading them row by row gives."""

import csv
import gzip
import itertools
import json
import string

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from image_features.transforms.manifests import blocks, lines, plain_lines, ranges
from image_features.transforms.manifests.columns import Column, Kind, parse_column_types
from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.manifests.plain import PlainRows
from image_features.transforms.manifests.quotes import are_plain_quotes, goes_over_lines
from image_features.transforms.manifests.ranges import divide
from image_features.transforms.manifests.rows import ManifestError
from image_features.transforms.manifests.sources import Source
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.read_manifest import read_blocks, read_source
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.values import ImageRef
from tests.range_server import RangeServer

OFTEN = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
COLUMNS = "label:int64?,score:float32?,good:bool?,note:string?,raw:bytes?"
TEXTS = [
    *("a/b.jpg", "/abs/é.png", "https://h.example/a?x=1&x-goog-signature=2#f", "http://u@h/a"),
    *("gs://b/ö.jpg", "file:///tmp/a%20b.jpg", "file:/x", "s3://b/a", "./a.jpg", "../a//b", "."),
    *("a.tar", "sub/x.ZIP/", "x.tar!/m.jpg", "a.tar.gz?x", "http://h/a.z\u0131p?q", "x!/y"),
    *("#tag", "# no row", "", " ", " a.jpg ", "\ufeffa.jpg", "a\u00a0", "\u2028", "x\x0by", "\x1c"),
    *("7", "-7", "+7", " 7", "007", "0x1F", "1_0", "9" * 18, "9" * 19, "9223372036854775808", "٣"),
    *("1.5", "1e5", "1e400", "1e39", "3.4028236e38", "nan", "-inf", ".5", "5.", "1e-5", "16777217"),
    *("true", "TRUE", "tRuE", "0", "false", "yes", "null", "NA", "w" * 8193, "p.parquet"),
    *("K", "x.records", "x.target/y"),
]
ODD = [b"\0", b'"', b'""', b"\r", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n\n", b"\n#x\n"]
ODD += [b",", b"\t"]
field = st.one_of(
    st.sampled_from(TEXTS),
    st.text(st.characters(codec="utf-8", exclude_characters='\n\r,\t"'), max_size=6),
    st.text(string.ascii_lowercase + "/", min_size=1, max_size=8).map(lambda name: f"{name}.jpg"),
)
numbers = st.integers(-(10**19), 10**19).map(str)
GOOD = {
    "uri": st.sampled_from(["a.jpg", "/b/é.jpg", "http://h/c?d", "sub/x.target"]),
    "label": st.one_of(numbers, st.sampled_from(["007", "-0", "1", "12", ""])),
    "score": st.one_of(st.floats(-3e38, 3e38).map(repr), st.sampled_from(["1", "2.5E3", ""])),
    "good": st.sampled_from(["true", "FALSE", "0", "1", ""]),
    "note": st.sampled_from(["", "a b", " é", "null", "NaN", "#"]),
    "raw": st.sampled_from(["", "x", "é"]),
}
value = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-9, 9),
    st.floats(),
    field,
    st.text(max_size=4),
    st.lists(st.one_of(st.none(), st.integers(-3, 3), field), max_size=2),
    st.dictionaries(st.sampled_from(["base64", "k"]), field, max_size=2),
)
sound = st.fixed_dictionaries(
    {"label": st.one_of(st.none(), st.integers(-9, 9)), "note": st.text(max_size=4)},
    optional={"score": st.floats(width=32), "good": st.booleans(), "raw": field},
)


def seen(rows, columns):
    """Returns what rows say, in an order of which they know nothing."""
    found = []
    for row in rows:
        refs = [row]
        if isinstance(row, PlainRows):
            table = RefTable.of_rows(row, SOURCES[-1].location, columns)
            assert table.table.validate(full=True) is None
            refs = list(table.refs())
        elif isinstance(row, ImageRef):
            refs = list(RefTable.of([row], columns).refs())
        found += [repr(ref) for ref in refs]
    return sorted(found)


SOURCES = []


def agree(path, format, declared, *, quotes=None, version_column=None):
    """Checks that all ways to read a manifest give the same; returns the number of its parts."""
    columns = tuple(parse_column_types(declared).values())
    source = Source(str(path), format)
    SOURCES[:] = [source]
    spec = ManifestSpec((source,), columns, version_column=version_column, quotes=quotes)

    def outcome(read):
        try:
            return seen(read(), columns)
        except ValueError as error:
            return str(error)

    expected = outcome(lambda: read_source(source, spec))
    assert outcome(lambda: read_blocks(source, spec)) == expected
    parts = divide(source, spec)
    found = outcome(lambda: (row for part in parts for row in read_blocks(part, spec)))
    assert found == expected
    return len(parts)


@pytest.fixture(params=["small", "whole"])
def sizes(request, monkeypatch):
    if request.param == "small":
        monkeypatch.setattr(blocks, "BLOCK", 200)
        monkeypatch.setattr(plain_lines, "_SMALL", 16)
        monkeypatch.setattr(ranges, "LEAST_BYTES", 10)
        monkeypatch.setattr(ranges, "LEAST_PARQUET_BYTES", 10)
        monkeypatch.setattr(ranges, "PART_BYTES", 64)
        monkeypatch.setattr(ranges, "PART_ROWS", 8)


def spliced(data, cuts):
    for place, odd in cuts:
        at = int(place * len(data))
        data = data[:at] + odd + data[at:]
    return data


splices = st.lists(st.tuples(st.floats(0, 1), st.sampled_from(ODD)), max_size=2)
ends = st.sampled_from(["\n", "\n", "\r\n"])


@OFTEN
@given(texts=st.lists(field, max_size=40), end=ends, cuts=splices, last=st.booleans())
@example(texts=["a.jpg", "", "#x", ""], end="\n", cuts=[], last=True)
def test_text(tmp_path, sizes, texts, end, cuts, last):
    data = (end.join(texts) + end * last).encode()
    (tmp_path / "m.txt").write_bytes(spliced(data, cuts))
    agree(tmp_path / "m.txt", ManifestFormat.TEXT, "")


@OFTEN
@given(
    rows=st.lists(st.tuples(*GOOD.values()), max_size=20),
    odd=st.lists(st.tuples(st.integers(0, 19), st.sampled_from(sorted(GOOD)), field), max_size=2),
    names=st.permutations(["uri", "label", "score", "good", "note", "raw"]),
    quoted=st.sampled_from(["none", "all", "some", "needed"]),
    end=ends,
    cuts=splices,
    tsv=st.booleans(),
)
def test_delimited(tmp_path, sizes, rows, odd, names, quoted, end, cuts, tsv):
    delimiter = "\t" if tsv else ","
    number = 0
    lines = [delimiter.join(names)]
    odd = {(row, name): text for row, name, text in odd}
    for place, row in enumerate(rows):
        fields = []
        texts = dict(zip(GOOD, row, strict=True))
        for name in names:
            text = odd.get((place, name), texts[name])
            number += 1
            quote = quoted == "all" or (quoted == "some" and number % 3 == 0)
            if quoted == "needed" and number % 5 == 0:
                text, quote = f'{text}""x{delimiter}', True
            fields.append(f'"{text}"' if quote else text)
        lines.append(delimiter.join(fields))
    data = spliced((end.join(lines) + end).encode(), cuts)
    (tmp_path / "m.csv").write_bytes(data)
    format = ManifestFormat.TSV if tsv else ManifestFormat.CSV
    agree(tmp_path / "m.csv", format, COLUMNS, quotes=quoted != "none", version_column="note")
    agree(tmp_path / "m.csv", format, COLUMNS.replace("?", ""))


mixed = st.one_of(
    sound,
    sound,
    st.dictionaries(
        st.sampled_from(["uri", "label", "score", "good", "note", "raw", "path"]), value
    ),
)
# A list of these has the same names in all rows.
alike = st.tuples(
    st.one_of(st.none(), st.integers(-9, 9), st.integers(-(2**70), 2**70), st.floats()),
    st.one_of(st.none(), st.floats(), st.floats(-3e38, 3e38), st.integers(-(2**25), 2**25)),
    st.booleans(),
    st.one_of(st.text(max_size=4), field),
    field,
).map(lambda row: dict(zip(("label", "score", "good", "note", "raw"), row, strict=True)))


@OFTEN
@given(
    rows=st.one_of(st.lists(mixed, max_size=20), st.lists(alike, max_size=20)),
    tags=st.booleans(),
    ascii=st.booleans(),
    end=ends,
    cuts=st.one_of(
        st.just([]),
        splices,
        st.lists(st.tuples(st.floats(0, 1), st.sampled_from([b'"note":1,', b"{", b"1e999", b" "]))),
    ),
)
def test_jsonl(tmp_path, sizes, rows, tags, ascii, end, cuts):
    objects = [{"uri": f"{n}.jpg", **row} for n, row in enumerate(rows)]
    lines = [json.dumps(row, ensure_ascii=ascii) for row in objects]
    data = spliced((end.join(lines) + end).encode(errors="surrogatepass"), cuts)
    (tmp_path / "m.jsonl").write_bytes(data)
    declared = COLUMNS.replace("note:string?", "note:string[]?") if tags else COLUMNS
    agree(tmp_path / "m.jsonl", ManifestFormat.JSONL, f"{declared},path:string?")


@OFTEN
@given(
    uris=st.lists(st.one_of(st.none(), field), min_size=1, max_size=30),
    type_=st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]),
    group=st.integers(1, 20),
    values=st.data(),
)
def test_parquet(tmp_path, sizes, uris, type_, group, values):
    def column(items, kind):
        wanted = st.lists(st.one_of(st.none(), items), min_size=len(uris), max_size=len(uris))
        return pa.array(values.draw(wanted), kind)

    table = pa.table(
        {
            "label": column(st.integers(-9, 9), pa.int16()),
            "score": column(st.floats(), pa.float64()),
            "good": column(st.booleans(), pa.bool_()),
            "note": column(field, pa.string()),
            "raw": column(st.binary(max_size=3), pa.binary()),
            "uri": pa.array(uris, pa.string()).cast(type_),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=group)
    for declared in (COLUMNS, COLUMNS.replace("?", ""), COLUMNS.replace("int64", "string")):
        agree(tmp_path / "m.parquet", ManifestFormat.PARQUET, declared, version_column="note")


def test_a_large_manifest_is_read_in_parts_unless_a_row_goes_over_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "LEAST_BYTES", 1000)
    monkeypatch.setattr(ranges, "PART_BYTES", 500)
    path = tmp_path / "m.csv"
    rows = [f'"a{number}.jpg",{number},"a ""b"", c"\n' for number in range(100)]
    path.write_text("# a preamble\nuri,label,note\n" + "".join(rows))
    declared = "label:int64,note:string"
    assert agree(path, ManifestFormat.CSV, declared) == 6
    assert agree(path, ManifestFormat.JSONL, declared) == 6  # All are bad rows.
    with path.open("a") as file:
        file.write('b.jpg,7,"two\nlines"\n')
    assert agree(path, ManifestFormat.CSV, declared) == 1
    assert agree(path, ManifestFormat.CSV, declared, quotes=False) == 6
    path.write_bytes(path.read_bytes().replace(b"a7.jpg", b"a7\r.jpg"))
    assert agree(path, ManifestFormat.CSV, declared, quotes=False) == 1
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(path.read_bytes(), 0))
    assert agree(tmp_path / "m.csv.gz", ManifestFormat.CSV, declared) == 1


def test_a_manifest_that_has_changed_since_it_was_divided_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "LEAST_BYTES", 1000)
    monkeypatch.setattr(ranges, "PART_BYTES", 500)
    path = tmp_path / "m.txt"
    path.write_text("".join(f"{number:09}.jpg\n" for number in range(100)))
    spec = ManifestSpec((Source(str(path), ManifestFormat.TEXT),))
    parts = divide(spec.sources[0], spec)
    assert [part.part.number for part in parts] == [0, 36, 72]
    path.write_text("".join(f"{number:09}.png\n" for number in range(101)))
    with pytest.raises(ManifestError, match="has changed"):
        list(read_blocks(parts[1], spec))


def test_a_line_that_is_too_long_costs_its_row_only(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "MAX_LINE", 2000)
    monkeypatch.setattr(lines, "MAX_LINE", 2000)
    path = tmp_path / "m.txt"
    path.write_text("a.jpg\n" * 100 + "x" * 600_000 + "\n" + "b.jpg\n" * 100)
    agree(path, ManifestFormat.TEXT, "")
    path.write_text("uri,x\n" + "a.jpg,1\n" * 100 + "x" * 600_000 + "\n" + "b.jpg,2\n" * 100)
    agree(path, ManifestFormat.CSV, "x:string")


@pytest.mark.parametrize("length", range(1, 7))
def test_plain_quotes_mean_the_same_to_csv_and_arrow(length):
    for chars in itertools.product('a",\n', repeat=length):
        text = "".join(chars)
        if text[0] == "\n" or "\n\n" in text or not are_plain_quotes(text.encode(), ","):
            continue
        assert not goes_over_lines(text.encode(), ",")
        rows = list(csv.reader(text.splitlines(keepends=True), strict=True))
        assert len(rows) == len(text.splitlines())
        if len(set(map(len, rows))) == 1:
            data = text.removesuffix("\n").encode()
            arrays = plain_lines._fields(data, [""] * len(rows[0]), ",", quotes=True)
            if arrays is not None:
                assert list(map(list, zip(*(a.to_pylist() for a in arrays), strict=True))) == rows


@pytest.mark.parametrize("ranges_are", ["known", "unknown"])
def test_a_server_gives_parts_where_it_can(monkeypatch, ranges_are):
    monkeypatch.setattr(ranges, "LEAST_BYTES", 1000)
    monkeypatch.setattr(ranges, "PART_BYTES", 50_000)
    data = "uri,note\n" + "".join(f'"a{number}.jpg",""\n' for number in range(10_000))
    with RangeServer(data.encode()) as server:
        server.ranges = ranges_are
        source = Source(server.url("m.csv"), ManifestFormat.CSV)
        http = HttpPolicy(allow_private_hosts=True)
        spec = ManifestSpec((source,), (Column("note", Kind.STRING),), http=http)
        parts = divide(source, spec)
        assert len(parts) == (3 if ranges_are == "known" else 1)
        rows = [rows for part in parts for rows in read_blocks(part, spec)]
    numbers = [number for row in rows for number in row.numbers.tolist()]
    assert numbers == list(range(2, 10_002))
    assert rows[-1].uris[-1].as_py() == server.url("a9999.jpg")
