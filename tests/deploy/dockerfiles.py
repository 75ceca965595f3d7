"""Dockerfiles, as Docker reads them, and what would be wrong with them."""

import fnmatch
import json
import pathlib
import re
import shlex

from tests.deploy.files import ROOT


def instructions(text):
    """Reads pairs of an instruction and its arguments, as Docker does."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name.upper(), " ".join(rest.split())) for name, rest in pairs]


def build_arguments(found):
    return dict(rest.split("=", 1) for name, rest in found if name == "ARG" and "=" in rest)


def fill_in(text, values):
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], match[0]), text)


def complaints(text):
    """Lists what is wrong with a Dockerfile, by rules of hadolint and of this repository."""
    found, stages = instructions(text), set()
    values = build_arguments(found)
    for name, rest in found:
        words = rest.split()
        if name == "FROM":
            image = fill_in(words[0], values)
            tag = image.rpartition("/")[2].partition(":")[2].partition("@")[0]
            if image not in stages and (not tag or tag == "latest" or "$" in image):
                yield f"FROM {image} is not pinned"
            stages |= {words[2]} if len(words) == 3 and words[1].upper() == "AS" else set()
        elif name == "ADD":
            yield "ADD is not COPY"
        elif name == "COPY":
            options = [word for word in words if word.startswith("--")]
            sources = [word for word in words if not word.startswith("--")][:-1]
            stage = next((o.partition("=")[2] for o in options if o.startswith("--from=")), None)
            if stage is not None and stage not in stages:
                yield f"COPY --from={stage} is from no stage"
            for source in sources if stage is None else []:
                if is_ignored(source):
                    yield f"COPY {source} is ignored"
                elif not (ROOT / source).exists():
                    yield f"COPY {source} is not there"
        elif name == "WORKDIR" and not words[0].startswith("/"):
            yield f"WORKDIR {words[0]} is not absolute"
        elif name in ("ENTRYPOINT", "CMD") and not isinstance(as_json(rest), list):
            yield f"{name} is not in exec form"
        elif name == "RUN":
            yield from _complaints_of_commands(rest)


def _complaints_of_commands(line):
    for command in re.split(r"&&|\|\||;", line):
        words = shlex.split(command)
        if words[:2] == ["apt-get", "install"]:
            wanted = {"-y", "--no-install-recommends"} - set(words)
            yield from (f"apt-get install without {option}" for option in sorted(wanted))
        if words[:1] == ["pip"] and words[1] in ("install", "wheel", "download"):
            if "--no-cache-dir" not in words:
                yield f"pip {words[1]} without --no-cache-dir"
            if words[1] == "install" and not any(w.startswith("--constraint=") for w in words):
                yield "pip install without --constraint"
        if words[:1] == ["sudo"]:
            yield "sudo"


def as_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def is_ignored(path):
    """Tells whether .dockerignore keeps a path out of the build, by the patterns that it has."""
    patterns = (ROOT / ".dockerignore").read_text().split()
    assert not any(pattern.startswith(("!", "#", "/")) for pattern in patterns)
    return any(
        fnmatch.fnmatchcase(each.name, pattern.removeprefix("**/"))
        if pattern.startswith("**/")
        else fnmatch.fnmatchcase(str(each), pattern)
        for each in (pathlib.PurePosixPath(path), *pathlib.PurePosixPath(path).parents)
        for pattern in patterns
    )
