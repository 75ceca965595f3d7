"""A PostgreSQL database: its address, connections to it, and sentences for what goes wrong."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import os
import re
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import tenacity

from image_features.errors import UsageError
from image_features.transforms.exports.store import StoreError

if TYPE_CHECKING:
    import psycopg

Out = TypeVar("Out")

# For so many seconds a worker tries to reach a server, which may be started again just now. A
# launcher waits for one that says so only, since other failures are for the user.
PATIENCE, BRIEFLY = 90.0, 10.0
_SCHEMES = ("postgresql://", "postgres://")
_HOW = (
    "write postgresql://HOST:PORT/DATABASE, with USER@ before HOST, and with %40 for @, %2F for /, "
    "%3A for :, %3F for ? and %23 for # in a name or a password"
)
# What the server says of a failure that may pass: connections, conflicts, too many connections,
# a server that is stopped or started, and a connection that it thinks idle.
_MAY_PASS = re.compile("08...|40...|53300|57P0[1235]")
# What it says without a code, to those who connect.
_BUSY = re.compile("starting up|shutting down|too many (clients|connections)|connection slots")
# What libpq and psycopg add to what the system says.
_ADDED = re.compile(r"connection (failed|is bad): |Is the server running [^?]{1,300}\?")
_CANCELLED, _LOCKED = "57014", "55P03"
# A connection that a firewall has dropped is noticed after two minutes.
_SETTINGS = {
    "connect_timeout": "10",
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "120000",
    "application_name": "image-features export",
}
_VARIABLES = {"connect_timeout": "PGCONNECT_TIMEOUT", "application_name": "PGAPPNAME"}


@dataclasses.dataclass(frozen=True)
class Database:
    """A database, described so that it can be sent to workers.

    A `StoreError` that is raised within an action is a phrase; it leaves here as a sentence.

    Attributes:
      url: The address as libpq takes it, which may hold a password.
      shown: The address as users may see it, with what is done there.
    """

    url: str = dataclasses.field(repr=False)
    shown: str

    @classmethod
    def at(cls, url: str) -> Database:
        """Returns the database of an address.

        Raises:
          UsageError: the address is none, or the client is not installed; the message has nothing
            of the address, since it may be the password.
        """
        if any(importlib.util.find_spec(name) is None for name in ("psycopg", "pgvector")):
            raise UsageError(
                "--format=pgvector needs psycopg and pgvector, which are not installed: "
                "pip install 'image-feature-extractor[pgvector]'"
            )
        try:
            import psycopg.conninfo
        except ImportError as error:  # There is no libpq that it could load.
            raise UsageError(
                f"--format=pgvector cannot load psycopg ({str(error).splitlines()[0]}): "
                "pip install 'psycopg[binary]'"
            ) from error
        if not url.startswith(_SCHEMES):
            raise UsageError(f"TARGET is no address of PostgreSQL; {_HOW}.")
        try:
            parts = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error as error:
            raise UsageError(f"TARGET is no address that PostgreSQL understands; {_HOW}.") from (
                None if "percent" in str(error) else error
            )
        if not _is_plain(url, parts):
            raise UsageError(f"TARGET can be understood in more than one way; {_HOW}.")
        return cls(url, _shown(parts))

    def connect(self) -> psycopg.Connection[Any]:
        """Connects.

        Raises:
          psycopg.Error: that fails.
        """
        import psycopg
        import psycopg.conninfo

        given = psycopg.conninfo.conninfo_to_dict(self.url)
        settings = {
            name: value
            for name, value in _SETTINGS.items()
            if name not in given and not os.environ.get(_VARIABLES.get(name, name))
        }
        # Poolers between do not know statements that are prepared.
        connection = psycopg.connect(
            psycopg.conninfo.make_conninfo(self.url, **settings),
            prepare_threshold=None,
            client_encoding="utf8",
        )
        # Who has waited for a lock must see what was committed meanwhile, whatever the default is.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        return connection

    def run(self, action: Callable[[psycopg.Connection[Any]], Out], patience: float) -> Out:
        """Calls an action in a transaction of its own, again where a failure may pass.

        Raises:
          StoreError: it fails for good.
        """

        def attempt() -> Out:
            with self.connect() as connection:
                return action(connection)

        return self.tried(attempt, patience)

    def tried(self, action: Callable[[], Out], patience: float) -> Out:
        """Calls an action until it works, for so many seconds at most.

        Raises:
          StoreError: it fails for good.
        """
        import psycopg

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(patience),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
            retry=tenacity.retry_if_exception(lambda error: _may_pass(error, patience)),
            reraise=True,
        )
        try:
            return retrying(action)
        except psycopg.Error as error:
            raise StoreError(f"{self.shown}: {said(error)}.") from error
        except StoreError as error:
            raise StoreError(f"{self.shown}: {error}.") from error


def said(error: psycopg.Error) -> str:
    """Returns what PostgreSQL says of a failure, and the way out of some, without a full stop."""
    words = error.diag.message_primary or " ".join(str(error).split())
    if error.sqlstate and error.diag.message_detail:
        words += f" ({error.diag.message_detail})"
    text = " ".join(_ADDED.sub("", words).split()).rstrip(".")
    if error.sqlstate == _CANCELLED:
        return (
            f"{text}; if that is by its statement_timeout, end the address with "
            "?options=-c%20statement_timeout%3D0"
        )
    if error.sqlstate == _LOCKED:
        return f"{text}; run the command again when nobody holds a lock on the table"
    return text


def _may_pass(error: BaseException, patience: float) -> bool:
    import psycopg

    if not isinstance(error, psycopg.OperationalError):
        return False
    if error.sqlstate is not None:
        return _MAY_PASS.fullmatch(error.sqlstate) is not None
    return patience > BRIEFLY or _BUSY.search(str(error)) is not None


def _is_plain(url: str, parts: dict[str, Any]) -> bool:
    """Whether others than libpq too would take the same part of an address for the password.

    Otherwise it would be shown, or be looked up as the name of a host.
    """
    rest = url.partition("://")[2]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :].partition("?")[0]
    query = {pair.partition("=")[0] for pair in url.partition("?")[2].split("&")}
    named = {"user", "password"} & parts.keys() - query
    ports = str(parts.get("port", "")).split(",")
    return (
        "@" not in path
        and "@" not in str(parts.get("host", ""))
        and (not named or "@" in authority)
        and all(not port or (port.isascii() and port.isdigit()) for port in ports)
    )


def _shown(parts: dict[str, Any]) -> str:
    """Spells an address without user and secrets, with what the environment adds to it."""
    host, port, name = (
        str(parts.get(part) or os.environ.get(variable, ""))
        for part, variable in (("host", "PGHOST"), ("port", "PGPORT"), ("dbname", "PGDATABASE"))
    )
    hosts = [urllib.parse.quote(h, safe="" if h.startswith("/") else ":") for h in host.split(",")]
    ports = port.split(",") if port else []
    if len(ports) == 1:  # One is for all hosts.
        ports *= len(hosts)
    places = ",".join(
        f"{h}:{p}" if p else h for h, p in itertools.zip_longest(hosts, ports, fillvalue="")
    )
    service = parts.get("service") or os.environ.get("PGSERVICE")
    return (
        f"postgresql://{places}/{urllib.parse.quote(name)}"
        f"{f'?service={service}' if service else ''}"
    )
