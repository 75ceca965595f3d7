"""Takes files from outside docs/ into the site, and makes links to them work there.

On GitHub the pages link to `../deploy/...` and from there to `../../docs/...`. The site has
deploy/ inside of its root and docs/ as its root, so that both ways get shorter.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = pathlib.Path(__file__).parents[1]
_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "NOTICE")
_SOURCES = ("image_features", "models", "pipeline", "transforms")
_NOT_PAGES = {".py", ".txt", ".yaml", ".json", ".sh", ".env", ".service", ".timer", ".properties"}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of deploy/, and the files that they link to."""
    paths = [_ROOT / name for name in _PAGES]
    for path in sorted((_ROOT / "deploy").rglob("*")):
        if path.name == "README.md" or path.suffix in _NOT_PAGES or path.name == "crontab":
            paths.append(path)
    for path in paths:
        source = path.relative_to(_ROOT).as_posix()
        files.append(File.generated(config, source, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrites links that lead out of docs/, or back into it."""
    if page.file.src_uri.startswith("deploy/"):
        return re.sub(r"\]\(\.\./\.\./docs/", "](../../", markdown)
    markdown = re.sub(r"\]\(\.\./(?=deploy/|[A-Z]+(?:\.md)?[)#])", "](", markdown)
    if page.file.src_uri in _PAGES:
        markdown = re.sub(r"\]\(docs/", "](", markdown)
        # The site has no source code: what leads there on GitHub is the name of a file.
        markdown = re.sub(rf"\[[^\]]+\]\(((?:{'|'.join(_SOURCES)})/[^)]+)\)", r"`\1`", markdown)
    return markdown
