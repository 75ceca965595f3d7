"""What run.json and health.json say of each model of a run.

One that needs no name is described at the top, as it always was; several are under `models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Section = Mapping[str, Any]


def by_model(sections: Mapping[str, Section]) -> dict[str, Any]:
    """Returns the object for JSON that tells what is said of each model, by the models' names."""
    if sections.keys() == {""}:
        return dict(sections[""])
    return {"models": {name: dict(section) for name, section in sections.items()}}


def sections_in(value: Section | None) -> dict[str, Section]:
    """Returns what `by_model` was given; nothing where nothing is said."""
    if value is None:
        return {}
    return dict(value["models"]) if "models" in value else {"": value}
