"""What a location means that a user writes: a path on this machine, or an address elsewhere."""

from __future__ import annotations

import os
import pwd
import re
import urllib.parse

from image_features.errors import UsageError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE = re.compile(r"file:(?://(?P<host>[^/]*))?(?P<path>/.*)?", re.IGNORECASE | re.DOTALL)


def absolute(location: str) -> str:
    """Returns a location that means the same to every process and to every file system.

    A path becomes absolute, with `~` for the home directory. A file URI becomes the path that it
    names, where `%20` is a blank (RFC 8089). The scheme of any other address is put in lower case,
    since file systems are found by it.

    Args:
      location: A path, a file URI such as file:///data, or an address such as gs://bucket/data.

    Raises:
      UsageError: the location is empty, names a file of another machine, or needs a home directory
        that nobody knows.
    """
    if not location:
        raise UsageError("A location is empty; name a path, or an address such as gs://bucket/x.")
    if is_file_uri(location):
        return _from_root(path_of(location))
    scheme = _SCHEME.match(location)
    if scheme:
        return scheme[0].lower() + location[scheme.end() :]
    return _from_root(expand_home(location))


def _from_root(path: str) -> str:
    # POSIX leaves open what two slashes in front mean, so that Python keeps them.
    return re.sub("^//+", "/", os.path.abspath(path))


def is_file_uri(location: str) -> bool:
    """Whether a location is a file URI: file:/x, file:///x or file://host/x."""
    return location[:6].lower() == "file:/"


def path_of(uri: str) -> str:
    """Returns the path that a file URI names on this machine.

    Raises:
      UsageError: it names no path, or a file of another machine.
    """
    parts = _FILE.fullmatch(uri)
    if parts is None or not parts["path"]:
        raise UsageError(f"{uri} names no path; write file:///PATH, or the path alone.")
    if (parts["host"] or "localhost").lower() != "localhost":
        raise UsageError(
            f"{uri} names a file of the machine {parts['host']}; write file:///PATH for a file of "
            "this one."
        )
    # A name may hold bytes that are no UTF-8, as a listing's may.
    return os.fsdecode(urllib.parse.unquote_to_bytes(os.fsencode("/" + parts["path"].lstrip("/"))))


def expand_home(path: str) -> str:
    """Returns a path with the home directory for a leading `~`.

    Raises:
      UsageError: HOME is not set, and the user has no entry in the password database.
    """
    if path != "~" and not path.startswith("~/"):
        return os.path.expanduser(path)
    home = os.environ.get("HOME")
    if not home:
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            # Python leaves the path as it is then, and a directory named `~` would be made.
            raise UsageError(
                f"{path} cannot be found: HOME is not set, and user {os.getuid()} has no home "
                "directory; set HOME, or name the path without ~."
            ) from None
    return home + path[1:]
