"""Other programs that show pictures: upright, first frame, in 8 bits of sRGB on white."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import subprocess
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

_SECONDS = 60
# They write PPM, of which nothing can be mistaken.
_SHOWN = "shown.ppm"
# As this product converts embedded profiles.
_INTENT = ("-intent", "Relative", "-black-point-compensation")
_VIPS_INTENT = ("--intent", "relative", "--black-point-compensation")


class NotShownError(Exception):
    """A viewer does not read a file; the message has the end of what it said."""


def run(command: Sequence[str]) -> str:
    """Runs a program; returns what it wrote.

    Raises:
      NotShownError: it failed.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_SECONDS, errors="replace"
    )
    if done.returncode:
        raise NotShownError(f"{pathlib.Path(command[0]).name}: {done.stderr.strip()[-300:]}")
    return done.stdout


@dataclasses.dataclass(frozen=True)
class ImageMagick:
    """ImageMagick's convert."""

    program: str
    name: str = "ImageMagick"

    def show(self, path: pathlib.Path, profile: pathlib.Path) -> npt.NDArray[np.uint8]:
        """Returns uint8 [height, width, 3].

        Args:
          path: The file, whose name ends as its format wants.
          profile: An ICC profile of sRGB.

        Raises:
          NotShownError: it does not read the file.
        """
        source = f"{path}[0]"
        to_srgb = []
        # A profile that is assigned to a picture without one would change nothing but CMYK.
        with contextlib.suppress(NotShownError):
            run([self.program, source, f"icc:{path.with_name('embedded.icc')}"])
            to_srgb = [*_INTENT, "-profile", str(profile)]
        shown = path.with_name(_SHOWN)
        command = [self.program, source, "-auto-orient", *to_srgb, "-colorspace", "sRGB"]
        command += ["-background", "white", "-alpha", "remove", "-alpha", "off"]
        run([*command, "-depth", "8", f"ppm:{shown}"])
        return _read(shown)


@dataclasses.dataclass(frozen=True)
class Vips:
    """The command line of libvips, whose steps hand on files."""

    program: str
    name: str = "libvips"

    def show(self, path: pathlib.Path, profile: pathlib.Path) -> npt.NDArray[np.uint8]:
        """Returns uint8 [height, width, 3]; the arguments are those of ImageMagick.show.

        Raises:
          NotShownError: it does not read the file.
        """
        about = self._about(path)
        bands = int(about["bands"])
        has_alpha = bands == 2 or bands == (5 if about["interpretation"] == "cmyk" else 4)
        steps: list[list[str]] = []
        if about.get("orientation", "1") != "1":
            steps.append(["autorot"])
        if "icc-profile-data" in about:
            steps.append(["icc_transform", str(profile), "--embedded", *_VIPS_INTENT])
        elif about["interpretation"] != "srgb" or about["format"] != "uchar" or bands < 3:
            steps.append(["colourspace", "srgb"])
        if has_alpha:
            steps.append(["flatten", "--background", "255 255 255"])
        # Samples of some kinds keep theirs when they are converted.
        if about["format"] != "uchar":
            steps.append(["cast", "uchar"])
        steps = steps or [["copy"]]
        source, shown = path, path.with_name(_SHOWN)
        for number, (operation, *options) in enumerate(steps, 1):
            target = shown if number == len(steps) else path.with_name(f"step{number}.v")
            run([self.program, operation, str(source), str(target), *options])
            source = target
        return _read(shown)

    def _about(self, source: pathlib.Path) -> dict[str, str]:
        header = pathlib.Path(self.program).with_name("vipsheader")
        about = run([str(header), "-a", str(source)])
        return dict(re.findall(r"^([\w-]+): (.*)$", about, re.MULTILINE))


def _read(path: pathlib.Path) -> npt.NDArray[np.uint8]:
    with Image.open(path, formats=["PPM"]) as image:
        pixels = np.asarray(image.convert("RGB"))
    path.unlink()
    return pixels
