"""Every exception that a caller of this package may want to catch, and the exit codes.

    ImageFeaturesError
     +- UsageError            something asked for cannot be done; no work has started
     |   +- MissingLibraryError   a location needs a library   (transforms.stores.libraries)
     +- ModelError            a model cannot be resolved, loaded, converted or exported
     +- ManifestError         a manifest cannot be read   (transforms.manifests.rows)
     +- DamagedFileError      a compressed file is damaged (transforms.stores.compression)
     +- FetchError            a location cannot be read   (transforms.stores.retries)
     +- DecodeError           a file gives no pixels      (transforms.images.decode_error)
     +- ImageColumnError      a row holds no usable image (transforms.inference.columns)
     +- StoreError            a database cannot be used   (transforms.exports.store)
     +- RunNotFoundError      there is no committed run where one was asked for
     +- UnreadableRunError    a commit file was not written by this version or an earlier one
     +- DamagedRunError       a file of a run is not as it was written
     +- UnsoundRunError       a run lacks files that its commit lists
     +- RunHeldError          another launcher works on the run
     +- RunFailedError        a job ended without a commit
         +- CommitError       the rows do not add up, or another job has committed there
             +- GuardError    the rows add up, and a guard stopped the commit

The command line ends with the `exit_code` of what is raised; docs/operations.md tells what each
code asks of the operator.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_OVER_BUDGET = 3
EXIT_HELD = 4
EXIT_GUARDED = 5


class ImageFeaturesError(Exception):
    """The root of all exceptions that this package raises on purpose.

    Attributes:
      exit_code: The exit code of the command line when it ends with this error.
    """

    exit_code = EXIT_FAILED


class UsageError(ImageFeaturesError, ValueError):
    """Something that was asked for cannot be done; the message is a sentence for the user."""

    exit_code = EXIT_USAGE


class ModelError(ImageFeaturesError, ValueError):
    """A model cannot be resolved, loaded, converted or exported.

    The message says in a sentence or two what was given, what is wrong with it, and the way out.
    """


class RunNotFoundError(ImageFeaturesError, ValueError):
    """There is no committed run where one was asked for."""


class UnreadableRunError(ImageFeaturesError, ValueError):
    """There is a commit file that this version cannot read."""


class DamagedRunError(ImageFeaturesError, ValueError):
    """A file of a run is not as it was written; the message names it."""


class UnsoundRunError(ImageFeaturesError, RuntimeError):
    """A run that should replace others lacks files, so that the others must stay."""


class RunHeldError(ImageFeaturesError, RuntimeError):
    """Another launcher works on the run."""

    exit_code = EXIT_HELD


class RunFailedError(ImageFeaturesError, RuntimeError):
    """A job ended without a commit."""


class CommitError(RunFailedError):
    """The rows of a run do not add up, or another job has committed in its place."""


class GuardError(CommitError):
    """The rows of a run add up, and a guard stopped its commit; str() holds the sentences."""

    exit_code = EXIT_GUARDED
