"""Every regular expression of the product takes time in proportion to its text, whatever it is."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parents[1]
METHODS = frozenset(["search", "match", "fullmatch", "sub", "subn", "findall", "finditer", "split"])
UNITS = [
    *["a", "1", "a1", "a.", "a-", " ", "\n", "\t ", "\0", "\u00e9", "/", "//", "://", "a://b@"],
    *["?a=b&", "&", "=", "#", "%", "%4", "errors-", "/errors-00000-of-", "[]", "?", "a: ", ","],
]
SIZE = 300_000
TEXTS = [*[f"{unit * (SIZE // len(unit))}!" for unit in UNITS], "errors-" + "1" * SIZE]


def _uses(path: pathlib.Path) -> Iterator[tuple[Any, str]]:
    """Yields the expressions of a module, each with the name of a method that it is used by."""
    tree = ast.parse(path.read_text())
    inline = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [node for node in inline if isinstance(node.func, ast.Attribute)]
    if not any(isinstance(node, ast.Import) and node.names[0].name == "re" for node in tree.body):
        return
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    known = vars(importlib.import_module(f"image_features.{name}"))
    for call in calls:
        of, method = call.func.value, call.func.attr  # type: ignore[attr-defined]
        if method not in METHODS or not isinstance(of, ast.Name):
            continue
        if of.id == "re" and isinstance(call.args[0], ast.Constant):
            yield re.compile(call.args[0].value), method  # type: ignore[arg-type]
        elif isinstance(known.get(of.id), re.Pattern):
            yield known[of.id], method
    yield from ((value, "search") for key, value in known.items() if key.startswith("_SECRETS"))


def _all_uses() -> list[tuple[Any, str]]:
    files = sorted(
        file for top in ("models", "transforms", "pipeline") for file in (ROOT / top).rglob("*.py")
    )
    return list(dict.fromkeys(use for file in files for use in _uses(file)))


USES = _all_uses()


@pytest.mark.parametrize(("pattern", "method"), USES, ids=[f"{p.pattern!r:.30}" for p, _ in USES])
def test_it_is_linear(pattern, method):
    assert len(USES) > 10
    for text in TEXTS:
        given = text.encode() if isinstance(pattern.pattern, bytes) else text
        begun = time.thread_time()
        if method in ("sub", "subn"):
            getattr(pattern, method)(given[:0], given)
        elif method == "finditer":
            list(pattern.finditer(given))
        else:
            getattr(pattern, method)(given)
        assert time.thread_time() - begun < 3, text[:20]  # Quadratic time takes minutes.
