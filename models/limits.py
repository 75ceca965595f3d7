"""What a model may cost before it is refused; no feature model comes near."""

from __future__ import annotations

MAX_DOWNLOAD_BYTES = 2 * 2**30  # The size of a file or directory fetched over the network.
MAX_UNPACKED_BYTES = 4 * 2**30  # The size of all files in an archive.
MAX_MEMBERS = 100_000  # The number of files and directories in an archive or a remote directory.
