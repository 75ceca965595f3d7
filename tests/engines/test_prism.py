"""Prism, Beam's own portable runner, with workers that are processes of their own."""

import json
import os
import sys

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run, read_record
from tests import images, runs, tools


@pytest.fixture
def photos(tmp_path):
    return images.write_noise(tmp_path / "photos", 40)


def worker():
    command = os.path.join(os.path.dirname(sys.executable), "image-features-worker")
    return json.dumps({"command": command})


@pytest.mark.parametrize(
    "environment",
    [[], ["--environment_type=PROCESS", f"--environment_config={worker()}"]],
    ids=["loopback", "process"],
)
def test_the_same_bytes_as_a_local_run(photos, tmp_path, environment):
    prism = f"--prism_location={tools.go_program(tools.PRISM)}"
    found = {}
    for name, options in (
        ("prism", ["--runner=PrismRunner", prism, *environment]),
        ("local", []),
    ):
        output = tmp_path / name
        arguments = [f"--input={photos}", f"--output={output}", "--run_id=run", "--num_shards=3"]
        assert cli.main(["extract", "--model=untrained", *arguments, *options]) == 0
        assert inspection.verify(latest_run(str(output))) == []
        run = read_record(str(output / "run"))
        assert run["counts"]["failed_by_reason"] == {"corrupt": 1}
        assert len(dataset.load_numpy(str(output)).uris) == 40
        assert not (output / "run" / ".staging").exists()
        found[name] = runs.shard_files(str(output / "run"))
    assert found["prism"] == found["local"]


def test_nights_and_their_merging(photos, tmp_path):
    prism = [
        "--runner=PrismRunner",
        f"--prism_location={tools.go_program(tools.PRISM)}",
        "--environment_type=PROCESS",
        f"--environment_config={worker()}",
    ]
    saved = {path.name: path.read_bytes() for path in photos.iterdir()}
    found = {}
    for name, options in (("prism", prism), ("local", [])):
        for file, data in saved.items():
            if not (photos / file).exists() or (photos / file).read_bytes() != data:
                (photos / file).write_bytes(data)
        output = tmp_path / name
        arguments = [f"--input={photos}", f"--output={output}", "--incremental", *options]

        def night(run_id, *more, arguments=arguments, output=output):
            command = ["extract", "--model=untrained", f"--run_id={run_id}", *arguments, *more]
            assert cli.main(command) == 0
            return read_record(str(output / run_id))["counts"]

        first = night("1", "--num_shards=3")
        (photos / "1.jpg").write_bytes(images.encode(images.noise(101)))
        (photos / "2.jpg").unlink()
        second = night("2", "--tombstone_removed")
        assert cli.main(["compact", str(output), "--run_id=all", *options]) == 0
        assert inspection.verify(latest_run(str(output / "all"))) == []
        merged = read_record(str(output / "all"))["counts"]
        found[name] = [first, second, merged]
        target = tmp_path / f"{name}-exported"
        assert cli.main(["export", str(output / "1"), str(target), *options]) == 0
        found[name].append([path.read_bytes() for path in sorted(target.glob("*.parquet"))])
        found[name] += [runs.shard_files(str(output / run)) for run in ("1", "2", "all")]
        (photos / "2.jpg").write_bytes(saved["2.jpg"])
    assert found["prism"] == found["local"]
    counts = found["local"][1]
    assert (counts["rows_out"], counts["rows_unchanged"], counts["rows_removed"]) == (1, 38, 1)
    assert found["local"][2]["rows_out"] == 39
