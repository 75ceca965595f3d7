"""Exports: the latest row of each image once, night by night, whatever comes between."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from typing import Any

import pyarrow.parquet as pq
import pytest

import image_features
from image_features.pipeline.cli import main as cli
from image_features.pipeline.commit import commit_export
from image_features.pipeline.dataset.claim import Claim
from image_features.pipeline.dataset.export import Export, exports_in
from image_features.transforms.manifests.columns import Column, Kind
from tests.datasets import compact, files, rewrite
from tests.written import key_of, provenance, uri_of, write_run


def export(dataset: object, target: object, *options: str, code: int = 0) -> list[Export]:
    """Runs `export` in this process; returns the target's exports."""
    assert cli.main(["export", str(dataset), str(target), *options]) == code
    return exports_in(str(target)) if code == 0 else []


def refused(capsys: Any, dataset: object, target: object, *options: str, code: int = 2) -> str:
    """Runs `export`, which must be refused and leave no trace; returns what it says."""
    capsys.readouterr()
    before = files(pathlib.Path(str(target)).parent)
    export(dataset, target, *options, code=code)
    assert files(pathlib.Path(str(target)).parent) == before
    return str(capsys.readouterr().err)


def written(found: Export) -> tuple[dict[str, float], set[str]]:
    """Returns what an export has written: the first values of vectors by key, and removed keys."""
    rows, removed = {}, set()
    for file in found.all_files:
        table = pq.read_table(found.path(file))
        assert len(table) == file.rows
        if file.kind != "vectors":
            removed |= set(table["key"].to_pylist())
            continue
        for row in table.select(["key", "vector"]).to_pylist():
            assert row["key"] not in rows
            rows[row["key"]] = row["vector"][0]
    assert (len(rows), len(removed)) == (found.counts.rows_out, found.counts.rows_removed)
    return rows, removed


def state(target: object) -> dict[str, float]:
    """Returns what a reader of all exports to a target has in the end."""
    rows: dict[str, float] = {}
    for found in exports_in(str(target)):
        new, removed = written(found)
        assert removed <= set(rows) and not removed & set(new)
        rows = {key: value for key, value in rows.items() if key not in removed} | new
        assert len(rows) == found.rows
    return rows


def keyed(**rows: float) -> dict[str, float]:
    return {key_of(name): value for name, value in rows.items()}


@pytest.fixture
def out(tmp_path):
    """A dataset of one night."""
    write_run(tmp_path / "out", "1", {"a": 1, "b": 1, "c": 1}, shards=2)
    return tmp_path / "out"


def test_nights_are_exported_as_they_come(out, tmp_path, capsys):
    target = tmp_path / "target"
    (first,) = export(out, target)
    assert state(target) == keyed(a=1, b=1, c=1)
    assert [file.name for file in first.all_files] == [
        f"vectors-0000{shard}-of-00002.parquet" for shard in range(2)
    ]
    # A row is replaced, one comes, one goes, and one that never was is said to be gone.
    write_run(out, "2", {"b": 2, "d": 2}, gone=["a", "never"], day=2, compressed=True)
    *_, second = export(out, target, "--since=last")
    assert written(second) == (keyed(b=2, d=2), set(keyed(a=0)))
    assert second.record["since"] == "target" and second.number == 1
    # It comes again, as it was not.
    write_run(out, "3", {"a": 3}, gone=["c"], day=3)
    *_, third = export(out, target, "--since=last")
    assert written(third) == (keyed(a=3), set(keyed(c=0)))
    capsys.readouterr()
    before = files(target)
    *_, last = export(out, target, "--since=last", "--json")
    printed = capsys.readouterr()
    assert files(target) == before and json.loads(printed.out) == last.record == third.record
    # Merging changes nothing of it, and neither does the removal of what was merged.
    compact(out)
    export(out, target, "--since=last")
    assert cli.main(["gc", str(out), "--merged_hours=0"]) == 0
    capsys.readouterr()
    export(out, target, "--since=last")
    assert f"{target}: nothing has changed since the last export." in capsys.readouterr().out
    assert files(target) == before
    # A run whose clock was behind is older than what the target has.
    write_run(out, "late", {"a": 0, "e": 0}, gone=["b"], day=0)
    *_, late = export(out, target, "--since=last")
    assert written(late) == (keyed(e=0), set())
    assert state(target) == keyed(a=3, b=2, d=2, e=0)
    export(out, tmp_path / "whole")
    assert state(tmp_path / "whole") == state(target)


