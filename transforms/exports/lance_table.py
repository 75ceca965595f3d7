"""A Lance table that exports are committed to, each as one version."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.util
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.errors import UsageError
from image_features.system.disks import sync_file
from image_features.transforms.exports.fields import KEY_NAME, RowFields
from image_features.transforms.exports.lance_vectors import FILE_VERSION, lance_schema
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import sync_names
from image_features.transforms.stores.listing import list_files

_LOG = logging.getLogger(__name__)
# The property of a version that names the export which has made it.
_EXPORT = "image_features.export"
# What Lance adds to the rows that a search finds.
_DISTANCE = "_distance"
_ROWS_TOGETHER = 2**18
_ROW_IN_FRAGMENT = 0xFFFFFFFF
_WRITTEN_BY_LANCE = ("_transactions", "_deletions", "_versions")
# Lance removes what no version refers to, as dead attempts leave it, when it is a week old; no
# version is as old as this.
_NEVER = datetime.timedelta(days=36_500)

Keys = npt.NDArray[np.bytes_]


@dataclasses.dataclass(frozen=True)
class LanceTable:
    """A Lance table.

    Attributes:
      path: The directory of the table, local or of an object store.
      fields: The fields of a row.
    """

    path: str
    fields: RowFields

    @property
    def data(self) -> str:
        """The directory of the table's data files."""
        return f"{self.path}/data"

    def check(self, *, is_there: bool) -> None:
        """Makes sure that the table can be used, before any work.

        Args:
          is_there: Whether an earlier export has made it.

        Raises:
          UsageError: it cannot; pylance is not installed, for one.
        """
        if importlib.util.find_spec("lance") is None:
            raise UsageError(
                "--format=lance needs pylance, which is not installed: "
                "pip install 'image-feature-extractor[lance]'"
            )
        from lance.fragment import LanceFragment

        if not hasattr(LanceFragment, "delete_rows"):
            raise UsageError(
                "--format=lance needs pylance 10 or later: "
                "pip install --upgrade 'image-feature-extractor[lance]'"
            )
        _check_names(lance_schema(self.fields))
        try:
            table = self.open()
        except (ValueError, OSError) as error:
            raise UsageError(f"{self.path} cannot be used: {_first_line(error)}") from error
        if is_there:
            self._check_fields(table)

    def _check_fields(self, table: Any) -> None:
        if table is None:
            raise UsageError(
                f"{self.path} is not there any more, where earlier exports have put it. Export "
                "without --since=last, to another directory."
            )
        have = {field.name: field.type for field in table.schema}
        for field in self.fields.schema():
            if have.get(field.name) != field.type:
                raise UsageError(
                    f"{self.path} has no column {field.name} of the type {field.type}, as the "
                    "export before had: it was changed since. Export without --since=last, to "
                    "another directory."
                )

    def open(self) -> Any:
        """Returns the table as a lance.LanceDataset; None where there is none.

        Raises:
          ValueError, OSError: Lance cannot read it.
        """
        import lance

        if not list_files(f"{self.path}/_versions"):
            return None
        return lance.dataset(self.path)

    def put(self, export: str, files: Sequence[ShardFile]) -> Any:
        """Makes the table of data files, if this export has not; returns it.

        Args:
          export: The name of the export.
          files: The data files, in the order of their rows.

        Raises:
          ValueError: there is a table that another has made.
        """
        from lance.dataset import LanceDataset, LanceOperation, Transaction

        table = self.open()
        if table is not None:
            if _last_export(table) == export:
                return table
            raise ValueError(f"{self.path} is a table that another job has made meanwhile.")
        new = LanceOperation.Overwrite(lance_schema(self.fields), self._fragments(files))
        return LanceDataset.commit(
            self.path, Transaction(0, new, transaction_properties={_EXPORT: export})
        )

    def change(
        self,
        export: str,
        since: str,
        files: Sequence[ShardFile],
        removed: Sequence[str],
        rows: int,
    ) -> Any:
        """Puts changed rows into the table, and removes others, in one version; returns it.

        Args:
          export: The name of the export; nothing is done where the table has it.
          since: The name of the export before.
          files: The data files of the new and the changed rows.
          removed: The keys of rows that are to go.
          rows: The number of rows that the table is to have then.

        Raises:
          ValueError: the table has other rows than the export before has left.
        """
        from lance.dataset import LanceDataset, LanceOperation, Transaction

        table = self.open()
        if table is None:
            raise ValueError(f"{self.path} is not there any more.")
        last = _last_export(table)
        if last == export:
            return table
        if last not in (since, None):
            raise ValueError(
                f"{self.path} has an export that no _export.json tells of, since it was removed. "
                "Bring the version before it back (`restore` of pylance), or export without "
                "--since=last, to another directory."
            )
        gone = np.array([*removed], dtype="S32")
        keys = np.sort(np.concatenate([gone, *(self._keys(file) for file in files)]))
        update = LanceOperation.Update(new_fragments=self._fragments(files))
        kept = 0
        for fragment in table.get_fragments():
            hits = _rows_with(fragment, keys)
            kept += fragment.count_rows() - len(hits)
            if hits:
                left = fragment.delete_rows(hits)
                if left is None:
                    update.removed_fragment_ids.append(fragment.fragment_id)
                else:
                    update.updated_fragments.append(left)
        check_rows(self.path, kept + sum(file.rows for file in files), rows)
        return LanceDataset.commit(
            table,
            Transaction(table.version, update, transaction_properties={_EXPORT: export}),
        )

    def flush(self) -> None:
        """Returns when the newest version would be there after a loss of power, on disks.

        Lance itself does not see to that.

        Raises:
          OSError: the disk has failed.
        """
        if "://" in self.path:
            return
        for name in _WRITTEN_BY_LANCE:
            for listed in list_files(f"{self.path}/{name}"):
                with open(listed.path, "rb") as file:
                    sync_file(file)
            with contextlib.suppress(FileNotFoundError):  # Nothing was deleted yet.
                sync_names(f"{self.path}/{name}")
        sync_names(self.path)

    def tidy_up(self, table: Any) -> None:
        """Removes what no version refers to, if it is so old that no job can be at it."""
        try:
            table.cleanup_old_versions(older_than=_NEVER, error_if_tagged_old_versions=False)
        except Exception as error:  # The rows are committed, and tidiness must not undo that.
            _LOG.warning("Could not tidy up %s: %s", self.path, _first_line(error))

    def _fragments(self, files: Iterable[ShardFile]) -> list[Any]:
        """Returns what a version tells of data files; those without rows are left out."""
        from lance.fragment import DataFile, FragmentMetadata

        full = [file for file in files if file.rows]
        if not full:
            return []
        like = self._as_lance_writes(full[0])

        def data_file(file: ShardFile) -> DataFile:
            version = like.file_major_version, like.file_minor_version
            return DataFile(file.name, like.fields, like.column_indices, *version, file.bytes)

        return [FragmentMetadata(0, [data_file(file)], file.rows) for file in full]

    def _as_lance_writes(self, file: ShardFile) -> Any:
        """Returns what Lance tells of a file of its own of the same schema: which columns it has.

        It writes none without rows, so that one of ours gives it a row.
        """
        from lance.fragment import LanceFragment

        row = self._read(file).read_range(0, 1).to_table()
        with tempfile.TemporaryDirectory(prefix="image-features-") as directory:
            return LanceFragment.create(
                directory,
                row.cast(lance_schema(self.fields)),
                mode="create",
                data_storage_version=FILE_VERSION,
            ).files[0]

    def _read(self, file: ShardFile, columns: list[str] | None = None) -> Any:
        from lance.file import LanceFileReader

        return LanceFileReader(f"{self.data}/{file.name}", columns=columns)

    def _keys(self, file: ShardFile) -> Keys:
        reader = self._read(file, [KEY_NAME])
        batches = reader.read_all(batch_size=_ROWS_TOGETHER).to_batches()
        return np.concatenate([np.empty(0, "S32"), *map(_keys_of, batches)])


