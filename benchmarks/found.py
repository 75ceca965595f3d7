"""Which planted duplicates of photographs are found, by the product and by other tools."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import measure, variants
from benchmarks.synthetic import photographs
from image_features.pipeline.dataset.reading import load_numpy

_CONTENDERS = pathlib.Path(__file__).parent / "contenders"
# The module, the row's name and its options.
_PEERS: Sequence[tuple[str, str, tuple[str, ...]]] = (
    ("imagededup_pairs.py", "imagededup PHash 10", ()),
    ("imagededup_pairs.py", "imagededup PHash 6", ("--threshold=6",)),
    ("imagededup_pairs.py", "imagededup DHash 10", ("--method=DHash",)),
    ("fastdup_pairs.py", "fastdup 0.96", ()),
    ("fastdup_pairs.py", "fastdup 0.9", ("--threshold=0.9",)),
)
# What another environment must not find.
_CLEAN = {"PYTHONPATH": ""}


@dataclasses.dataclass(frozen=True)
class Place:
    """A directory of photographs and of their variants.

    Attributes:
      images: The directory.
      scratch: A directory for what is made of them.
      originals: The number of photographs.
    """

    images: pathlib.Path
    scratch: pathlib.Path
    originals: int

    @classmethod
    def plant(cls, images: pathlib.Path, scratch: pathlib.Path) -> Place:
        """Makes the variants of a directory's photographs."""
        return cls(scratch / "planted", scratch, variants.plant(images, scratch / "planted"))

    def by_model(self, model: str, thresholds: Sequence[float]) -> list[dict[str, object]]:
        """Returns a row for each threshold: the shares of variants that are as near as that."""
        name = f"{len(list(self.scratch.iterdir()))}"
        run = photographs(self.images, self.scratch / name, [f"--model={model}"])
        seconds = json.loads((run / "run.json").read_text())["duration_seconds"]
        arrays = load_numpy(str(run))
        of = [variants.parse_name(uri) for uri in arrays.uris]
        units = arrays.features / np.linalg.norm(arrays.features, axis=1, keepdims=True)
        rows = []
        for threshold in thresholds:
            out = self.scratch / f"{name}-{threshold}"
            command = [sys.executable, "-m", "image_features", "dedup", str(run), str(out)]
            usage = measure.run([*command, f"--threshold={threshold}", "--samples=0"])
            pairs = near(units, threshold)
            row = {"tool": f"ours, {pathlib.PurePath(model).name} {threshold:g}"}
            row |= tell(of, pairs, self.originals)
            row |= {"seconds": round(seconds + usage.seconds, 1)}
            rows.append({**row, **of_groups(read_groups(out))})
        return rows

    def by_peers(self, python: str) -> list[dict[str, object]]:
        """Returns a row for each other tool that an environment has."""
        rows = []
        for module, name, options in _PEERS:
            pairs = self.scratch / "pairs.json"
            command = [python, str(_CONTENDERS / module), f"--images={self.images}"]
            try:
                usage = measure.run([*command, f"--pairs={pairs}", *options], env=_CLEAN)
            except RuntimeError as error:
                print(f"{name} is left out: {str(error).splitlines()[-1]}", file=sys.stderr)
                continue
            names = json.loads(pairs.read_text())
            files = sorted({file for pair in names for file in pair})
            number = {file: place for place, file in enumerate(files)}
            found = np.array([[number[file] for file in pair] for pair in names]).reshape(-1, 2)
            row = tell([variants.parse_name(file) for file in files], found, self.originals)
            rows.append({"tool": name, **row, "seconds": round(usage.seconds, 1)})
        return rows


def near(units: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.int64]:
    """Returns all pairs of vectors of length one that are as near as a threshold, [pairs, 2]."""
    return np.argwhere(np.triu(units @ units.T >= threshold, 1))


def tell(
    of: Sequence[tuple[int, str]], pairs: npt.NDArray[np.int64], originals: int
) -> dict[str, object]:
    """Tells which variants are found beside their originals.

    Args:
      of: The original and the variant that each file is.
      pairs: The pairs of files that were found, [pairs, 2].
      originals: The number of originals.

    Returns:
      By the name of each variant the share that is in a pair with its original; `all` of them;
      `false`: the pairs of two different photographs as they are; `precision`: the share of all
      pairs, of variants too, that are of one photograph.
    """
    hits: dict[str, set[int]] = {name: set() for name in variants.VARIANTS}
    wrong = same = 0
    for one, other in pairs.tolist():
        (first, kind), (second, other_kind) = of[one], of[other]
        if first == second:
            same += 1
            for name in {kind, other_kind} - {variants.ORIGINAL}:
                if variants.ORIGINAL in (kind, other_kind):
                    hits[name].add(first)
        elif kind == other_kind == variants.ORIGINAL:
            wrong += 1
    row: dict[str, object] = {
        name: round(len(found) / originals, 3) for name, found in hits.items()
    }
    total = sum(len(found) for found in hits.values())
    return {
        **row,
        "all": round(total / originals / len(hits), 3),
        "false": wrong,
        "precision": round(same / len(pairs), 4) if len(pairs) else 1.0,
    }


def of_groups(groups: Mapping[str, Any]) -> dict[str, object]:
    """Tells how many files are dropped, and how many of them for another photograph."""
    kept = {}
    dropped = wrong = 0
    members = zip(*(groups[name].to_pylist() for name in ("group", "uri", "keep")), strict=True)
    for group, uri, keep in members:
        photograph, _ = variants.parse_name(uri)
        if keep:  # It comes first in its group.
            kept[group] = photograph
        else:
            dropped += 1
            wrong += photograph != kept[group]
    return {"dropped": dropped, "dropped_wrongly": wrong}


def read_groups(out: pathlib.Path) -> Any:
    """Reads the groups that the command has written."""
    import pyarrow.parquet as pq

    return pq.read_table(out / "groups.parquet")