def test_what_cannot_be_told_is_refused(out, tmp_path, capsys):
    target = tmp_path / "target"
    export(out, target)
    write_run(out, "2", {"d": 2}, day=2)
    merged = compact(out)
    said = f"What has changed since the last export to {target} cannot be told: the run "
    way_out = "Export without --since=last, to another directory."
    message = refused(capsys, out, target, "--since=last")
    assert said + "all merges runs that it has with others" in message and way_out in message
    shutil.rmtree(merged)
    shutil.move(out / "1", tmp_path / "aside")
    message = refused(capsys, out, target, "--since=last")
    assert said + "1, whose rows it has, was removed" in message and way_out in message


def test_a_night_that_brings_nothing_is_remembered(out, tmp_path):
    target = tmp_path / "target"
    export(out, target, "--num_shards=4")
    write_run(out, "2", {}, day=2)
    *_, second = export(out, target, "--since=last")
    assert written(second) == ({}, set()) and len(second.all_files) == 2
    compact(out)
    assert len(export(out, target, "--since=last")) == 2


def test_merging_that_brings_a_row_back_does_not_pass(out, tmp_path, capsys):
    """A removal is forgotten by merging, and a run whose clock was behind had the row."""
    target = tmp_path / "target"
    late = write_run(out, "late", {"b": 9}, day=2)
    write_run(out, "3", {}, gone=["b"], day=3)
    export(out, target)
    assert state(target) == keyed(a=1, c=1)
    shutil.move(late, tmp_path / "aside")
    compact(out)
    shutil.move(tmp_path / "aside", late)
    write_run(out, "4", {"d": 4}, day=4)
    shutil.rmtree(out / "1")
    shutil.rmtree(out / "3")
    capsys.readouterr()
    export(out, target, "--since=last", code=1)
    assert "export without --since=last" in capsys.readouterr().err
    assert state(target) == keyed(a=1, c=1)