def _check_names(schema: Any) -> None:
    """Makes sure that Lance takes the names of all columns, which it tells as they are used."""
    import lance

    try:
        if _DISTANCE in schema.names:
            raise ValueError(f"the column {_DISTANCE} is of the answers to a search")
        with tempfile.TemporaryDirectory(prefix="image-features-") as directory:
            lance.write_dataset(schema.empty_table(), directory).to_table()
    except (ValueError, OSError) as error:
        raise UsageError(
            f"Lance does not take the names of these columns ({_first_line(error)}); choose "
            "others by --columns."
        ) from error


def check_rows(path: str, found: int, wanted: int) -> None:
    """Makes sure that a table has as many rows as the dataset.

    Raises:
      ValueError: it has not.
    """
    if found != wanted:
        raise ValueError(
            f"{path} has {found} rows with the export, where the dataset has {wanted}: others "
            "write to it too, or rows were removed by hand. Export without --since=last, to "
            "another directory."
        )


def _last_export(table: Any) -> str | None:
    """Returns which export was committed last; None where the versions that tell are gone.

    Others may have made versions since, such as of an index.
    """
    for transaction in _transactions(table):
        if export := (transaction.transaction_properties or {}).get(_EXPORT):
            return str(export)
    return None


def _transactions(table: Any) -> Iterator[Any]:
    from lance.dataset import LanceOperation

    version = table.version
    while version > 0:
        before = version - 1
        try:
            transaction = table.read_transaction(version)
        except TypeError:  # It is one of those that pylance cannot describe, such as a compaction.
            transaction = None
        except (ValueError, OSError):
            return  # It was cleaned up.
        if transaction is not None:
            yield transaction
            if isinstance(transaction.operation, LanceOperation.Restore):
                before = transaction.operation.version
        version = before


def _rows_with(fragment: Any, keys: Keys) -> list[int]:
    """Returns the rows of a fragment that have one of the keys, which are sorted."""
    hits: list[int] = []
    if not len(keys):
        return hits
    for batch in fragment.to_batches(
        columns=[KEY_NAME], with_row_address=True, batch_size=_ROWS_TOGETHER
    ):
        found = _keys_of(batch)
        places = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
        addresses = batch["_rowaddr"].to_numpy()[keys[places] == found]
        hits += (addresses & np.uint64(_ROW_IN_FRAGMENT)).tolist()
    return hits


def _keys_of(batch: Any) -> Keys:
    return np.array(batch[KEY_NAME].to_numpy(zero_copy_only=False), dtype="S32")


def _first_line(error: Exception) -> str:
    """Returns what Lance says, without the places in its code."""
    return str(error).partition(", /")[0].strip()
