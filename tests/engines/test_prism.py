"""Prism, Beam's own portable runner, with workers that are processes of their own."""

import json
import os
import sys

import pytest

from pipeline import cli, dataset, inspection
from pipeline.layout import read_run
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
        assert inspection.verify(str(output)) == []
        run = read_run(str(output / "run"))
        assert run["counts"]["failed_by_reason"] == {"corrupt": 1}
        assert len(dataset.load_numpy(str(output)).uris) == 40
        assert not (output / "run" / ".staging").exists()
        found[name] = runs.shard_files(str(output / "run"))
    assert found["prism"] == found["local"]
