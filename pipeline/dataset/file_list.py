"""The files that a commit lists: in the commit file itself, or of many in a file beside it.

A list is kept by columns, since a run of a billion rows has 200,000 files: an object is made of an
entry only when that entry is asked for. Up to `MOST_IN_JSON` entries are in the commit file; more
are in a Parquet file that it names with its digest. That file is named for its content, so that one
of an attempt that died, or lost, is in nobody's way, and the commit stays the creation of one file.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from apache_beam.io.filesystems import FileSystems

from image_features.errors import DamagedRunError, UnreadableRunError
from image_features.pipeline.dataset.layout import RunLayout
from image_features.transforms.shards.index import read_verified
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import create_whole, reason_of
from image_features.transforms.values import Reason

# The versions of commit files that list their files themselves, and by a file beside them.
FORMAT_VERSION = 1
FORMAT_VERSION_APART = 2
MOST_IN_JSON = 10_000

# It is hidden where the commit file is, from readers that take all of a directory for data.
_NAME = re.compile(r"[._]files-[0-9a-f]{16}\.list")
_LISTED, _APART = "files", "files_in"
_COLUMNS = {"kind": str, "name": str, "rows": int, "bytes": int, "sha256": str}
_NEEDED = ("kind", "name", "bytes", "sha256")
_MADE_TOGETHER = 4096


class FileList(Sequence[ShardFile]):
    """The entries of a commit's files, in order.

    Args:
      load: A function that returns the table of the entries, which is called when they are asked
        for; it can be pickled.
    """

    def __init__(self, load: functools.partial[Any]) -> None:
        self._load = load
        self._by_kind: dict[tuple[str, ...], FileList] = {}

    @classmethod
    def of(cls, entries: Iterable[ShardFile | Mapping[str, Any]]) -> FileList:
        """Makes a list of files, or of the objects that stand for files in JSON.

        Raises:
          ValueError, TypeError, KeyError: an object stands for no file.
        """
        return cls._of_table(_table(entries))

    @classmethod
    def _of_table(cls, table: Any) -> FileList:
        made = cls(functools.partial(_same, table))
        _ = made.table
        return made

    @functools.cached_property
    def table(self) -> Any:
        """The entries as a pyarrow.Table; `rows` is null for files that describe the others."""
        return self._load()

    def of_kind(self, *kinds: str) -> FileList:
        """Returns the entries of some kinds, which are found once."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if kinds not in self._by_kind:
            among = pc.is_in(self.table["kind"], pa.array(kinds, pa.string()))
            self._by_kind[kinds] = self._of_table(self.table.filter(among))
        return self._by_kind[kinds]

    def column(self, name: str) -> list[Any]:
        """Returns a column, such as the `name` or the `bytes` of each file."""
        return list(self.table[name].to_pylist())

    def total(self, name: str) -> int:
        """Returns the sum of a column of numbers."""
        import pyarrow.compute as pc

        return int(pc.sum(self.table[name]).as_py() or 0)

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the entries as they are in a commit file."""
        return [
            {name: value for name, value in entry.items() if value is not None}
            for entry in self.table.to_pylist()
        ]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileList) and bool(self.table.equals(other.table))

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, at: int) -> ShardFile: ...
    @overload
    def __getitem__(self, at: slice) -> FileList: ...
    def __getitem__(self, at: int | slice) -> ShardFile | FileList:
        if isinstance(at, slice):
            import pyarrow as pa

            numbers = pa.array(range(*at.indices(len(self))), pa.int64())
            return self._of_table(self.table.take(numbers))
        number = range(len(self))[at]
        return _file(self.table.slice(number, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[ShardFile]:
        for batch in self.table.to_batches(max_chunksize=_MADE_TOGETHER):
            yield from map(_file, batch.to_pylist())


@dataclasses.dataclass(frozen=True)
class Commit:
    """The content of a commit file.

    Attributes:
      record: The commit file as it is, but for the entries, in whose place None stands.
      files: The entries, wherever they are.
    """

    record: Mapping[str, Any]
    files: FileList

    @classmethod
    def of(cls, directory: str, record: Mapping[str, Any], path: str = "") -> Commit:
        """Takes a commit file apart; entries that are in a file beside it are not yet read.

        Args:
          directory: The directory of the files.
          record: The content of the commit file.
          path: The path of the commit file, for messages.

        Raises:
          ValueError, KeyError, TypeError, AttributeError: it lists no files, or not as we do.
        """
        if record["format_version"] != FORMAT_VERSION_APART:
            return cls({**record, _LISTED: None}, FileList.of(record[_LISTED]))
        entry = record[_APART]
        name, digest = str(entry["name"]), str(entry["sha256"])
        if not _NAME.fullmatch(name) or not digest:
            raise ValueError(f"{_APART} names {name!r}, which is no list of files")
        load = functools.partial(
            _read, FileSystems.join(directory, name), digest, int(entry["files"]), path or directory
        )
        return cls(record, FileList(load))

    def to_json(self, *, whole: bool = False) -> dict[str, Any]:
        """Returns the commit file as it is.

        Args:
          whole: Whether it has the entries also where they are in a file beside it.
        """
        if whole or _APART not in self.record:
            return {**self.record, _LISTED: self.files.to_json()}
        return dict(self.record)


def with_files(layout: RunLayout, record: Mapping[str, Any], files: FileList) -> dict[str, Any]:
    """Returns a commit file that lists some files; of many it writes the entries beside it.

    Args:
      layout: The paths of the run.
      record: The content of the commit file without its files.
      files: The files.

    Raises:
      OSError: the entries cannot be written.
    """
    if len(files) <= MOST_IN_JSON:
        return {**record, _LISTED: files.to_json()}
    data = _parquet(files.table)
    digest = hashlib.sha256(data).hexdigest()
    name = f"{prefix_of(layout)}{digest[:16]}.list"
    part = FileSystems.join(layout.staging, f"{name}.{uuid.uuid4().hex}")
    with create_whole(layout.path(name), part) as file:
        file.write(data)
    entry = {"name": name, "files": len(files), "bytes": len(data), "sha256": digest}
    kept = {key: value for key, value in record.items() if key != _LISTED}
    return {**kept, "format_version": FORMAT_VERSION_APART, _APART: entry}


def prefix_of(layout: RunLayout) -> str:
    """Returns what the names of files with entries of a commit begin with."""
    return f"{'.' if layout.commit_file.startswith('.') else '_'}files-"


def list_of_entries(record: Mapping[str, Any]) -> str:
    """Returns the name of the file that has a commit's entries; empty if the commit has them."""
    return str(record[_APART]["name"]) if _APART in record else ""


