"""The handle of a model as messages show it."""

from __future__ import annotations


def shown(handle: str) -> str:
    """Returns a handle without what may be a secret: user and password, and a URL's query."""
    scheme, separator, rest = handle.partition("://")
    if not separator:
        return handle
    body = rest
    if scheme.lower() in ("http", "https"):
        body = rest.partition("#")[0].partition("?")[0]
    host, slash, path = body.partition("/")
    hidden = "" if body == rest else "?..."
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{hidden}"
