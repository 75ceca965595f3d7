"""The cost of `--decode=preview` in features, and its gain in time and bytes.

python -m benchmarks.preview --images=DIR [--model=HANDLE] [--limit 300] [--timed 24]
    [--sizes 60 240] [--json=FILE]

Each photograph is enlarged to 12 megapixels, with grain, and written as a camera does: with EXIF
and a preview by each of several encoders, which differ in size, filter, quality, tables and
sampling. Features of previews are compared with those of `exact`: by cosine, and by how many of an
image's ten nearest ones are others then, where all images are of previews. `taken` tells how
many files had their preview taken; the others count as `fast`. Then files are decoded, in turns,
and extracted over HTTP on loopback by the whole command.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import measure, stores
from benchmarks.extraction import extract, report, steady, warm_up, write_manifest
from image_features.models.handles import resolve
from image_features.models.module import FeatureModule
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from tests.images import encode
from tests.images.camera import Exif, on_canvas, photograph

_Floats = npt.NDArray[np.float32]
_FOUR_TO_THREE, _THREE_TO_TWO = (4000, 3000), (4242, 2828)
_ROUNDS, _NEIGHBOURS = 3, 10
_FLAT = [[6] * 64, [9] * 64]
_MODES = ("fast", "preview")


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A camera's way to make previews.

    Attributes:
      name: Its name in the table.
      shape: The (width, height) of the photographs.
      size: The (width, height) of the preview's canvas.
      filter: How the photograph is made smaller.
      behind: Whether the preview lies behind the picture, as MPF tells, and not in EXIF.
      options: What Pillow's encoder is told.
    """

    name: str
    shape: tuple[int, int]
    size: tuple[int, int]
    filter: Image.Resampling
    behind: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def photograph(self, picture: Image.Image, coded: bytes) -> bytes:
        """Returns a file of a picture of the encoder's shape, which is coded already."""
        if self.shape[0] * self.size[1] == self.shape[1] * self.size[0]:
            small = picture.resize(self.size, self.filter)
        else:
            small = on_canvas(picture, self.size, self.filter)
        preview = encode(small, **self.options)
        exif = Exif(b"" if self.behind else preview, size=self.shape)
        return photograph(coded, exif, [preview] if self.behind else [])


_SMALL = (160, 120)
_FILTER = Image.Resampling
_ENCODERS = (
    Encoder("mean, quality 80", _FOUR_TO_THREE, _SMALL, _FILTER.BOX, False, {"quality": 80}),
    Encoder(
        "bars, lanczos, quality 75, 4:2:2",
        _THREE_TO_TWO,
        _SMALL,
        _FILTER.LANCZOS,
        False,
        {"quality": 75, "subsampling": 1},
    ),
    Encoder(
        "bars, bicubic, quality 92, 4:4:4",
        _THREE_TO_TWO,
        _SMALL,
        _FILTER.BICUBIC,
        False,
        {"quality": 92, "subsampling": 0},
    ),
    Encoder(
        "bilinear, flat tables",
        _FOUR_TO_THREE,
        _SMALL,
        _FILTER.BILINEAR,
        False,
        {"qtables": _FLAT},
    ),
    Encoder("mean, quality 50", _FOUR_TO_THREE, _SMALL, _FILTER.BOX, False, {"quality": 50}),
    Encoder("one pixel of 625", _FOUR_TO_THREE, _SMALL, _FILTER.NEAREST, False, {"quality": 85}),
    Encoder("320x240", _FOUR_TO_THREE, (320, 240), _FILTER.BICUBIC, False, {"quality": 80}),
    Encoder("MPF 1620x1080", _THREE_TO_TWO, (1620, 1080), _FILTER.BOX, True, {"quality": 80}),
)


