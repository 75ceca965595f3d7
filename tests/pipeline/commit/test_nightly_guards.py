"""The guards of runs that go on from one another, in whose counts earlier nights have a part."""

from __future__ import annotations

import socket

from image_features.pipeline.cli import main as cli
from tests.datasets import counts, names, record_of


def test_too_much_removed_stops_the_commit(night, photos, tmp_path, capsys):
    night("1")
    manifest = tmp_path / "m.txt"
    manifest.write_text(str(photos / "1.jpg"))
    night("2", "--max_removed_rate=0.5", "--tombstone_removed", input=manifest, code=5)
    assert "8 rows of the dataset are not in the input any more" in capsys.readouterr().err
    assert len(names(tmp_path / "out")) == 9


def test_what_is_gone_for_long_does_not_count_every_night(night, photos):
    night("0")
    (photos / "1.jpg").unlink()
    limit = "--max_removed_rate=0.15"
    assert counts(night("1", limit))[-1] == 1
    (photos / "2.jpg").unlink()
    assert counts(night("2", limit))[-1] == 2
    assert cli.main(["compact", str(photos.parent / "out"), "--run_id=all"]) == 0
    assert counts(night("3", limit))[-1] == 2
    for name in "34":
        (photos / f"{name}.jpg").unlink()
    night("4", limit, code=5)
    night("4", "--tombstone_removed", "--max_removed_rate=0.5")
    assert counts(night("5", limit))[-1] == 0


def test_a_whole_input_begins_the_count_of_removed_rows_anew(extract, night, photos, tmp_path):
    paths = [f"{photos}/{i}.jpg" for i in range(9)]
    manifest = tmp_path / "m.txt"

    def name(count):
        manifest.write_text("\n".join(paths[:count]))
        return manifest

    extract(name(9), run_id="1")
    assert counts(night("2", input=name(5)))[-1] == 4
    extract(name(9), run_id="3")
    night("4", "--max_removed_rate=0.2", input=name(5), code=5)


def test_a_night_without_a_network_is_not_committed(night, tmp_path, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        manifest = tmp_path / "m.txt"
        manifest.write_text("\n".join(f"{address}/{i}.jpg" for i in range(120)))
        options = ["--allow_private_hosts", "--fetch_attempts=1"]
        stopped = night("1", *options, input=manifest, code=5)
        said = capsys.readouterr().err
        assert "120 of 120 new rows failed by the network or the servers" in said
        assert "120 connection_failed; http://127.0.0.1:" in said
        assert not (stopped / "run.json").exists()
        # The same run is committed where that is meant; what failed once may then fail again.
        committed = night("1", *options, "--max_error_rate=1", input=manifest)
        shown = capsys.readouterr().out
        assert f"the rows that failed: {committed}/errors-*.jsonl" in shown
        assert record_of(committed)["counts"]["failed_by_reason"] == {"connection_failed": 120}


def test_nothing_out_of_something_is_not_committed(night, tmp_path, capsys):
    manifest = tmp_path / "m.txt"
    manifest.write_text("http://127.0.0.1/a.jpg\nhttp://localhost/b.jpg")
    assert not (night("1", input=manifest, code=5) / "run.json").exists()
    said = capsys.readouterr().err
    assert "None of the 2 rows has features: 2 blocked_host; " in said
    assert "--allow_private_hosts if you trust the manifest" in said
    limit = "--max_removed_rate=0.5"
    night("1", "--max_error_rate=1", limit, input=manifest)
    shown = capsys.readouterr().out
    assert "  2 blocked_host; " in shown and "--allow_private_hosts" in shown
    assert "--max_removed_rate had nothing to compare with" in shown
    assert cli.main(["compact", str(tmp_path / "out"), "--num_shards=2"]) == 0


def test_what_fails_every_night_is_the_same_part_of_the_rows(night):
    # One of ten rows is broken, and the second night has nothing else to do.
    for name in "12":
        night(name, "--max_error_rate=0.1", "--error_budget=0.1")
    night("3", "--error_budget=0.09", code=3)
    night("4", "--max_error_rate=0.09", code=5)
