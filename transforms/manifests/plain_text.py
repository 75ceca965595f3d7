"""Texts of Arrow looked at as one array of bytes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

_SPACE, _DELETE = 0x20, 0x7F


@dataclasses.dataclass(frozen=True)
class PlainTexts:
    """Some texts, at least one, and none of them null.

    Attributes:
      array: The pyarrow.Array of strings.
      codes: uint8 [bytes], the bytes of all.
      places: int32 [texts + 1], where each begins in these, and where the last one ends.
    """

    array: Any
    codes: npt.NDArray[np.uint8]
    places: npt.NDArray[np.int32]

    @classmethod
    def of(cls, array: Any) -> PlainTexts | None:
        """Looks at an array of strings; None where it is empty, or one is null."""
        if not len(array) or array.null_count:
            return None
        _, places, data = array.buffers()
        bounds = np.frombuffer(places, np.int32, len(array) + 1, 4 * array.offset)
        codes = np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[-1]]
        return cls(array, codes, bounds - bounds[0])

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """int32 [texts], the bytes of each."""
        return np.diff(self.places)

    def are_stripped(self) -> bool:
        """Whether no text begins or ends with a space; one of ASCII, where others are not told."""
        some = self.lengths > 0
        first, last = self.places[:-1][some], self.places[1:][some] - 1
        return all(
            bool(((ends > _SPACE) & (ends < _DELETE)).all())
            for ends in (self.codes[first], self.codes[last])
        )

    def as_one(self) -> Any:
        """Returns a pyarrow.Array of one string, which is all texts without what parts them."""
        import pyarrow as pa

        places = np.array([0, len(self.codes)], np.int32)
        data = pa.py_buffer(self.codes)
        return pa.StringArray.from_buffers(1, pa.py_buffer(places), data)

    def encoded(self) -> list[bytes]:
        """Returns each text as bytes."""
        import pyarrow as pa

        found: list[bytes] = self.array.cast(pa.binary()).to_numpy(zero_copy_only=False).tolist()
        return found
