"""What makes pages of templates, which nobody's text can turn into something else.

URIs, messages and column values may be anybody's text. Marks of direction and other characters that
nobody sees are written out, and secrets in URLs hidden. Jinja escapes what is HTML; and a page's
policy runs no script but its own, by their hashes, and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from image_features.pipeline.terminal import shown

_SHARED = "image_features.pipeline.report"


def make_environment(package: str) -> jinja2.Environment:
    """Returns the environment of a package's templates, which may include those of the report."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in (package, _SHARED)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=all_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def all_shown(value: Any) -> Any:
    """Returns what goes into a page as users may see it; markup of our own stays as it is."""
    if isinstance(value, Mapping):
        return {all_shown(key): all_shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [all_shown(item) for item in value]
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def policy_for(scripts: Sequence[str]) -> str:
    """Returns the policy of a page that runs these scripts, and no other."""
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
