"""What is checked before runs are merged."""

from __future__ import annotations

import shutil

import pytest

from image_features.pipeline.cli import main as cli
from tests.datasets import compact, files, run_ids


def test_merging_twice_does_it_once(nights, capsys):
    run = compact(nights)
    before = {name: (run / name).read_bytes() for name in files(run)}
    compact(nights)
    assert "is committed already" in capsys.readouterr().out
    assert before == {name: (run / name).read_bytes() for name in files(run)}
    assert cli.main(["compact", str(nights), "--run_id=other"]) == 0
    assert "nothing to merge" in capsys.readouterr().out
    assert not (nights / "other").exists()


def test_as_many_shards_as_there_are_is_nothing_to_do(nights, capsys):
    for _ in range(2):
        assert cli.main(["compact", str(nights), "--num_shards=2"]) == 0
    assert "nothing to merge" in capsys.readouterr().out
    assert len(run_ids(nights)) == 1


def test_the_same_merging_has_the_same_name(nights):
    assert cli.main(["compact", str(nights)]) == 0
    (name,) = run_ids(nights)
    shutil.rmtree(nights / name)
    assert cli.main(["compact", str(nights)]) == 0
    assert run_ids(nights) == [name]


def test_what_cannot_be_merged_is_refused(nights, capsys, tmp_path):
    def refused(*arguments):
        capsys.readouterr()
        assert cli.main(["compact", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "no committed run" in refused(tmp_path / "nothing")
    assert "is one run" in refused(nights / "1")
    assert "was extracted" in refused(nights, "--run_id=1")
    assert "Unknown option '--input': see image-features compact --help." in refused(
        nights, "--input=x"
    )
    assert "did you mean --num_shards?" in refused(nights, "--num_shard=1")


@pytest.mark.parametrize("kind", ["features", "index", "errors", "tombstones"])
def test_a_file_that_is_gone_or_cut_ends_it_before_any_work(nights, kind, capsys):
    file = max(nights.glob(f"*/{kind}-*"), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-3])
    said = f"{file.parent} has lost {file.name}; copy it from a backup"
    for _ in range(2):
        assert compact(nights, code=2) == nights / "all"
        assert said in capsys.readouterr().err
        assert not (nights / "all").exists()
        file.unlink(missing_ok=True)
