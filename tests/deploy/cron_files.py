"""The files of deploy/cron, read for tests."""

import re

from image_features import errors
from tests.deploy.files import ROOT

HERE = ROOT / "deploy" / "cron"
SCRIPT = HERE / "nightly.sh"
README = (HERE / "README.md").read_text()
CODES = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
NO_RETRY = {errors.EXIT_USAGE, errors.EXIT_OVER_BUDGET, errors.EXIT_GUARDED}
VARIABLES = {"INPUT": "/photos", "OUTPUT": "/features"}
TONIGHT = "nightly-20251126"  # It is the 26th in Greenwich, and the 27th in Berlin.


def given(*more, run_id=TONIGHT):
    """Returns what the script gives to `image-features`."""
    return [
        *("extract", "--incremental", "--input=/photos", "--output=/features"),
        f"--run_id={run_id}",
        *more,
    ]


def unit(name):
    """Reads a unit file: the lists of values by their names, by section."""
    text = re.sub(r"\\\n", " ", (HERE / name).read_text())
    sections = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def seconds(text):
    """Reads a duration as systemd writes it."""
    units = {"h": 3600, "min": 60, "s": 1, "": 1}
    number, name = re.fullmatch(r"(\d+)(h|min|s|)", text).groups()
    return int(number) * units[name]


SERVICE, TIMER = unit("image-features.service"), unit("image-features.timer")


def one(section, key, of=SERVICE):
    """Returns the only value of a name in a unit."""
    (value,) = of[section][key]
    return value


def settings():
    """Reads nightly.env as systemd does, and what is commented out in it too."""
    lines = (HERE / "nightly.env").read_text().splitlines()
    pairs = [re.fullmatch(r"(?:# )?([A-Z_]+)=\"([^\"$`\\]*)\"", line) for line in lines]
    return {pair[1]: pair[2] for pair in pairs if pair}
