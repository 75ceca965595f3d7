"""The roster of contenders: how each is started, checked and asked what it did."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import re
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks import measure

TIGHT_LOOP = "tight_loop"
OURS = "ours"
_ROOT = pathlib.Path(__file__).resolve().parents[2]
_RUN_ID = "run"
_STAGE = re.compile(r"(\w+) ([\d.]+) s\b")
_ENVIRONMENT = {
    "PYTHONPATH": str(_ROOT),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",  # The comparison is of processors, also where there is a GPU.
    "DAFT_PROGRESS_BAR": "0",
}


@dataclasses.dataclass(frozen=True)
class Arena:
    """The surroundings that all contenders share.

    Attributes:
      handle: The model as the user named it.
      directory: The directory of the model's SavedModel.
      image_size: The (height, width) of the images, in pixels.
      flatbuffer: The file of the model for LiteRT.
      scratch: The directory for their output.
      environment: The environment variables of their processes.
    """

    handle: str
    directory: str
    image_size: tuple[int, int]
    flatbuffer: pathlib.Path
    scratch: pathlib.Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(_ENVIRONMENT))

    @classmethod
    def prepare(cls, handle: str, scratch: pathlib.Path) -> Arena:
        """Makes what no contender's time shall include.

        That is done in a process of its own, since TensorFlow in this one would share pages with
        the contenders, and so take them off their memory.
        """
        flatbuffer = scratch / "model.tflite"
        made = measure.run(
            [
                *_python("benchmarks.contenders.preparation"),
                f"--model={handle}",
                f"--flatbuffer={flatbuffer}",
            ],
            env=_ENVIRONMENT,
        )
        model = _last_json(made.output)
        height, width = model["image_size"]
        return cls(handle, model["directory"], (height, width), flatbuffer, scratch)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A way to features, which is a module of `benchmarks.contenders`.

    Attributes:
      name: The name in the table, which is also the module's.
      requires: The modules that must be importable.
      prints_work: Whether it writes nothing, and prints itself what it computed.
    """

    name: str
    requires: str
    prints_work: bool = False

    def installed(self) -> bool:
        """Whether the contender can run here."""
        return importlib.util.find_spec(self.requires) is not None

    def command(self, arena: Arena, manifest: pathlib.Path, output: pathlib.Path) -> list[str]:
        """Returns the command to measure."""
        return [
            *_python(f"benchmarks.contenders.{self.name}"),
            f"--manifest={manifest}",
            f"--model={arena.directory}",
            f"--flatbuffer={arena.flatbuffer}",
            f"--output={output}",
            f"--cores={len(os.sched_getaffinity(0))}",
            "--image_size",
            *map(str, arena.image_size),
        ]

    def run_file(self, output: pathlib.Path) -> dict[str, Any] | None:
        """Reads the file in which a contender describes its run; only ours writes one."""
        return None

    def stage_seconds(self, printed: str) -> dict[str, float]:
        """Reads the seconds of the stages, summed over threads; only ours tells them."""
        return {}

    def work(self, arena: Arena, output: pathlib.Path, printed: str) -> dict[str, Any]:
        """Returns what the contender computed: `images`, `features` and `checksum`."""
        if not self.prints_work:
            command = [*_python("benchmarks.contenders.outputs"), f"--output={output}"]
            printed = measure.run(command, env=arena.environment).output
        return _last_json(printed)


@dataclasses.dataclass(frozen=True)
class Product(Contender):
    """The extractor, as a user calls it.

    Attributes:
      options: More options of `extract`.
    """

    options: tuple[str, ...] = ()

    def command(self, arena: Arena, manifest: pathlib.Path, output: pathlib.Path) -> list[str]:
        return [
            *_python("image_features"),
            "extract",
            f"--input={manifest}",
            f"--output={output}",
            f"--run_id={_RUN_ID}",
            f"--model={arena.handle}",
            *self.options,
        ]

    def run_file(self, output: pathlib.Path) -> dict[str, Any] | None:
        run: dict[str, Any] = json.loads((output / _RUN_ID / "run.json").read_text())
        return run

    def stage_seconds(self, printed: str) -> dict[str, float]:
        line = next((line for line in printed.splitlines() if "added up over threads:" in line), "")
        return {name: float(value) for name, value in _STAGE.findall(line)}


ROSTER: tuple[Contender, ...] = (
    Contender(TIGHT_LOOP, "ai_edge_litert", prints_work=True),
    Contender("tf_data", "tensorflow"),
    Contender("textbook_beam", "apache_beam"),
    Contender("textbook_with_ours", "apache_beam"),
    Contender("tuned_beam", "apache_beam"),
    Contender("ray_data", "ray"),
    Contender("daft_udf", "daft"),
    Product(OURS, "apache_beam"),
    # This shows what is left of the lead with the engine that the others have.
    Product(f"{OURS}_tensorflow", "apache_beam", options=("--engine=tensorflow",)),
)


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _last_json(output: str) -> dict[str, Any]:
    lines = output.strip().splitlines()
    if not lines:
        raise ValueError("It printed no JSON line of what it computed.")
    value: dict[str, Any] = json.loads(lines[-1])
    return value
