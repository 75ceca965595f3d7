"""The application's Google credentials: found, checked, and renewed by one thread for all."""

from __future__ import annotations

import os
import threading
import warnings
from typing import TYPE_CHECKING, Any

from image_features.errors import UsageError

if TYPE_CHECKING:
    import urllib3

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)


def authorized(pool: urllib3.PoolManager) -> Any:
    """Returns the pool with the application's credentials, or as it is where there are none."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from google.auth.transport.urllib3 import AuthorizedHttp

    try:
        credentials, _ = google.auth.default(scopes=list(_SCOPES))
    except DefaultCredentialsError:
        return pool
    credentials = _impersonating(credentials)
    _renew_once(credentials)
    return AuthorizedHttp(credentials, http=pool)


def _impersonating(credentials: Any) -> Any:
    """Returns the credentials of the account of --impersonate_service_account, as Beam has them."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    options = FileSystems._pipeline_options  # Beam sets it wherever a pipeline runs.
    names = options and options.view_as(GoogleCloudOptions).impersonate_service_account
    if not names:
        return credentials
    from google.auth import impersonated_credentials

    *delegates, target = names.split(",")
    return impersonated_credentials.Credentials(
        source_credentials=credentials,
        target_principal=target,
        delegates=delegates,
        target_scopes=list(_SCOPES),
    )


def check_credentials() -> None:
    """Makes sure that credentials that are named can be read; there may be none at all.

    Beam would look for them for half a minute, and then go on without.

    Raises:
      UsageError: the file of credentials is missing or damaged.
    """
    try:
        import google.auth
    except ImportError:
        return  # Another check tells how to install what gs:// needs.
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return
    # Without a file google.auth asks for a metadata server, which may take seconds.
    file = os.environ.get(VARIABLE) or _gclouds_file()
    if not file:
        return
    try:
        with warnings.catch_warnings():
            # It warns of files that strangers have written, and this is the user's own.
            warnings.simplefilter("ignore", DeprecationWarning)
            google.auth.load_credentials_from_file(file)
    except Exception as error:  # A damaged file fails in any way.
        raise UsageError(
            f"The Google credentials in {file} cannot be used: {str(error).rstrip('.')}. Correct "
            f"or unset {VARIABLE}, or sign in by `gcloud auth application-default login`."
        ) from error


def is_refused(error: Exception) -> bool:
    """Tells whether an error means that credentials are of no use, however often they are tried."""
    if not type(error).__module__.startswith("google.auth"):
        return False
    from google.auth.exceptions import GoogleAuthError, TransportError

    is_passing = isinstance(error, TransportError)
    return isinstance(error, GoogleAuthError) and not (is_passing or error.retryable)


def _gclouds_file() -> str:
    from google.auth import _cloud_sdk

    path = str(_cloud_sdk.get_application_default_credentials_path())
    return path if os.path.isfile(path) else ""


def _renew_once(credentials: Any) -> None:
    """Lets one thread renew a token while others wait for it: a server of tokens has limits too."""
    refresh, lock = credentials.refresh, threading.Lock()

    def once(request: Any) -> None:
        before = credentials.token
        with lock:
            if credentials.token == before or not credentials.valid:
                refresh(request)

    credentials.refresh = once
