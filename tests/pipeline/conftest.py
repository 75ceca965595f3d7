from __future__ import annotations

import pytest

from image_features.pipeline.cli import main as cli


@pytest.fixture
def extract(tmp_path):
    """Runs `extract` in this process; returns the run's directory."""

    def run(input, *options, run_id="run", output=None, code=0):
        output = output or tmp_path / "out"
        arguments = [f"--input={input}", f"--output={output}", f"--run_id={run_id}"]
        result = cli.main(["extract", "--model=untrained", *arguments, *options])
        assert result == code
        return output / run_id

    return run
