"""The same images in several places: on disk, behind HTTP, in a Cloud Storage emulator."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.extraction import write_manifest
from benchmarks.loopback import HOST, Counters, Server

# The emulator is not imported here, since only its own process needs it.
BUCKET = "images"
PROJECT = "benchmark"


@dataclasses.dataclass(frozen=True)
class Store:
    """A place that images are read from.

    Attributes:
      name: The name in the table.
      uris: The locations of the images; image i is the same in every store.
      options: The options with which `extract` reaches it.
      env: The environment variables that it takes besides.
      servers: The processes that serve, of which the first answers late.
    """

    name: str
    uris: Sequence[str]
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    servers: tuple[Server, ...] = ()

    def delay(self, milliseconds: float) -> Counters:
        """Sets the delay; returns what the servers have done so far, together."""
        if not self.servers:
            return Counters()
        all_counters = [server.delay(milliseconds) for server in self.servers]
        cpu = sum(counters.cpu_seconds for counters in all_counters)
        return dataclasses.replace(all_counters[0], cpu_seconds=cpu)


def local(links: Sequence[str]) -> Store:
    """Makes a store of the files themselves."""
    return Store("local", links)


@contextlib.contextmanager
def http(links: Sequence[str], scratch: pathlib.Path) -> Iterator[Store]:
    """Makes a store of the files in a server's memory, each under the name of its link."""
    files = _distinct(links)
    listed = write_manifest(files, scratch / "files.txt")
    with Server.of_files(listed) as server:
        names = [pathlib.PurePath(link).name for link in links]
        uris = [f"{server.url}/{index}/{name}" for index, name in enumerate(names)]
        yield Store("http", uris, ("--allow_private_hosts",), servers=(server,))


@contextlib.contextmanager
def gcs(links: Sequence[str], scratch: pathlib.Path) -> Iterator[Store]:
    """Makes a store of the files in an emulator, an object for each link, behind a slow proxy."""
    with Server("benchmarks.cloud") as cloud, Server.proxy(cloud.ports[0]) as proxy:
        _upload(links, cloud.url)
        metadata = f"{HOST}:{cloud.ports[1]}"
        yield Store(
            "gcs",
            [f"gs://{BUCKET}/{index}" for index in range(len(links))],
            (f"--project={PROJECT}",),
            {
                "STORAGE_EMULATOR_HOST": proxy.url,
                "GCE_METADATA_HOST": metadata,
                "GCE_METADATA_IP": metadata,
                # The machine's own credentials must not be found, nor be sent anywhere.
                "GOOGLE_APPLICATION_CREDENTIALS": "",
                "CLOUDSDK_CONFIG": str(scratch / "no-configuration"),
            },
            (proxy, cloud),
        )


def _upload(links: Sequence[str], url: str) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": url},
    )
    bucket = client.bucket(BUCKET)
    for index, link in enumerate(links):
        bucket.blob(str(index)).upload_from_filename(link)


def _distinct(links: Sequence[str]) -> list[str]:
    """Returns the files that the links lead to, each once."""
    return list(dict.fromkeys(os.path.realpath(link) for link in links))
