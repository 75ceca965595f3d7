"""A dataset of any number of rows whose vectors lie as those of photographs do.

python -m benchmarks.synthetic --images=DIR --rows=1000000 --output=DATASET [-- OPTIONS]

The photographs' features are extracted, and random ones are drawn from a distribution with their
mean and their covariance, so that cosines of two rows lie as those of two photographs do. Few
photographs differ in few directions, of which many would have more; so a twentieth of the variance
is moved into all directions. As among photographs, some rows are further from the mean than others:
it is Student's distribution, of 16 degrees of freedom. `main` prints how the cosines of both lie.

A few rows are planted: near copies at chosen cosines to their originals, of which each has
several; rows with an original's vector and SHA-256, as the same file in two places has them; and
rows of zeros. The shards are written by the product's own functions, 10,000 rows a second and more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from benchmarks import committed, measure
from benchmarks.extraction import make_parser, report
from image_features.pipeline.dataset.reading import load_numpy
from image_features.transforms.shards import record_format
from image_features.transforms.shards.index import index_note
from image_features.transforms.shards.record_format import RECORDS
from image_features.transforms.stores.uris import image_key, shard_of

Floats = npt.NDArray[np.float32]

ROWS_PER_SHARD = 10_000
COSINES = (0.85, 0.89, 0.899, 0.901, 0.91, 0.93, 0.949, 0.951, 0.96, 0.979, 0.981, 0.99, 0.999)
_SIZES = ((320, 240), (500, 375), (640, 480), (1024, 768))
_RUN_ID = "synthetic"
# Of 4000 small photographs, these made the parts of vectors that are left beside 16 to 256
# principal directions, and the cosines that one pair in a thousand exceeds, as they were.
_EVERYWHERE = 0.05
_FREEDOM = 16
_COMPARED = 1000


@dataclasses.dataclass(frozen=True)
class Likeness:
    """How the vectors of photographs lie.

    Attributes:
      mean: Their mean, [num_features].
      spread: A matrix of one row a photograph, whose square is their covariance.
      deviations: The standard deviation of each value, [num_features].
    """

    mean: Floats
    spread: Floats
    deviations: Floats

    @classmethod
    def of(cls, features: Floats) -> Likeness:
        """Takes it from at least two vectors."""
        mean = features.mean(axis=0)
        spread = (features - mean) / np.float32(np.sqrt(len(features) - 1))
        return cls(mean, spread, np.sqrt(np.square(spread).sum(axis=0)))

    def draw(self, count: int, generator: np.random.Generator) -> Floats:
        """Draws vectors, [count, num_features]."""
        mixture = generator.standard_normal((count, len(self.spread)), np.float32)
        drawn = mixture @ self.spread * np.float32(np.sqrt(1 - _EVERYWHERE))
        noise = generator.standard_normal(drawn.shape, np.float32)
        drawn += noise * self.deviations * np.float32(np.sqrt(_EVERYWHERE))
        chances = generator.chisquare(_FREEDOM, (count, 1))
        drawn *= np.sqrt((_FREEDOM - 2) / chances).astype(np.float32)
        return cast(Floats, drawn + self.mean)


@dataclasses.dataclass(frozen=True)
class Planted:
    """What is planted; the rows with the first numbers are originals, then come their copies.

    Attributes:
      originals: The number of rows that have copies.
      near: The number of near copies; they go round the originals.
      same: The number of rows that are the same file as an original.
      zeros: The number of rows of zeros.
      cosines: The cosines of near copies to their originals, which they take in turn.
    """

    originals: int
    near: int
    same: int
    zeros: int
    cosines: Sequence[float] = COSINES

    @classmethod
    def among(cls, rows: int) -> Planted:
        """Plants three rows in a hundred."""
        return cls(max(1, rows // 100), rows // 50, rows // 100, min(10, rows // 100))

    @property
    def rows(self) -> int:
        """The number of rows that are not drawn at random alone."""
        return self.originals + self.near + self.same + self.zeros

    def sources(self) -> npt.NDArray[np.int64]:
        """Returns the number of the row whose file each of the rows is, [rows]."""
        numbers = np.arange(self.rows)
        first = self.originals + self.near
        numbers[first : first + self.same] = np.arange(self.same) % self.originals
        return numbers

    def vectors(self, likeness: Likeness, generator: np.random.Generator) -> Floats:
        """Returns the vectors of the rows, [rows, num_features]."""
        originals = likeness.draw(self.originals, generator)
        of = originals[np.arange(self.near) % self.originals]
        rounds = np.arange(self.near) // self.originals + np.arange(self.near)
        cosines = np.array(self.cosines, np.float32)[rounds % len(self.cosines)]
        near = at_cosines(of, likeness.draw(self.near, generator), cosines)
        same = originals[np.arange(self.same) % self.originals]
        zeros = np.zeros((self.zeros, originals.shape[1]), np.float32)
        return np.concatenate([originals, near, same, zeros])


def at_cosines(vectors: Floats, others: Floats, cosines: Floats) -> Floats:
    """Turns vectors towards others until they have given cosines to what they were."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / lengths
    across = others - units * np.einsum("ij,ij->i", units, others)[:, None]
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    sines = np.sqrt(1 - np.square(cosines))
    return cast(Floats, lengths * (units * cosines[:, None] + across * sines[:, None]))


