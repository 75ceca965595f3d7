"""A Lance table that exports are committed to, each as one version."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.util
import logging
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from image_features.errors import UsageError
from image_features.system.disks import sync_file
from image_features.transforms.exports.fields import RowFields
from image_features.transforms.exports.lance_fragments import fragments_of, keys_in, rows_with
from image_features.transforms.exports.lance_vectors import lance_schema
from image_features.transforms.shards.shard_file import ShardFile
from image_features.transforms.stores.files import sync_names
from image_features.transforms.stores.listing import list_files

_LOG = logging.getLogger(__name__)
# The property of a version that names the export which has made it.
_EXPORT = "image_features.export"
# What Lance adds to the rows that a search finds.
_DISTANCE = "_distance"
_WRITTEN_BY_LANCE = ("_transactions", "_deletions", "_versions")
# Lance removes what no version refers to, as dead attempts leave it, when it is a week old; no
# version is as old as this.
_NEVER = datetime.timedelta(days=36_500)


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

    def check(self, export: str, rows: int | None = None) -> None:
        """Makes sure that the table can be used, before any work.

        Args:
          export: The name of the export, which an attempt may have committed already.
          rows: The number of rows that the export before has left; None if there was none.

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
        if rows is not None:
            self._check_fields(table)
            if _last_export(table) != export:
                try:
                    check_rows(self.path, table.count_rows(), rows)
                except ValueError as error:
                    raise UsageError(str(error)) from error

    def _check_fields(self, table: Any) -> None:
        from lance.schema import LanceSchema

        if table is None:
            raise UsageError(
                f"{self.path} is not there any more, where earlier exports have put it. Export "
                "without --since=last, to another directory."
            )
        have = _columns(table.lance_schema)
        for name, column in _columns(LanceSchema.from_pyarrow(lance_schema(self.fields))).items():
            if have.get(name) != column:
                raise UsageError(
                    f"{self.path} has no column {name} of the type {column[1]}, as the export "
                    "before had: it was changed since. Export without --since=last, to another "
                    "directory."
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
        new = LanceOperation.Overwrite(
            lance_schema(self.fields), fragments_of(files, self.data, self.fields)
        )
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
                f"{self.path} has an export that no .export.json tells of, since it was removed. "
                "Bring the version before it back (`restore` of pylance), or export without "
                "--since=last, to another directory."
            )
        gone = np.array([*removed], dtype="S32")
        keys = np.sort(np.concatenate([gone, *(keys_in(file, self.data) for file in files)]))
        update = LanceOperation.Update(new_fragments=fragments_of(files, self.data, self.fields))
        kept = 0
        for fragment in table.get_fragments():
            hits = rows_with(fragment, keys)
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


def _columns(schema: Any) -> dict[str, tuple[int, Any]]:
    """Returns number and type of columns by name: one that comes again has another number."""
    return {field.name(): (field.id(), field.to_arrow().type) for field in schema.fields()}


def check_rows(path: str, found: int, wanted: int) -> None:
    """Makes sure that a table has as many rows as the dataset.

    Raises:
      ValueError: it has not.
    """
    if found != wanted:
        raise ValueError(
            f"{path} has {found} rows, where exports make it {wanted}: others write to it too, or "
            "rows were removed by hand. Export without --since=last, to another directory."
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


def _first_line(error: Exception) -> str:
    """Returns what Lance says, without the places in its code."""
    return str(error).partition(", /")[0].strip()