_MADE = provenance(columns=[Column("label", Kind.INT64), Column("name", Kind.STRING)])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A target with the columns label and name."""
    place = tmp_path_factory.mktemp("exported")
    values = {"label": 7, "name": "x"}
    write_run(place / "out", "1", {"a": 1, "b": 1}, made=_MADE, values=values)
    export(place / "out", place / "target")
    return place


@pytest.fixture
def target(exported, tmp_path):
    """A copy of it."""
    shutil.copytree(exported / "target", tmp_path / "target")
    return tmp_path / "target"


def _columns(*columns: Column, **changed: Any) -> Any:
    return provenance(columns=columns, **changed)


_LABEL, _NAME = _MADE.columns


@pytest.mark.parametrize(
    ("made", "options", "said"),
    [
        (_MADE, ["--dtype=float16"], "--dtype=float32 -> float16."),
        (_MADE, ["--normalize"], "without --normalize -> with it."),
        (_MADE, ["--format=npy"], "--format=parquet -> npy."),
        (
            _columns(_LABEL, _NAME, num_features=5),
            [],
            "vectors of 4 values -> of 5; num_features 4 -> 5.",
        ),
        (
            _columns(_LABEL, _NAME, content_hash="d" * 64, handle="n"),
            [],
            "model m (hash cccccccccccc) -> n (hash dddddddddddd).",
        ),
        (_columns(_LABEL, _NAME, precision="int8"), [], "precision float32 -> int8."),
        (
            dataclasses.replace(
                _MADE, decode=dataclasses.replace(_MADE.decode, resize="center_crop")
            ),
            [],
            "resize stretch -> center_crop.",
        ),
        (_MADE, ["--columns=label"], "columns: uri is missing, sha256 is missing"),
        (
            _columns(_LABEL, dataclasses.replace(_NAME, kind=Kind.BYTES)),
            [],
            "columns: name string -> bytes.",
        ),
        (
            _columns(_LABEL, _NAME, Column("more", Kind.BOOL)),
            [],
            "columns: more is new. Pass --columns=uri,sha256,format,width,height,label,name to go "
            "on as before",
        ),
        (provenance(models=["a", "b"]), ["--features=b"], "--features= -> b; columns: label is"),
        (provenance(models=["a", "b"]), [], "one of them must be named; see --features."),
    ],
)
def test_other_rows_are_refused(target, tmp_path, capsys, made, options, said):
    values = {"label": 7, "name": b"x", "more": True}
    write_run(tmp_path / "out", "2", {"a": 2}, made=made, values=values | {"name": "x"}, day=2)
    assert said in refused(capsys, tmp_path / "out", target, "--since=last", *options)


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (
            _columns(_NAME, _LABEL),
            ["--columns=name,vector,height,label,width,key,format,sha256,uri"],
        ),
        (_columns(dataclasses.replace(_LABEL, nullable=True), _NAME), []),
        (_columns(_LABEL, _NAME, engine="litert", max_cosine_difference=1e-9, handle="moved"), []),
        (
            _columns(_LABEL, _NAME, Column("more", Kind.BOOL)),
            ["--columns=uri,sha256,format,width,height,label,name"],
        ),
    ],
)
def test_what_means_the_same_goes_on(exported, target, tmp_path, made, options):
    shutil.copytree(exported / "out", tmp_path / "out")
    values = {"label": 7, "name": "x", "more": True}
    write_run(tmp_path / "out", "2", {"a": 2}, made=made, values=values, day=2)
    first, second = export(tmp_path / "out", target, "--since=last", *options)
    schemas = [pq.read_schema(found.path(found.all_files[0])) for found in (first, second)]
    assert schemas[0].equals(schemas[1])
    assert state(target) == keyed(a=2, b=1)


def test_hidden_runs_are_not_exported(out, tmp_path, capsys):
    target = tmp_path / "target"
    export(out, target)
    write_run(out, "2", {"a": 2}, day=2, made=provenance(content_hash="d" * 64))
    assert "model m (hash c" in refused(capsys, out, target, "--since=last")
    export(out, tmp_path / "whole")
    assert state(tmp_path / "whole") == keyed(a=2)
    # A run by its own name is a dataset of its own.
    export(out / "1", tmp_path / "one")
    assert state(tmp_path / "one") == keyed(a=1, b=1, c=1)


def test_the_vectors_of_one_of_several_models(tmp_path):
    write_run(tmp_path / "out", "1", {"a": 1}, made=provenance(models=["x", "y"]))
    for name, first in (("x", 1), ("y", 101)):
        export(tmp_path / "out", tmp_path / name, f"--features={name}")
        assert state(tmp_path / name) == keyed(a=first)


def test_what_version_0_1_has_written(tmp_path, capsys):
    data = pathlib.Path(__file__).parents[1] / "data/v0_1/image-features-v0_1/dataset"
    shutil.copytree(data, tmp_path / "data")
    arrays = image_features.load_numpy(str(tmp_path / "data"))
    export(tmp_path / "data", tmp_path / "x")
    firsts = dict(zip(arrays.keys.tolist(), arrays.features[:, 0].tolist(), strict=True))
    assert len(firsts) > 10 and state(tmp_path / "x") == firsts
    run = image_features.runs(str(tmp_path / "data"))[0]

    def without_index(record: dict[str, Any]) -> None:
        record["files"] = [file for file in record["files"] if file["kind"] != "index"]

    rewrite(pathlib.Path(run.directory), without_index)
    said = refused(capsys, tmp_path / "data", tmp_path / "y")
    assert f"The run {run.directory} has no index, as of an earlier version" in said


def test_places_that_are_no_targets(out, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(out)
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    for place in (out, tmp_path / "link", f"{out}/"):
        assert f"{place} is the dataset itself" in refused(capsys, out, place)
    assert "is the dataset itself" in refused(capsys, out / "1", out / "1")
    assert "is the dataset itself" in refused(capsys, out / "1", out)
    assert "is in the run 1, which `gc` may remove" in refused(capsys, out, out / "1" / "x")
    for place in (tmp_path, tmp_path / "file", tmp_path / "nowhere"):
        assert "exists already and holds no export" in refused(capsys, out, place)
    assert "file/x cannot be used: " in refused(capsys, out, tmp_path / "file" / "x")
    assert "--columns=nope is none of the dataset's; it has uri, sha256" in refused(
        capsys, out, tmp_path / "x", "--columns=uri,nope"
    )
    assert "no committed run" in refused(capsys, tmp_path / "none", tmp_path / "x")
    # Empty directories, links to them and relative paths are as good as new ones; so is a place
    # in the dataset, which `gc` and `inspect` pass over.
    (tmp_path / "empty").mkdir()
    (tmp_path / "to-empty").symlink_to(tmp_path / "empty")
    monkeypatch.chdir(tmp_path)
    export("out", "to-empty")
    assert state(tmp_path / "empty") == keyed(a=1, b=1, c=1)
    image_features.export("out", "out/export", num_shards=1)
    before = files(out / "export")
    (out / "export" / ".staging").mkdir()
    (out / "export" / ".staging" / "launch.json").write_text("{}")
    assert cli.main(["gc", str(out), "--died_days=0"]) == 0
    assert cli.main(["inspect", str(out)]) == 0
    assert set(before) <= set(files(out / "export"))


class Died(BaseException):
    pass


def test_an_attempt_that_died_is_taken_up(out, tmp_path, monkeypatch, capsys):
    undisturbed, target = tmp_path / "undisturbed", tmp_path / "target"
    export(out, undisturbed)

    def die(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(commit_export, "publish", die)
        export(out, target, code=1)
    assert f"{target}: No space left on device." in capsys.readouterr().err
    assert not exports_in(str(target))
    export(out, target)
    names = [name for name in files(target) if name != ".export.json"]
    assert names and files(target) == files(undisturbed)
    for name in names:
        assert (target / name).read_bytes() == (undisturbed / name).read_bytes()
    # It may have died when it had committed: then its staging is cleared away.
    (target / ".staging").mkdir()
    (target / ".staging" / "launch.json").write_text("{}")
    export(out, target)
    assert files(target) == files(undisturbed)
    assert f"{target} is committed already." in capsys.readouterr().out
    message = refused(capsys, out, target, "--dtype=float16")
    assert "was committed from other runs or with other options; pass --since=last" in message


def test_an_attempt_at_other_rows_gives_way(out, tmp_path, monkeypatch, capsys):
    target = tmp_path / "target"
    with monkeypatch.context() as patch:
        patch.setattr(commit_export, "publish", None)
        export(out, target, "--num_shards=5", code=1)
    assert len([name for name in files(target) if name.startswith("vectors-")]) == 5
    write_run(out, "2", {"b": 2}, day=2)
    claim = Claim(str(target / ".staging"))
    claim.take()
    said = refused(capsys, out, target, "--since=last", code=4)
    assert f"{target} is held, by an export of other rows or with other options: " in said
    claim.give_up()
    (found,) = export(out, target, "--since=last")
    # Whoever reads all files of the directory finds each row once.
    assert files(target) == sorted([".export.json", *(file.name for file in found.all_files)])
    assert state(target) == keyed(a=1, b=2, c=1)


def test_the_dataset_may_go_on_meanwhile(out, tmp_path, monkeypatch, capsys):
    commit = commit_export.publish
    target = tmp_path / "target"

    def late(*arguments: Any) -> Any:
        write_run(out, "2", {"d": 2}, day=2)
        return commit(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(commit_export, "publish", late)
        export(out, target)
    assert state(target) == keyed(a=1, b=1, c=1)
    export(out, target, "--since=last")
    assert state(target) == keyed(a=1, b=1, c=1, d=2)


def test_a_dataset_whose_runs_go_meanwhile(out, tmp_path, monkeypatch, capsys):
    from image_features.pipeline.launch import job

    target = tmp_path / "target"
    submit = job._submit

    def gone(*arguments: Any) -> Any:
        shutil.move(out / "1", tmp_path / "aside")
        return submit(*arguments)

    monkeypatch.setattr(job, "_submit", gone)
    export(out, target, code=1)
    assert "No such file" in capsys.readouterr().err
    assert exports_in(str(target)) == []


def test_the_library_exports_too(out, tmp_path):
    found = image_features.export(str(out), str(tmp_path / "x"), dtype="float16", columns="uri")
    assert (found.rows, found.counts.rows_out) == (3, 3)
    table = pq.read_table(found.path(found.all_files[0]))
    assert table.column_names == ["key", "uri", "vector"]
    assert set(table["uri"].to_pylist()) <= {uri_of(name) for name in "abc"}
    again = image_features.export(
        str(out), str(tmp_path / "x"), since="last", dtype="float16", columns="uri"
    )
    assert again.record == found.record
    with pytest.raises(image_features.UsageError, match="has no option 'json'"):
        image_features.export(str(out), str(tmp_path / "y"), json=True)