def main() -> None:
    """Prints a row for each encoder and for each way to read; writes JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, type=pathlib.Path)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--limit", type=int, default=300, help="Photographs used at most.")
    parser.add_argument("--timed", type=int, default=24, help="Photographs that are timed.")
    parser.add_argument("--sizes", nargs=2, type=int, default=[60, 240], metavar="N")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()

    module = FeatureModule.load(resolve(options.model).directory)
    paths = sorted(path for path in options.images.rglob("*") if path.is_file())[: options.limit]
    features = _features(module, paths)
    rows = [_row(name, ways) for name, ways in features.items()]
    timed = paths[: options.timed]
    files = {
        encoder.name: [encoder.photograph(*made) for made in _pictures(timed, encoder.shape)]
        for encoder in (_ENCODERS[0], _ENCODERS[1], _ENCODERS[-1])
    }
    files["none, progressive"] = [
        encode(picture, quality=90, progressive=True)
        for picture, _ in _pictures(timed, _FOUR_TO_THREE)
    ]
    times = [_time(name, datas, module.image_size) for name, datas in files.items()]
    runs = _extract(files[_ENCODERS[0].name], sorted(options.sizes), options.model)
    measure.print_table(times)
    measure.print_table(runs)
    report(rows, options.json, machine=measure.machine(), times=times, runs=runs)


def _pictures(
    paths: Sequence[pathlib.Path], shape: tuple[int, int]
) -> Iterator[tuple[Image.Image, bytes]]:
    """Yields photographs of a (width, height) and their JPEGs, of some 300 KB a megapixel."""
    chance = np.random.default_rng(0)
    grain = chance.normal(0, 6, (shape[1], shape[0], 1)).astype(np.float32)
    for path in paths:
        with Image.open(path) as opened:
            large = opened.convert("RGB").resize(shape, Image.Resampling.BICUBIC)
        picture = Image.fromarray((np.asarray(large) + grain).clip(0, 255).astype(np.uint8))
        yield picture, encode(picture, quality=90)


def _features(
    module: FeatureModule, paths: Sequence[pathlib.Path]
) -> dict[str, dict[str, tuple[_Floats, float]]]:
    """Returns by encoder and way the features of all photographs, and the share of previews."""
    pixels: dict[tuple[str, str], list[Any]] = {}
    for shape in (_FOUR_TO_THREE, _THREE_TO_TWO):
        encoders = [encoder for encoder in _ENCODERS if encoder.shape == shape]
        for picture, coded in _pictures(paths, shape):
            usual: dict[str, Any] = {}
            for encoder in encoders:
                data = encoder.photograph(picture, coded)
                for way in ("exact", "fast"):
                    if way not in usual:  # It is the same with every preview.
                        usual[way] = decode_image(data, _policy(module.image_size, way))
                seen = decode_image(data, _policy(module.image_size, "preview"))
                for way, found in {**usual, "preview": seen}.items():
                    pixels.setdefault((encoder.name, way), []).append(found)
    found_by: dict[str, dict[str, tuple[_Floats, float]]] = {}
    for (name, way), images in pixels.items():
        share = statistics.fmean(image.of_preview for image in images)
        vectors = module(np.stack([image.pixels for image in images]))
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        found_by.setdefault(name, {})[way] = (unit, share)
    return found_by


def _policy(image_size: tuple[int, int], decode: Any) -> DecodePolicy:
    return DecodePolicy(image_size=image_size, decode=decode)


def _row(name: str, ways: Mapping[str, tuple[_Floats, float]]) -> dict[str, object]:
    exact = ways["exact"][0]
    row: dict[str, object] = {"preview": name, "taken": round(ways["preview"][1], 3)}
    for way in _MODES:
        cosine = (exact * ways[way][0]).sum(axis=1)
        row[f"{way}_mean"] = round(float(cosine.mean()), 4)
        row[f"{way}_worst"] = round(float(cosine.min()), 4)
        row[f"{way}_other_neighbours"] = round(_changed(exact, ways[way][0]), 3)
    return row


def _changed(one: _Floats, other: _Floats) -> float:
    """Returns which share of the nearest images are others."""
    near = [_nearest(vectors) for vectors in (one, other)]
    kept = [len(set(a) & set(b)) for a, b in zip(*near, strict=True)]
    return 1 - statistics.fmean(kept) / len(near[0][0])


def _nearest(vectors: _Floats) -> list[list[int]]:
    products = vectors @ vectors.T
    np.fill_diagonal(products, -1)
    order = np.argsort(-products, axis=1, kind="stable")[:, :_NEIGHBOURS]
    return [[int(number) for number in row] for row in order]


def _time(name: str, files: Sequence[bytes], image_size: tuple[int, int]) -> dict[str, object]:
    """Decodes files in turns, so that a noisy minute strikes both ways."""
    cpu: dict[str, list[float]] = {way: [] for way in _MODES}
    for _ in range(_ROUNDS):
        for way in _MODES:
            start = time.process_time()
            for data in files:
                decode_image(data, _policy(image_size, way))
            cpu[way].append((time.process_time() - start) / len(files))
    fast, preview = (1000 * statistics.median(cpu[way]) for way in _MODES)
    return {
        "preview": name,
        "megabytes": round(statistics.fmean(map(len, files)) / 1e6, 2),
        "fast_ms": round(fast, 2),
        "preview_ms": round(preview, 2),
        "times_as_fast": round(fast / preview, 1),
    }


def _extract(files: Sequence[bytes], sizes: Sequence[int], model: str) -> list[dict[str, object]]:
    """Extracts the files over HTTP, each way in turns; the cost is that of an image more."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        for number, data in enumerate(files):
            (scratch / f"{number}.jpg").write_bytes(data)
        links = [scratch / f"link-{number}.jpg" for number in range(sizes[1])]
        for number, link in enumerate(links):
            link.symlink_to(scratch / f"{number % len(files)}.jpg")
        names = list(map(str, links))
        warm_up(write_manifest(names, scratch / "m.txt"), options=[f"--model={model}"])
        with stores.http(names, scratch) as store:
            usages: dict[tuple[str, int], list[measure.Usage]] = {}
            sent = dict.fromkeys(_MODES, 0)
            for _ in range(_ROUNDS):
                for way in _MODES:
                    for size in sizes:
                        manifest = write_manifest(store.uris[:size], scratch / "m.txt")
                        before = store.delay(0)
                        options = [*store.options, f"--model={model}", f"--decode={way}"]
                        usages.setdefault((way, size), []).append(
                            extract(manifest, size, options=options)
                        )
                        sent[way] += store.delay(0).since(before).sent
            for way in _MODES:
                cost = steady((sizes[0], sizes[1]), *(usages[way, size] for size in sizes))
                rows.append(
                    {
                        "decode": way,
                        "images_per_s": cost and round(cost.images_per_second, 1),
                        "cpu_ms": cost and round(cost.cpu_ms, 2),
                        "kilobytes": round(sent[way] / _ROUNDS / sum(sizes) / 1000, 1),
                    }
                )
    return rows


if __name__ == "__main__":
    main()