def count_apart(record: Mapping[str, Any]) -> int:
    """Returns how many entries a commit has in a file beside it."""
    return int(record[_APART]["files"]) if _APART in record else 0


def is_list_of_entries(name: str) -> bool:
    """Tells whether a file's name is of one with a commit's entries, whichever commit that is."""
    return _NAME.fullmatch(name) is not None


def _same(table: Any) -> Any:
    return table


def _schema() -> Any:
    import pyarrow as pa

    types = {str: pa.string(), int: pa.int64()}
    return pa.schema([(name, types[kind]) for name, kind in _COLUMNS.items()])


def _table(entries: Iterable[ShardFile | Mapping[str, Any]]) -> Any:
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for entry in entries:
        fields = vars(entry) if isinstance(entry, ShardFile) else entry
        for name in _NEEDED:
            columns[name].append(_COLUMNS[name](fields[name]))
        rows = fields.get("rows")
        columns["rows"].append(None if rows is None else int(rows))
    return pa.table(columns, _schema())


def _file(entry: Mapping[str, Any]) -> ShardFile:
    return ShardFile(
        entry["kind"], entry["name"], entry["rows"] or 0, entry["bytes"], entry["sha256"]
    )


def _parquet(table: Any) -> bytes:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    # Names and digests are all different, so that dictionaries of them would only take place.
    pq.write_table(
        table, out, compression="zstd", use_dictionary=["kind"], write_statistics=False,
        store_schema=False,
    )  # fmt: skip
    return out.getvalue()


def _read(path: str, sha256: str, count: int, commit: str) -> Any:
    """Returns the table in a file of entries.

    Raises:
      UnreadableRunError: it is not there, or is not the file that the commit names.
      OSError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    cause: Exception
    try:
        table = pq.read_table(io.BytesIO(read_verified(path, sha256)))
        if table.num_rows != count:
            raise ValueError(f"it has {table.num_rows} entries, not {count}")
        return table.select(list(_COLUMNS)).cast(_schema())
    except DamagedRunError as error:
        why, cause = "is not the file that was committed", error
    except (pa.ArrowException, ValueError, KeyError) as error:
        why, cause = f"cannot be read ({error})", error
    except Exception as error:  # Each file system has exceptions of its own.
        if reason_of(error) is not Reason.NOT_FOUND:
            raise error if isinstance(error, OSError) else OSError(str(error)) from error
        why, cause = "is missing", error
    raise UnreadableRunError(
        f"{path}, which lists the files of {commit}, {why}. Copy it from a backup, or without one "
        "delete the run's directory and extract it again. Nothing of the dataset is read until "
        "then, since the run may hold rows that count."
    ) from cause
