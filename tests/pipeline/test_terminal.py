"""What reaches a terminal, a log or a page: nobody's text but ours acts there or poses as ours."""

from __future__ import annotations

import io
import json
import logging
import re
import sys

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset.reading import load_numpy
from image_features.pipeline.process import PACKAGE, log_to_stderr
from image_features.pipeline.streams import complain, say
from image_features.pipeline.terminal import printable, shown
from tests import datasets, images

# Each of these may stand in the name of a file, or in a manifest's column.
HOSTILE = {
    "escape": "\x1b[2K\x1b[1Averified",
    "line": "a\nverified  every checksum",
    "return": "a\rverified",
    "c1": "a\x9b2Kb",
    "override": "a\u202egpj.exe",
    "isolate": "a\u2066b\u2069",
    "mark": "a\u200eb\ufeffc",
    "separator": "a\u2028b",
    "bell": "a\x07\x08\x7f",
    "surrogate": "a\udcffb",
}

NAMES = [text for name, text in HOSTILE.items() if name != "surrogate"]


def harmless(text):
    return all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_terminal_would_obey_is_written_out(name, capsys):
    text = HOSTILE[name]
    assert printable(text).isprintable()
    say(text)
    complain(text)
    told = capsys.readouterr()
    assert told.out == f"{printable(text)}\n"
    assert told.err == f"image-features: {printable(text)}\n"


def test_ordinary_names_stay_as_they_are():
    for text in (
        "a b.jpg",
        "C:\\n\\x1b",
        "Zo\u00eb",
        "\u65e5\u672c\u3000\u8a9e",
        "\u05d0",
        "\U0001f600",
    ):
        assert printable(text) == text


def test_secrets_of_urls_are_hidden_before_names_are_written_out():
    text = "http://me:hush@h/a?token=hush\nhttps://h/b?sig=hush\x1b"
    assert "hush" not in shown(text)
    assert shown(text).startswith("http://REDACTED@h/a?token=REDACTED\\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_terminal_can_show_every_name(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    say("Zo\u00eb \u65e5\u672c \udcff")
    assert stream.buffer.getvalue().decode(encoding).startswith("Zo")


@pytest.fixture
def log():
    """The lines that our logger writes, in the style that is asked for."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    kept, root.handlers = root.handlers, [handler]

    def lines(style, write):
        log_to_stderr(style)
        write(logging.getLogger(f"{PACKAGE}.test"))
        return stream.getvalue()

    yield lines
    root.handlers = kept


def test_a_log_line_stays_one_line(log):
    def write(logger):
        for text in HOSTILE.values():
            logger.warning("A name: %s, http://me:hush@h/?token=hush", text)
        try:
            raise ValueError("a\nI 2026-01-01 00:00:00,000 committed \x1b[2K http://me:hush@h/")
        except ValueError:
            logger.exception("It failed:")

    text = log("text", write)
    lines = text.splitlines()
    assert len([line for line in lines if not line.startswith("    ")]) == len(HOSTILE) + 1
    assert harmless(text) and "hush" not in text
    assert any(line.startswith("    I 2026-01-01") for line in lines)


def test_events_are_sentences_in_a_text_log_and_fields_in_a_json_log(log):
    shard = {"event": "shard", "name": "features-0", "rows": 3, "bytes": 54_000, "sha256": "ab"}

    def write(logger):
        logger.info("%s", json.dumps(shard))

    assert log("text", write).endswith(" Wrote features-0: 3 rows, 0.05 MB.\n")
    assert shard.items() <= json.loads(log("json", write).splitlines()[-1]).items()


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    """A run of images whose names, and of rows whose columns, try to pose as our lines."""
    place = tmp_path_factory.mktemp("hostile")
    (place / "photos").mkdir()
    for number, text in enumerate(NAMES):
        (place / "photos" / f"{text}.jpg").write_bytes(images.encode(images.noise(number)))
    return datasets.extract(place / "photos", place / "out", "run")


def test_inspect_prints_no_name_as_it_is(hostile_run, capsys):
    assert cli.main(["inspect", str(hostile_run), "--samples=20"]) == 0
    told = capsys.readouterr().out
    assert harmless(told)
    heads = [line.split(" ")[0] for line in told.splitlines()]
    assert heads == (
        ["run", "finished", "model", "rows", "shards", "health"]
        + ["sample"] * len(NAMES)
        + ["verified"]
    )


def test_search_prints_no_name_as_it_is(hostile_run, capsys):
    rows = load_numpy(str(hostile_run))
    # What is asked for is not among what is found.
    key = next(k for k, uri in zip(rows.keys, rows.uris, strict=True) if "\u202e" in uri)
    assert cli.main(["search", str(hostile_run), f"--key={key}", "-k20"]) == 0
    told = capsys.readouterr().out
    assert harmless(told) and len(told.splitlines()) == len(NAMES) - 1
    assert cli.main(["search", str(hostile_run), f"--key={key}", "-k20", "--json"]) == 0
    exact = [json.loads(line)["uri"] for line in capsys.readouterr().out.splitlines()]
    assert any(HOSTILE["escape"] in uri for uri in exact)


def test_a_report_shows_no_name_as_it_is(hostile_run, capsys, tmp_path):
    page = tmp_path / "page\x1b.html"
    assert cli.main(["report", str(hostile_run), f"--output={page}"]) == 0
    assert harmless(capsys.readouterr().out)
    ours = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)
    assert "\\u202e" in ours and harmless(ours)
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', ours)
    assert all(harmless(row[0]) for row in json.loads(data)["rows"])