def photographs(
    images: pathlib.Path, dataset: pathlib.Path, options: Sequence[str] = ()
) -> pathlib.Path:
    """Extracts the features of a directory's images; returns the directory of the run."""
    command = [sys.executable, "-m", "image_features", "extract", f"--input={images}"]
    measure.run([*command, f"--output={dataset}", f"--run_id={_RUN_ID}", *options])
    return dataset / _RUN_ID


def write(
    template: pathlib.Path, dataset: pathlib.Path, rows: int, planted: Planted, *, seed: int = 0
) -> pathlib.Path:
    """Writes a dataset of one run; returns the directory of the run.

    Args:
      template: The run of the photographs.
      dataset: The directory to make.
      rows: The number of rows, planted ones included.
      planted: What is planted among them.
      seed: Another number gives other vectors.
    """
    likeness = Likeness.of(load_numpy(str(template)).features)
    vectors = planted.vectors(likeness, np.random.default_rng(seed))
    sources = planted.sources()
    run = dataset / _RUN_ID
    shutil.copytree(template, run)
    uris = [f"https://photos.example/{number:09}.jpg" for number in range(rows)]
    keys = [image_key(uri) for uri in uris]
    count = max(1, -(-rows // ROWS_PER_SHARD))
    members: list[list[int]] = [[] for _ in range(count)]
    for number, key in enumerate(keys):
        members[shard_of(key, count)].append(number)
    files = []
    for shard, numbers in enumerate(members):
        numbers.sort(key=keys.__getitem__)
        drawn = likeness.draw(len(numbers), np.random.default_rng([seed, shard]))
        payloads, notes = [], []
        for place, number in enumerate(numbers):
            is_planted = number < planted.rows
            file = int(sources[number]) if is_planted else number
            vector = vectors[number] if is_planted else drawn[place]
            sha256 = hashlib.sha256(f"{seed} {file}".encode()).hexdigest()
            payloads.append(_payload(uris[number], keys[number], sha256, vector))
            notes.append(index_note(sha256, "", uris[number]))
        files.append(committed.write_features(run, (shard, count), payloads))
        sorted_keys = np.array([keys[number] for number in numbers], "S32")
        files.append(committed.write_index(run, (shard, count), sorted_keys, notes))
    committed.recommit(run, rows, files)
    return run


def _payload(uri: str, key: str, sha256: str, vector: Floats) -> bytes:
    width, height = _SIZES[int(sha256[:8], 16) % len(_SIZES)]
    return RECORDS.encode(
        {
            record_format.URI: [uri.encode()],
            record_format.KEY: [key.encode()],
            record_format.SHA256: [sha256.encode()],
            record_format.FORMAT: [b"jpeg"],
            record_format.WIDTH: [width],
            record_format.HEIGHT: [height],
            record_format.FEATURES: vector,
        }
    )


def main() -> None:
    """Writes a dataset."""
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="A new directory.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        template = photographs(options.images, pathlib.Path(scratch), options.extract)
        planted = Planted.among(options.rows)
        write(template, options.output, options.rows, planted)
        features = load_numpy(str(template)).features
    drawn = Likeness.of(features).draw(_COMPARED, np.random.default_rng(0))
    rows = [
        {"rows": name, **cosines_of(vectors)}
        for name, vectors in (("photographs", features), ("drawn", drawn))
    ]
    report(rows, options.json, machine=measure.machine())


def cosines_of(vectors: Floats) -> dict[str, float]:
    """Tells which cosines half, a hundredth and a thousandth of the pairs exceed."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (units @ units.T)[np.triu_indices(len(units), 1)]
    names = {"half": 50, "a_hundredth": 99, "a_thousandth": 99.9}
    return {name: round(float(np.percentile(cosines, at)), 3) for name, at in names.items()}


if __name__ == "__main__":
    main()
