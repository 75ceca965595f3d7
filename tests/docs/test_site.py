"""The documentation: its site builds, and what it says of commands and options is so."""

import ast
import os
import re
import subprocess
import sys

import pytest

from image_features.pipeline.cli import export
from image_features.pipeline.cli.parsing import OptionParser
from tests.deploy.files import OURS, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = {path.stem for path in (ROOT / "pipeline" / "cli").glob("*.py")}
# What loads something into a page; links that a reader may follow are not meant.
FETCHED = re.compile(r"<(?:script|img|iframe)[^>]*\bsrc=\"https?://|<link[^>]*\bhref=\"https?://")


def named(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. A link to nowhere or a name that is not in the code ends the build."""
    pytest.importorskip("mkdocs", reason="There is no mkdocs; it comes with the extra [docs].")
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={target}"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_the_site_has_every_page(site):
    for page in ("troubleshooting", "library", "deploy/airflow", "CONTRIBUTING", "CHANGELOG"):
        assert (site / page / "index.html").stat().st_size > 1000
    assert (site / "deploy/airflow/image_features_nightly.py").exists()
    assert not (site / "hooks.py").exists()


def test_the_reference_comes_from_docstrings(site):
    steps = (site / "reference/transforms/index.html").read_text()
    for step in ("ReadManifest", "FetchImages", "WriteFeatureShards"):
        assert f'id="image_features.transforms.{step}"' in steps or f".{step}" in steps
    assert "UsageError" in (site / "reference/errors/index.html").read_text()


def test_the_site_fetches_nothing(site):
    for page in site.rglob("*.html"):
        assert not FETCHED.search(page.read_text()), page


def test_every_option_is_in_the_table():
    rows = re.findall(r"^\| (`--.*?) \|", (ROOT / "docs/options.md").read_text(), re.M)
    listed = {name for row in rows for name in re.findall(r"--(\w+)", row)}
    assert listed == set(OURS)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_examples_are_python(page):
    for example in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        ast.parse(example)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files(page):
    """On GitHub, where nothing rewrites them."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def sentences():
    """Every text in the code, with `...` for what is filled in."""
    for folder in ("models", "transforms", "pipeline", "image_features"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "..."
                        for part in node.values
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield re.sub(r"%[srdg.\d]+|%r", "...", node.value)


def test_troubleshooting_quotes_what_is_said():
    page = (ROOT / "docs/troubleshooting.md").read_text()
    said = list(sentences())
    for heading in re.findall(r"^### `(.*)`$", page, re.M):
        # The parts of a sentence may be put together from several texts.
        for part in filter(None, (part.strip(" .:") for part in heading.split("..."))):
            assert any(part in text for text in said), f"{heading}: {part}"


def test_contributing_names_what_is_there():
    """Names in the walks through the files, each in the files that its step links to."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    steps = re.findall(r"^\d\. \[.*?(?=^\d\. |^#|\Z)", page, re.M | re.S)
    assert len(steps) > 10
    for step in steps:
        linked = [ROOT / name for name in re.findall(r"\]\(([\w/]+\.py)\)", step)]
        code = "".join(path.read_text() for path in linked)
        names = re.findall(r"`(\w{4,})`", step) if linked else []
        assert [name for name in names if name not in code and name not in COMMANDS] == [], step


def test_every_option_of_an_export_is_on_its_page():
    parser = OptionParser(add_help=False)
    export.add_arguments(parser)
    options = {name for action in parser._actions for name in action.option_strings}
    page = (ROOT / "docs/export.md").read_text()
    assert set(re.findall(r"^\| `(--\w+)` \|", page, re.M)) == options
