"""Runs that become one, and the removal of what is of no more use."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import time

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.errors import RunFailedError, RunHeldError
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import garbage, inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.claim import Claim
from image_features.pipeline.dataset.run import current_runs, latest_run, read_record
from image_features.pipeline.launch.job import Terms, run_job
from image_features.pipeline.launch.prepare_compaction import CompactionOptions, prepare_compaction
from image_features.transforms.stores.uris import image_key
from tests import images
from tests.http_server import ImageServer


def write(path, seed):
    path.write_bytes(images.encode(images.noise(seed)))


def run_night(photos, output, run_id, *options):
    arguments = [f"--input={photos}", f"--output={output}", f"--run_id={run_id}", *options]
    assert cli.main(["extract", "--model=untrained", *arguments]) == 0
    return output / run_id


@pytest.fixture(scope="module")
def three_nights(tmp_path_factory):
    """Three nights: a picture changes, one comes, one goes; and a copy of it all."""
    place = tmp_path_factory.mktemp("nights")
    photos, output = images.write_noise(place / "photos", 9), place / "out"
    run_night(photos, output, "1", "--incremental", "--num_shards=3")
    write(photos / "new.jpg", 100)
    write(photos / "2.jpg", 101)
    run_night(photos, output, "2", "--incremental", "--compression=gzip")
    (photos / "5.jpg").unlink()
    run_night(photos, output, "3", "--incremental", "--tombstone_removed")
    shutil.copytree(place, f"{place}-saved")
    return place


@pytest.fixture
def nights(three_nights):
    """The dataset of three nights as it was, where it was: paths are in it."""
    shutil.rmtree(three_nights)
    shutil.copytree(f"{three_nights}-saved", three_nights)
    return three_nights / "out"


@pytest.fixture
def photos(nights):
    return nights.parent / "photos"


@pytest.fixture
def extract(nights):
    def run(input, *options, run_id, output=nights):
        return run_night(input, output, run_id, *options)

    return run


def compact(path, *options, code=0):
    """Merges; the last of options that name the run counts."""
    assert cli.main(["compact", str(path), "--run_id=all", *options]) == code
    return pathlib.Path(path) / "all"


def vectors(path):
    arrays = dataset.load_numpy(str(path))
    assert len(set(arrays.keys)) == len(arrays.keys)
    return dict(zip(arrays.uris, map(bytes, arrays.features), strict=True))


def files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def rewrite(run, change):
    record = json.loads((run / "run.json").read_text())
    change(record)
    (run / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize("options", [(), ("--num_shards=7", "--compression=gzip")])
def test_the_last_of_each_row_is_copied_as_it_is(nights, options, capsys):
    before = vectors(nights)
    run = compact(nights, *options)
    assert vectors(run) == vectors(nights) == before
    assert len(before) == 9
    assert inspection.verify(latest_run(str(run))) == []
    record = read_record(str(run))
    assert sorted(record["replaces"]) == ["1", "2", "3"]
    assert record["as_of"] == read_record(str(nights / "3"))["finished"]
    # 3 of the base's number of shards, whose rows then need not be mixed.
    shards = [f for f in record["files"] if f["kind"] == "features"]
    assert len(shards) == (7 if options else 3)
    assert record["counts"] | {"failed_by_reason": {}} == {
        "rows_read": 10,
        "duplicates": 0,
        "rows_in": 10,
        "rows_out": 9,
        "rows_failed": 1,
        "rows_unchanged": 0,
        "rows_removed": 0,
        "failed_by_reason": {},
    }
    assert "9 rows of 3 runs, 2 replaced or removed, 1 failed" in capsys.readouterr().out


def test_features_are_measured_again(nights, extract, photos, tmp_path):
    merged = read_record(str(compact(nights)))
    fresh = read_record(str(extract(photos, run_id="fresh", output=tmp_path / "fresh")))
    assert merged["health"] == fresh["health"]


def test_the_next_night_goes_on_from_the_merged_run(nights, extract, photos):
    compact(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert sorted(path.name for path in nights.iterdir()) == ["all"]
    write(photos / "another.jpg", 102)
    counts = read_record(str(extract(photos, "--incremental", run_id="4")))["counts"]
    assert (counts["rows_out"], counts["rows_failed"], counts["rows_unchanged"]) == (1, 1, 9)
    assert len(vectors(nights)) == 10


def test_a_run_that_came_while_it_merged_stays_and_is_later(nights, extract, photos):
    write(photos / "2.jpg", 103)
    late = extract(photos, "--incremental", run_id="4")
    now = vectors(nights)
    shutil.move(late, nights.parent / "aside")
    merged = compact(nights)
    shutil.move(nights.parent / "aside", late)
    assert read_record(str(merged))["finished"] > read_record(str(late))["finished"]
    assert vectors(nights) == now


def test_errors_that_nothing_has_settled_are_kept_once(tmp_path):
    def extract(manifest, run_id):
        run_night(manifest, tmp_path / "out", run_id)

    directory = images.write_noise(tmp_path / "photos", 2)
    manifest = tmp_path / "m.jsonl"
    paths = [directory / name for name in ("0.jpg", "broken.jpg", "late.jpg", "gone.jpg")]
    rows = [json.dumps({"uri": str(path)}) for path in paths]
    manifest.write_text("\n".join([*rows, '{"uri": ""}']))
    extract(manifest, run_id="1")
    write(directory / "late.jpg", 50)
    manifest.write_text("\n".join([*rows[:3], '{"uri": ""}']))
    extract(manifest, run_id="2")
    run = compact(tmp_path / "out")
    errors = []
    for file in run.glob("errors-*"):
        errors += [json.loads(line) for line in file.read_text().splitlines()]
    found = sorted((pathlib.Path(e["uri"] or "").name, e["reason"]) for e in errors)
    # The row that could not be read is another one in each manifest.
    assert found == [
        ("", "bad_manifest_row"),
        ("", "bad_manifest_row"),
        ("broken.jpg", "corrupt"),
        ("gone.jpg", "not_found"),
    ]
    options = ["--model=untrained", f"--output={tmp_path}/out", "--retry_errors=all"]
    assert cli.main(["extract", *options, "--run_id=again"]) == 0
    assert read_record(str(tmp_path / "out" / "again"))["counts"]["rows_failed"] == 4


def test_merging_twice_does_it_once(nights, capsys):
    run = compact(nights)
    before = {name: (run / name).read_bytes() for name in files(run)}
    compact(nights)
    assert "is committed already" in capsys.readouterr().out
    assert before == {name: (run / name).read_bytes() for name in files(run)}
    assert cli.main(["compact", str(nights), "--run_id=other"]) == 0
    assert "nothing to merge" in capsys.readouterr().out
    assert not (nights / "other").exists()


def test_what_cannot_be_merged_is_refused(nights, capsys, tmp_path):
    def refused(*arguments):
        capsys.readouterr()
        assert cli.main(["compact", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "no committed run" in refused(tmp_path / "nothing")
    assert "is one run" in refused(nights / "1")
    assert "was extracted" in refused(nights, "--run_id=1")
    assert "Unknown option '--input=x'" in refused(nights, "--input=x")
    assert "did you mean --num_shards?" in refused(nights, "--num_shard=1")
    rewrite(nights / "1", lambda run: run.update(columns=[{"name": "a", "kind": "int64"}]))
    rewrite(nights / "2", lambda run: run.update(columns=[{"name": "a", "kind": "string"}]))
    assert "The column 'a'" in refused(nights)


def test_a_damaged_shard_stops_the_merging(nights, capsys):
    shard = max((nights / "1").glob("features-*"), key=lambda path: path.stat().st_size)
    data = shard.read_bytes()
    shard.write_bytes(data[:200] + b"x" + data[201:])
    run = compact(nights, code=1)
    assert read_record(str(run)) is None
    assert "corrupt" in capsys.readouterr().err
    assert len(vectors(nights / "3")) == 0


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


def test_other_models_are_left_alone(nights, extract, photos):
    other = extract(photos, "--resize=pad", run_id="other")
    later = extract(photos, "--incremental", run_id="5")
    run = compact(nights)
    assert sorted(read_record(str(run))["replaces"]) == ["1", "2", "3", "5"]
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert other.exists() and not later.exists()
    assert len(vectors(other)) == 9


def test_garbage_is_told_before_it_goes(nights, capsys):
    compact(nights)
    whole = files(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0", "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert files(nights) == whole
    assert told.count("would remove") == 3
    assert all(f"would remove {nights}/{name} (merged into all" in told for name in "123")
    # Whoever reads them now may go on doing so.
    assert cli.main(["gc", str(nights)]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert {path.name for path in nights.iterdir()} == {"all"}


def test_what_replaces_others_must_be_whole(nights, capsys):
    run = compact(nights)
    lost = max(run.glob("features-*"), key=lambda path: path.stat().st_size)
    lost.write_bytes(lost.read_bytes()[:-1])
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 1
    assert (
        f"has lost {lost.name}: what is left of the runs that it replaces"
        in capsys.readouterr().err
    )
    assert {path.name for path in nights.iterdir()} == {"1", "2", "3", "all"}


def ids(path):
    return [run.run_id for run in current_runs(str(path))]


def test_merged_runs_stay_replaced_when_the_one_they_became_goes(nights, extract, photos):
    compact(nights, "--run_id=first")
    write(photos / "2.jpg", 104)
    extract(photos, "--incremental", run_id="4")
    now = vectors(nights)
    compact(nights, "--run_id=second")
    assert set(read_record(str(nights / "second"))["replaces"]) == {"1", "2", "3", "4", "first"}
    shutil.rmtree(nights / "first")
    assert ids(nights) == ["second"]
    assert vectors(nights) == now
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert os.listdir(nights) == ["second"]


def test_names_may_be_used_again(nights):
    before = vectors(nights)
    gc = ["gc", str(nights), "--merged_hours=0"]
    for name, shards in (("a", 2), ("b", 4), ("a", 8)):
        compact(nights, f"--run_id={name}", f"--num_shards={shards}")
        assert ids(nights) == [name]
        assert cli.main(gc) == 0
        assert os.listdir(nights) == [name]
    assert vectors(nights) == before


def test_as_many_shards_as_there_are_is_nothing_to_do(nights, capsys):
    for _ in range(2):
        assert cli.main(["compact", str(nights), "--num_shards=2"]) == 0
    assert "nothing to merge" in capsys.readouterr().out
    assert len(ids(nights)) == 1


def test_another_model_is_not_done_by_a_merged_run(nights, photos, capsys):
    compact(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    arguments = [f"--input={photos}", f"--output={nights}", "--run_id=1", "--resize=pad"]
    assert cli.main(["extract", "--model=untrained", "--incremental", *arguments]) == 2
    assert f"the run 1 was merged into {nights}/all, with another" in capsys.readouterr().err


@pytest.mark.parametrize("left", [False, True])
def test_a_run_that_has_the_place_of_a_merged_one_stays(nights, extract, photos, left):
    merged = compact(nights)
    if left:
        (nights / "1" / "run.json").unlink()
    listed = garbage.find_garbage(str(nights), merged_before=time.time(), died_before=0)
    shutil.rmtree(nights / "1")
    extract(photos, run_id="1")
    for found in listed:
        if found.directory == str(nights / "1"):
            with pytest.raises(RunHeldError):
                garbage.remove(found)
        else:
            garbage.remove(found)
    assert sorted(os.listdir(nights)) == ["1", merged.name]
    assert inspection.verify(latest_run(str(nights / "1"))) == []


def test_a_run_that_was_merged_is_done(nights, extract, photos, capsys):
    compact(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    capsys.readouterr()
    assert not extract(photos, "--incremental", run_id="1").exists()
    assert f"{nights}/all, into which 1 was merged, is committed" in capsys.readouterr().out
    # Who asks for all of it again gets it, and sees it.
    write(photos / "2.jpg", 105)
    extract(photos, run_id="1")
    assert ids(nights) == ["1", "all"]
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert sorted(os.listdir(nights)) == ["1", "all"]


def test_of_two_mergings_of_the_same_runs_one_counts(nights):
    beam_options = PipelineOptions([])
    late = prepare_compaction(CompactionOptions(str(nights), run_id="late"), beam_options)
    compact(nights)
    with pytest.raises(RunFailedError, match="was merged by another `compact` meanwhile"):
        run_job(late, beam_options, Terms())
    assert ids(nights) == ["all"]


def test_the_same_merging_has_the_same_name(nights):
    assert cli.main(["compact", str(nights)]) == 0
    (name,) = ids(nights)
    shutil.rmtree(nights / name)
    assert cli.main(["compact", str(nights)]) == 0
    assert ids(nights) == [name]


def test_what_a_removal_has_left_goes_the_next_time(nights, capsys):
    compact(nights)
    (nights / "2" / "run.json").unlink()
    (nights / "2" / "errors-00000-of-00001.jsonl").unlink()
    # Begun anew under a name that was merged: that is an attempt.
    for name in os.listdir(nights / "3"):
        (nights / "3" / name).unlink()
    (nights / "3" / ".staging").mkdir()
    (nights / "3" / ".staging" / "launch.json").write_text("{}")
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert f"{nights}/2 (left of a run merged into all" in capsys.readouterr().out
    assert sorted(os.listdir(nights)) == ["3", "all"]


@pytest.mark.parametrize("ends", ["held", "committed"])
def test_what_is_taken_up_while_others_go_is_kept(nights, ends, capsys, monkeypatch):
    for name in "ab":
        staging = nights / name / ".staging"
        staging.mkdir(parents=True)
        (staging / "launch.json").write_text("{}")
        os.utime(staging / "launch.json", (1, 1))
    remove = garbage.remove_tree

    def taken_up(directory):
        remove(directory)
        if ends == "held":
            Claim(str(nights / "b" / ".staging")).take()
        else:
            shutil.copy(nights / "1" / "run.json", nights / "b")

    monkeypatch.setattr(garbage, "remove_tree", taken_up)
    assert cli.main(["gc", str(nights)]) == 0
    told = capsys.readouterr().out
    assert f"removed {nights}/a" in told
    assert f"{nights}/b is kept: " in told
    assert (nights / "b" / ".staging" / "launch.json").exists()


def test_a_commit_file_that_cannot_be_read_stops_everything(nights, photos, capsys):
    (nights / "2" / "run.json").write_text('{"format_version": 1')
    for arguments in (
        ["compact", nights],
        ["gc", nights],
        ["search", nights, photos / "1.jpg"],
        ["extract", f"--input={photos}", f"--output={nights}", "--incremental", "--run_id=4"],
    ):
        assert cli.main(list(map(str, arguments))) == 2
        assert "2/run.json is not a run's commit file" in capsys.readouterr().err
    assert sorted(os.listdir(nights)) == ["1", "2", "3"]


@pytest.mark.parametrize("character", "*?[]")
def test_a_path_that_is_a_pattern_is_refused(tmp_path, character, capsys):
    path = tmp_path / f"data{character}"
    path.mkdir()
    photos = images.write_noise(tmp_path / "photos", 1)
    for arguments in (
        ["extract", "--model=untrained", f"--input={photos}", f"--output={path}"],
        ["compact", str(path)],
        ["gc", str(path)],
        ["search", str(path), str(photos / "0.jpg")],
        ["report", str(path)],
        ["inspect", str(path)],
    ):
        assert cli.main(arguments) == 2
        assert f"holds {character}, which would stand for" in capsys.readouterr().err
    assert os.listdir(path) == []


def test_a_run_may_lie_elsewhere(nights):
    before = vectors(nights)
    shutil.move(nights / "2", nights.parent / "elsewhere")
    (nights / "2").symlink_to(nights.parent / "elsewhere")
    assert vectors(nights) == before
    compact(nights)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 0
    assert os.listdir(nights) == ["all"]
    assert not (nights.parent / "elsewhere").exists()


def test_errors_of_secret_addresses_are_told_apart_and_settled(tmp_path):
    picture = images.encode(images.noise(1))
    with ImageServer({"at-once.jpg": picture}) as server:
        manifest = tmp_path / "m.txt"
        uris = [server.url(f"{name}.jpg?key={name}") for name in ("at-once", "later", "never")]
        manifest.write_text("\n".join(uris))
        run_night(manifest, tmp_path / "out", "1", "--allow_private_hosts")
        server.files["later.jpg"] = picture
        run_night(manifest, tmp_path / "out", "2", "--allow_private_hosts")
        run = compact(tmp_path / "out")
    (line,) = (run / "errors-00000-of-00001.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == image_key(uris[2])
    assert len(vectors(run)) == 2


def test_attempts_that_nobody_takes_up_go(nights, capsys):
    out, run = nights, nights / "1"

    def attempt(name, age, **claim):
        staging = out / name / ".staging"
        staging.mkdir(parents=True)
        (staging / "launch.json").write_text("{}")
        (out / name / "features-00000-of-00001.tfrecord").write_bytes(b"x" * 100)
        if claim:
            (staging / "claim.json").write_text(json.dumps(claim))
        for path in (out / name).rglob("*"):
            os.utime(path, (time.time() - age,) * 2)

    day = 86400
    attempt("old", 8 * day)
    attempt("young", 6 * day)
    attempt("held", 8 * day, holder="x", host="elsewhere", process=1, expires=time.time() + 100)
    attempt("let-go", 8 * day, holder="x", host="elsewhere", process=1, expires=time.time() - 100)
    (run / ".staging").mkdir()
    (run / ".staging" / "x").write_text("left")
    os.utime(run / ".staging" / "x", (1, 1))
    # Not ours: a directory of somebody else's.
    (out / "theirs").mkdir()
    (out / "theirs" / "file").write_text("dear to somebody")
    os.utime(out / "theirs" / "file", (1, 1))
    committed = files(run)
    assert cli.main(["gc", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"removed {out}/old (an attempt that was not committed, 0.0 MB)" in told
    assert f"removed {run}/.staging (left in a committed run" in told
    assert {path.name for path in out.iterdir()} == {
        *"123",
        "young",
        "held",
        "theirs",
    }
    assert files(run) == [name for name in committed if not name.startswith(".staging")]
    assert inspection.verify(latest_run(str(run))) == []


def test_no_dataset_is_no_garbage(tmp_path, capsys):
    assert cli.main(["gc", str(tmp_path)]) == 2
    assert "There is no run in" in capsys.readouterr().err
    assert cli.main(["gc", str(tmp_path), "--died_days=-1"]) == 2
    assert "is not a number from 0" in capsys.readouterr().err


def test_what_cannot_be_removed_is_said(nights, capsys, monkeypatch):
    compact(nights)
    remove = shutil.rmtree

    def refuse(path, *arguments, **options):
        if path.endswith("/2"):
            raise PermissionError(13, "Permission denied", path)
        remove(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert cli.main(["gc", str(nights), "--merged_hours=0"]) == 1
    assert f"{nights}/2 cannot be removed: access is denied" in capsys.readouterr().err
    # No reader takes what is left for a run.
    assert read_record(str(nights / "2")) is None
    assert not (nights / "1").exists() and not (nights / "3").exists()


def test_statistics_of_no_rows(tmp_path):
    manifest = tmp_path / "none.txt"
    manifest.write_text("")
    for name in "ab":
        run_night(manifest, tmp_path / "out", name, "--allow_empty")
    run = compact(tmp_path / "out")
    assert read_record(str(run))["counts"]["rows_in"] == 0
    assert len(dataset.load_numpy(str(run)).keys) == 0
    assert list(dataset.load(str(run))) == []
    np.testing.assert_array_equal(dataset.load_numpy(str(run)).features.shape, (0, 1280))
