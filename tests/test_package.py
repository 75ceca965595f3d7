"""What `import image_features` brings, and what it costs."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys

import pytest

import image_features

SCRIPT = """
import json, sys, time
begun = time.perf_counter()
import image_features
seconds = time.perf_counter() - begun
heavy = {"apache_beam", "tensorflow", "numpy", "pyarrow", "PIL"} & set(sys.modules)
print(json.dumps([seconds, sorted(heavy), "extract" in dir(image_features)]))
"""


def test_the_import_is_quick_and_takes_nothing_heavy():
    times = []
    for _ in range(3):
        output = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True)
        seconds, heavy, listed = json.loads(output.stdout)
        assert heavy == [] and listed
        times.append(seconds)
    assert min(times) < 0.1


@pytest.mark.parametrize("name", image_features.__all__)
def test_every_public_name_is_there_and_described(name):
    value = getattr(image_features, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)


def test_type_checkers_are_told_the_same_names():
    tree = ast.parse(inspect.getsource(image_features))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = image_features._HOMES.items()
    assert told == {name: f"image_features.{module}" for name, module in homes}


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = image_features.nonsense
