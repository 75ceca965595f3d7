"""The child process that decodes what may crash, hang or take all memory.

It reads a job from its standard input and answers on its standard output, one after the other, and
ends with its parent. Both are frames: the length of a JSON text, the length of a payload, the text,
the payload. Nothing that the child says is code to the parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Mapping
from typing import IO, Any

from PIL import ImageFile

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.picture import decode_picture, lift_pillow_limit
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import Reason

_FRAME = struct.Struct(">IQ")
_ENDS_EARLY = (Reason.TRUNCATED, Reason.CORRUPT)


def send(stream: IO[bytes], message: Mapping[str, Any], payload: bytes = b"") -> None:
    """Writes one frame."""
    text = json.dumps(message).encode()
    stream.write(_FRAME.pack(len(text), len(payload)) + text)
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Reads one frame.

    Raises:
      EOFError: the other side has ended.
    """
    length, size = _FRAME.unpack(_exactly(stream, _FRAME.size))
    message = json.loads(_exactly(stream, length))
    return message, _exactly(stream, size)


def main() -> None:
    """Decodes one file after the other until the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent decides about its children.
    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Whatever a decoder prints must not get between the answers.
    _give_up_rights()
    lift_pillow_limit()
    while True:
        try:
            job, data = receive(jobs)
        except EOFError:
            return
        policy = DecodePolicy.from_json(job)
        _limit_memory(policy.max_memory)
        # The alarm kills the process in the middle of C code, even when nobody waits for it.
        signal.setitimer(signal.ITIMER_REAL, policy.timeout)
        try:
            answer, pixels = _decode(data, policy)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        del data
        send(answers, answer, pixels)


def _decode(data: bytes, policy: DecodePolicy) -> tuple[dict[str, Any], bytes]:
    try:
        header = read_header(data)
        try:
            picture = decode_picture(data, header, policy)
        except DecodeError as error:
            if not (policy.allow_truncated and error.reason in _ENDS_EARLY):
                raise
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            try:
                picture = decode_picture(data, header, policy)
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False
    except DecodeError as error:
        return {"reason": error.reason, "message": error.message}, b""
    except MemoryError:
        message = f"The image takes more than {policy.max_memory} bytes; see --max_megapixels."
        return {"reason": Reason.TOO_COSTLY, "message": message}, b""
    answer = {"format": picture.format, "width": picture.width, "height": picture.height}
    return answer, picture.pixels.tobytes()


def _give_up_rights() -> None:
    """Writes no files and leaves no core; each is a limit that the process cannot lift again."""
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (0, 0))


def _limit_memory(most: int) -> None:
    """Lets the process have so many bytes above what it has now, where the system can."""
    with contextlib.suppress(OSError, ValueError):
        used = int(_status("VmData").split()[0]) * 1024
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (used + most, hard))


def _status(field: str) -> str:
    with open("/proc/self/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == field:
                return value
    raise OSError(f"/proc/self/status has no {field}")


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
