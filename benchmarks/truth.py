"""What there is to find among vectors: every pair, by brute force, and what comes of the pairs.

Nothing here is the product's, so that what the product finds is compared with something else.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Cosines = npt.NDArray[np.float64]

_BLOCK = 1024
# A product in single precision is that near to the cosine; the pairs it leaves are exact.
_SLACK = 1e-4
# Cosines of the same pair that were summed up in another order differ by no more.
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows to compare.

    Attributes:
      keys: Their keys, str [rows], sorted.
      vectors: Their vectors, [rows, num_features].
      files: The same number for the rows of the same file, [rows].
      pixels: The number of pixels of their images, [rows].
    """

    keys: npt.NDArray[np.str_]
    vectors: Floats
    files: Numbers
    pixels: Numbers

    def numbers(self, keys: Any) -> Numbers:
        """Returns the numbers of rows by their keys."""
        wanted = np.array(keys, np.str_)
        found = np.searchsorted(self.keys, wanted)
        if (self.keys[np.minimum(found, len(self.keys) - 1)] != wanted).any():
            raise ValueError("A key was found that no row has.")
        return cast(Numbers, found)

    def cosines(self, first: Numbers, second: Numbers) -> Cosines:
        """Returns the cosine of each pair in double precision; 1 for the same file."""
        cosines = np.empty(len(first))
        for start in range(0, len(first), _BLOCK):
            part = slice(start, start + _BLOCK)
            one, other = (self.vectors[rows[part]].astype(np.float64) for rows in (first, second))
            lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
            products = np.einsum("ij,ij->i", one, other)
            cosines[part] = products / np.where(lengths > 0, lengths, 1)
        return np.where(self.files[first] == self.files[second], 1, cosines)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of rows, each once, and their cosines."""

    first: Numbers
    second: Numbers
    cosines: Cosines

    def above(self, threshold: float) -> Pairs:
        """Returns the pairs whose cosine is at least a threshold."""
        near = self.cosines >= threshold
        return Pairs(self.first[near], self.second[near], self.cosines[near])


def near_pairs(rows: Rows, threshold: float, sample: Numbers | None = None) -> Pairs:
    """Finds all pairs whose cosine is at least a threshold: compares rows with all others.

    Args:
      rows: The rows.
      threshold: The least cosine.
      sample: The rows of which one is in each pair, ascending; None for all.
    """
    lengths = np.linalg.norm(rows.vectors, axis=1, keepdims=True)
    units = rows.vectors / np.where(lengths > 0, lengths, 1)
    looked = np.arange(len(units)) if sample is None else sample
    is_looked = np.zeros(len(units), np.bool_)
    is_looked[looked] = True
    found = []
    for start in range(0, len(looked), _BLOCK):
        part = looked[start : start + _BLOCK]
        # Of two rows that are both looked for, one has met the other before.
        least = start if sample is None else 0
        one, other = np.nonzero(units[part] @ units[least:].T > threshold - _SLACK)
        one, other = part[one], other + least
        once = (one < other) | ~is_looked[other]
        found.append(np.stack([one[once], other[once]]))
    first, second = np.concatenate([np.empty((2, 0), np.int64), *found], axis=1)
    return Pairs(first, second, rows.cosines(first, second)).above(threshold)


def representatives(rows: Rows, pairs: Pairs) -> Numbers:
    """Returns for each row the one that stands for it, by the documented rule, itself if none does.

    The largest image comes first, of images of one size that with the least key. Each that nothing
    stands for yet stands for all its duplicates of which that is true as well.
    """
    one = np.concatenate([pairs.first, pairs.second])
    other = np.concatenate([pairs.second, pairs.first])
    order = np.argsort(one, kind="stable")
    one, other = one[order], other[order]
    begins = np.searchsorted(one, np.arange(len(rows.keys) + 1))
    stands = np.full(len(rows.keys), -1)
    for row in np.lexsort([np.arange(len(rows.keys)), -rows.pixels]):
        if stands[row] < 0:
            alike = other[begins[row] : begins[row + 1]]
            stands[alike[stands[alike] < 0]] = row
            stands[row] = row
    return cast(Numbers, stands)


def score(
    table: Any, rows: Rows, pairs: Pairs, threshold: float, *, whole: bool = True
) -> dict[str, float]:
    """Compares what was found with what there is.

    Args:
      table: The groups that were found: `group`, `key`, `similarity` and `keep` of each member.
      rows: The rows that were compared.
      pairs: The pairs at the threshold.
      threshold: The least cosine of a duplicate.
      whole: Whether these are all pairs there are, without which the rule cannot be followed.

    Returns:
      `found` and `precision`: the members that are dropped, and the share of them whose cosine with
      what is kept for them is at least the threshold; `pairs` and `recall`: the pairs there are,
      and the share of them of which not both are kept; `rows` and `rows_recall`: the rows that the
      rule drops, and the share of them that are dropped; `same`: the share of these that have the
      same row kept for them; `error`: the largest error of a similarity.
    """
    keep = np.array(table["keep"].to_pylist(), np.bool_)
    groups = np.array(table["group"].to_pylist(), np.int64)
    members = rows.numbers(table["key"].to_pylist())
    kept_of = dict(zip(groups[keep].tolist(), members[keep].tolist(), strict=True))
    dropped = members[~keep]
    kept = np.array([kept_of[group] for group in groups[~keep].tolist()], np.int64)
    cosines = rows.cosines(dropped, kept)
    similarities = np.array(table["similarity"].to_pylist())[~keep]
    is_dropped = np.zeros(len(rows.keys), np.bool_)
    is_dropped[dropped] = True
    scores = {
        "found": len(dropped),
        "precision": _share(cosines >= threshold - _ROUNDING),
        "pairs": len(pairs.first),
        "recall": _share(is_dropped[pairs.first] | is_dropped[pairs.second]),
        "error": float(np.abs(similarities - cosines).max(initial=0)),
    }
    if not whole:
        return scores
    stands = representatives(rows, pairs)
    wanted = np.flatnonzero(stands != np.arange(len(stands)))
    found_for = np.arange(len(stands))
    found_for[dropped] = kept
    return {
        **scores,
        "rows": len(wanted),
        "rows_recall": _share(is_dropped[wanted]),
        "same": _share(found_for[wanted] == stands[wanted]),
    }


def _share(values: npt.NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 1.0
