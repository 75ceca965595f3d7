import csv
import io
import random

import pytest

from image_features.transforms.manifests import lines
from image_features.transforms.manifests.delimited import read_delimited
from image_features.transforms.manifests.delimited_table import Dialect
from image_features.transforms.manifests.rows import ManifestError, ManifestRow

CSV = Dialect(",", quotes=True)
TSV = Dialect("\t", quotes=False)


def rows_of(text, dialect=CSV, uri_column=None):
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return list(read_delimited(io.BytesIO(data), "m.csv", uri_column, dialect))


def short(rows):
    """The number, URI and first column of good rows; the number, URI and None of bad ones."""
    return [
        (row.number, row.uri, None if row.problem else next(iter(row.values.values()), ""))
        for row in rows
    ]


def test_an_unclosed_quote_costs_its_row_only():
    rows = rows_of('uri,caption\na.jpg,plain\nb.jpg,"5 ft tall\nc.jpg,ok\nd.jpg,ok\n')
    assert short(rows) == [
        (2, "a.jpg", "plain"),
        (3, "b.jpg", None),
        (4, "c.jpg", "ok"),
        (5, "d.jpg", "ok"),
    ]
    assert "line 3 is not closed" in rows[1].problem
    assert not rows[1].unread  # There can be no doubt about its image.


@pytest.mark.parametrize(
    ("header", "row"),
    [("uri,caption", "{uri},{text}"), ("caption,uri", "{text},{uri}")],
)
@pytest.mark.parametrize("distance", [1, 2, 50])
def test_a_pair_of_stray_quotes_swallows_no_row(header, row, distance):
    names = [f"p/{number}.jpg" for number in range(60)]
    text = [row.format(uri=name, text="x") for name in names]
    text[3] = row.format(uri=names[3], text='"5 ft')
    text[3 + distance] = row.format(uri=names[3 + distance], text='6 ft"')
    rows = rows_of("\n".join([header, *text]))
    assert [row.uri for row in rows] == names
    assert [row.number for row in rows if row.problem] == [5]
    assert not any(row.unread for row in rows)


def test_a_quote_that_swallows_rows_without_plain_uris_is_found():
    text = ["id,note,path"] + [f"{number},n,images/{number}" for number in range(20)]
    text[5] = '4,"n,images/4'
    text[15] = '14,n",images/14'
    rows = rows_of("\n".join(text), uri_column="path")
    assert [row.number for row in rows] == list(range(2, 22))
    assert [(row.number, row.unread) for row in rows if row.problem] == [(6, True)]


def test_captions_over_lines_are_one_row():
    captions = [
        "one\ntwo",
        'say "hi",\r\n\r\nbye',
        "a\n\nb,\nc,d\n",
        "x" * 70_000 + "\n,",
        "\n" * 999,
    ]
    captions += [
        "old\rmac",
        "see https://h/x.jpg,\nor, y.jpg",
        "\x85 \u2028 \x0b\n\x1c",
        '"\n"',
        "plain",
    ]
    for header in (["uri", "caption"], ["caption", "uri"]):
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(header)
        for number, caption in enumerate(captions):
            row = {"uri": f"{number}.jpg", "caption": caption}
            writer.writerow([row[name] for name in header])
        rows = rows_of(file.getvalue())
        assert [(row.uri, row.values.get("caption"), row.problem) for row in rows] == [
            (f"{number}.jpg", caption, "") for number, caption in enumerate(captions)
        ]
    assert rows[1].number == 4  # The line that the row begins in.


def test_a_closed_quote_with_text_behind_it_is_one_bad_row():
    rows = rows_of('uri,caption\na.jpg,"5" tall\nb.jpg,6" tall\nc.jpg, "x"\n')
    assert short(rows) == [(2, "a.jpg", None), (3, "b.jpg", '6" tall'), (4, "c.jpg", ' "x"')]


def test_a_row_of_too_many_fields_names_no_image():
    rows = rows_of("uri,caption\na.jpg,x,y\nb.jpg\nc.jpg,z")
    assert short(rows) == [(2, "", None), (3, "", None), (4, "c.jpg", "z")]
    assert [row.unread for row in rows] == [True, True, False]


