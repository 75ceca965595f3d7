"""Which runs of a dataset are read together, and what a new one may not hide unasked."""

from __future__ import annotations

import dataclasses
import json
import logging

import pytest

from image_features.errors import UsageError
from image_features.models.identity import ModelIdentity
from image_features.models.scaling import Scaling
from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset.file_list import Commit, FileList
from image_features.pipeline.dataset.provenance import VECTORS_DEPEND_ON, Provenance
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import Series, check_fit
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.manifests.columns import parse_column_types
from tests import images, runs


def made(columns: str = "", **changes: object) -> Provenance:
    provenance = runs.made_otherwise(runs.config("/d/x"), **changes).provenance
    return dataclasses.replace(provenance, columns=tuple(parse_column_types(columns).values()))


def run(name: str, provenance: Provenance, rows: int = 10) -> Run:
    counts = {"rows_in": rows, "rows_out": rows, "rows_failed": 0, "failed_by_reason": {}}
    record = {"run_id": name, "finished": name, "counts": counts, **provenance.to_json()}
    return Run(f"/d/{name}", Commit(record, FileList.of([])))


def seen(*current: Run) -> list[str]:
    return [run.run_id for run in Series.of(current).runs]


def test_every_field_is_told_apart():
    for of, fields in VECTORS_DEPEND_ON.items():
        assert {field.name for field in dataclasses.fields(of)} == set(fields), of
    # Only what run.json holds can be compared.
    recorded = (ModelIdentity, DecodePolicy)
    assert all(
        of in recorded or not any(fields.values()) for of, fields in VECTORS_DEPEND_ON.items()
    )


OTHER = {
    "content_hash": "other",
    "image_size": (7, 7),
    "num_features": 7,
    "precision": "int8",
    "resize": "pad",
    "decode": "exact",
    "background": (0, 0, 0),
    "handle": "other",
    "engine": "litert",
    "max_cosine_difference": 0.5,
    "allow_truncated": True,
    "max_pixels": 7,
    "max_bytes": 7,
    "timeout": 7.0,
    "further_sizes": ((7, 8),),
    "scaling": Scaling.of_range(-1, 1),
    "decode_revision": 7,
    "interpolation": "bicubic",
    "antialias": False,
}


@pytest.mark.parametrize("of", [ModelIdentity, DecodePolicy])
def test_a_field_counts_as_it_is_told(of):
    mine = made()
    for name, counts in VECTORS_DEPEND_ON[of].items():
        if of is ModelIdentity:
            changed = {"models": {"": dataclasses.replace(mine.models[""], **{name: OTHER[name]})}}
        else:
            changed = {"decode": dataclasses.replace(mine.decode, **{name: OTHER[name]})}
        other = dataclasses.replace(mine, **changed)
        assert mine.is_comparable(other) is not counts, name
        assert bool(mine.differences(other)) is counts, name


def test_a_series_has_one_model_one_preprocessing_and_one_type_a_column():
    plain, padded = made("n:int64"), made("n:int64", resize="pad")
    assert seen(run("3", plain), run("2", padded), run("1", made("n:int64?,m:string"))) == [
        "3",
        "1",
    ]
    # No run between two that can be read together changes what they are.
    wrong = run("2", made("n:string"))
    assert seen(run("3", plain), wrong, run("1", plain)) == ["3", "1"]
    assert seen(wrong, run("1", plain)) == ["2"]
    series = Series.of([wrong, run("1", plain), run("0", padded, rows=0)])
    assert [run.run_id for run in series.hidden] == ["1"]
    assert series.hidden_in_words() == (
        "10 rows are hidden, in 1 other run(s) such as 1, which differs from 2 "
        "(column n int64 -> string)"
    )


@pytest.mark.parametrize(
    ("provenance", "says"),
    [
        (made("n:int64?,m:float32[]"), None),
        (made("n:int64", handle="a copy", max_pixels=1), None),
        (made("n:int64", resize="pad"), r"10 rows of the run 1 .* \(resize stretch -> pad\)"),
        (
            made("n:int64", content_hash="other", num_features=7, handle="new"),
            r"\(model m \(hash h\) -> new \(hash other\)\)\. Run .* --new_series to mean it",
        ),
        (made("n:string"), r"'n' holds int64 in /d/1 and string in the input; .*n:int64, or"),
    ],
)
def test_a_new_run_hides_nothing_unasked(provenance, says):
    current = [run("1", made("n:int64"))]
    if says is None:
        check_fit(current, provenance)
    else:
        with pytest.raises(UsageError, match=says):
            check_fit(current, provenance)
    check_fit([], provenance)
    # A run without rows has nothing that could be hidden, nor has one that is hidden already.
    check_fit([run("2", provenance), *current], provenance)
    check_fit([run("1", made("n:int64"), rows=0)], provenance)


def test_a_series_is_begun_on_purpose_only(extract, photos, tmp_path, capsys, caplog):
    out = tmp_path / "out"
    extract(photos, run_id="1")
    manifest = tmp_path / "m.jsonl"
    images.write(photos / "new.jpg", 7)
    manifest.write_text(json.dumps({"uri": str(photos / "new.jpg")}))
    assert not extract(manifest, "--resize=pad", run_id="2", code=2).exists()
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"cannot join the dataset {out}: it would hide the 9 rows of the run 1" in said
    extract(manifest, "--resize=pad", "--new_series", run_id="2")
    # The same command finds its run, whatever else there is.
    extract(manifest, "--resize=pad", run_id="2")
    extract(photos, run_id="1")
    assert cli.main(["inspect", str(out)]) == 0
    hidden = "9 rows are hidden, in 1 other run(s) such as 1, which differs from 2"
    assert f"hidden    {hidden} (resize stretch -> pad)" in capsys.readouterr().out
    assert cli.main(["inspect", str(out / "1")]) == 0
    assert "hidden" not in capsys.readouterr().out
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert cli.main(["compact", str(out)]) == 0
    assert hidden in caplog.text


def test_what_was_said_of_archives_is_recorded_and_hinders_nothing():
    said = ArchiveOptions(members=("jpg", "png"), column="image", feature="image/encoded")
    mine, plain = dataclasses.replace(made(), archives=said), made()
    assert Provenance.from_json(mine.to_json()).archives == said
    assert "archives" not in plain.to_json()
    assert Provenance.from_json(plain.to_json()).archives == ArchiveOptions()
    assert mine.is_comparable(plain)