def test_tsv_takes_quotes_as_they_are_unless_told_otherwise():
    text = 'caption\turl\nplain\ta\n" alpha\tb\n"beta"\tc\ngamma "\td\n'
    assert short(rows_of(text, TSV)) == [
        (2, "a", "plain"),
        (3, "b", '" alpha'),
        (4, "c", '"beta"'),
        (5, "d", 'gamma "'),
    ]
    quoted = rows_of('caption\turl\n"say ""hi""\tyou"\ta\n', Dialect("\t", quotes=True))
    assert short(quoted) == [(2, "a", 'say "hi"\tyou')]
    plain = rows_of('uri,n\na.jpg,"5 ft\nb.jpg,x\n', Dialect(",", quotes=False))
    assert short(plain) == [(2, "a.jpg", '"5 ft'), (3, "b.jpg", "x")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_systems(end):
    rows = rows_of(end.join(["uri,n", "a.jpg,1", "", "b.jpg,2"]))
    assert short(rows) == [(2, "a.jpg", "1"), (4, "b.jpg", "2")]


def test_comments_blanks_and_hashtags():
    rows = rows_of('# about\n\nuri,tag\n# more\na.jpg,#1\n  \n,\n"#b.jpg",x\n')
    assert short(rows) == [(5, "a.jpg", "#1"), (8, "#b.jpg", "x")]
    assert short(rows_of("tag,uri\n#sunset,a.jpg\n#no row\n")) == [(2, "a.jpg", "#sunset")]


def test_a_column_without_a_name_gets_one():
    (row,) = rows_of(",uri,,b\n0,a.jpg,1,2\n")
    assert row == ManifestRow(2, "a.jpg", {"unnamed_0": "0", "unnamed_2": "1", "b": "2"})


def test_excel_says_its_delimiter():
    assert short(rows_of("sep=,\r\nuri,n\r\na.jpg,1\r\n")) == [(3, "a.jpg", "1")]
    with pytest.raises(ManifestError, match="separates its fields by ';'"):
        rows_of("sep=;\nuri;n\na.jpg;1\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uri;n\na.jpg;1\n", "by semicolons; save it with commas"),
        ("uri\tn\na.jpg\t1\n", "by tabs; say --input_format=tsv"),
        (b"PAR1\x15\x04", "is Parquet; say --input_format=parquet"),
        (b"uri,caf\xe9\na.jpg,1\n", "is not UTF-8"),
        ("uri,caption\n".encode("utf-16"), "looks like UTF-16"),
        ("uri,caption\n".encode("utf-16-be"), "looks like UTF-16"),
        ("uri,caption\n".encode("utf-32-be"), "looks like UTF-16"),
        ('uri,"caption\na.jpg,x\nb.jpg,y\n', "quote that opens in line 1 is not closed"),
        ('uri,"caption\na.jpg,x\nb.jpg,y"\n', "quote in line 1 is closed in line 3 only"),
        ("uri,n,n\na.jpg,1,2\n", "names a column twice"),
        (",".join(["x" * 5000] * 3000), "and 2980 more"),
    ],
)
def test_a_header_that_cannot_be_used_is_said_briefly(text, message):
    with pytest.raises(ManifestError, match=message) as caught:
        rows_of(text)
    assert len(str(caught.value)) < 3000


def test_a_value_that_is_not_utf8_stays_in_its_row():
    rows = rows_of(b"\xef\xbb\xbfuri,n\na.jpg,caf\xe9\n\0b.jpg,\0\n")
    assert short(rows) == [(2, "a.jpg", "caf\udce9"), (3, "\0b.jpg", "\0")]


def test_long_lines_are_bad_rows_of_bounded_size(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE", 300_000)
    text = (
        f'uri,n\na.jpg,{"x" * 290_000}\nb.jpg,{"x" * 5_000_000}\nc.jpg,"{"y" * 400_000}\nd.jpg,2\n'
    )
    rows = rows_of(text)
    assert [(row.number, row.uri, row.unread) for row in rows] == [
        (2, "a.jpg", False),
        (3, "", True),
        (4, "", True),
        (5, "d.jpg", False),
    ]
    assert all(len(row.problem) < 200 for row in rows)


def test_no_row_of_random_text_vanishes():
    pieces = ['"', '""', ",", "\n", "\n", "a.jpg,", "x", '"y,z\n"', "\r\n", "b.jpg,q\n"]
    random.seed(0)
    for _ in range(300):
        body = "".join(random.choices(pieces, k=random.randrange(40)))
        rows = rows_of(f"uri,n\n{body}")
        numbers = [row.number for row in rows]
        assert numbers == sorted(set(numbers))
        if "b.jpg,q" in body.splitlines():  # Text in sound quotes may look like a row.
            assert any("b.jpg" in str(row) for row in rows), body


def test_a_uri_over_lines_is_a_bad_row():
    rows = rows_of('n,uri\n1,"a\nb"\n2,"\nc.jpg\n"\n')
    assert short(rows)[:1] + short(rows)[-1:] == [(2, "", None), (4, "c.jpg", "2")]
