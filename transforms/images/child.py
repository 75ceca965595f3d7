"""The child process that decodes what may crash, hang or take all memory.

It takes a job from a socket and answers there, one after the other, and ends with its parent. Both
are frames: the length of a JSON text, the length of a payload, the text, the payload. Nothing that
the child says is code to the parent.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any

from PIL import ImageFile

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.picture import decode_picture, lift_pillow_limit
from image_features.transforms.images.policy import MIB, DecodePolicy, memory_for
from image_features.transforms.values import Reason

FRAME = struct.Struct(">IQ")
# What a large image has left in the heap is no use to the next one, and would add up.
_MOST_KEPT = 64 * MIB
_MOST_SHOWN = 300
# What no decoder has to do, by the first letters of Python's audit events.
_FORBIDDEN = ("os.exec", "os.fork", "os.posix_spawn", "os.system", "pty.", "socket.", "subprocess.")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def framed(message: Mapping[str, Any], size: int) -> bytes:
    """Returns what is sent before a payload of so many bytes."""
    text = json.dumps(message).encode()
    return FRAME.pack(len(text), size) + text


def main() -> None:
    """Decodes one file after the other until the parent ends."""
    jobs, answers = _streams()
    _obey_the_parent_only()
    _give_up_rights()
    lift_pillow_limit()
    kept_at_first = _data_bytes()
    # The parent's end may be gone at any time.
    with contextlib.suppress(EOFError, OSError):
        _send(answers, {"ready": True})
        while True:
            job, data = _receive(jobs)
            policy = DecodePolicy.from_json(job["policy"])
            try:
                with _ended_in_time(jobs.fileno(), job["seconds"]):
                    answer, pixels = _decode(data, policy)
            except Exception as error:  # Nobody would learn of it otherwise.
                shown = f"{type(error).__name__}: {error}"
                _send(answers, {"crash": shown[:_MOST_SHOWN]})
                break
            del data
            answer["ends"] = _data_bytes() - kept_at_first > _MOST_KEPT
            _send(answers, answer, pixels)
    os._exit(0)  # There is nothing to clean up, and libraries may hang when they do.


def _decode(data: bytes, policy: DecodePolicy) -> tuple[dict[str, Any], bytes]:
    try:
        header = read_header(data)
        # It has what a file of its size may take, and no more.
        _limit_memory(memory_for(header.pixels))
        try:
            picture = decode_picture(data, header, policy)
        except DecodeError as error:
            if not (policy.allow_truncated and error.may_end_early):
                raise
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            try:
                picture = decode_picture(data, header, policy)
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False
    except DecodeError as error:
        return {"reason": error.reason, "message": error.message}, b""
    except MemoryError:
        message = "The header of the image takes more memory than there is."
        return {"reason": Reason.TOO_COSTLY, "message": message}, b""
    answer = {"format": picture.format, "width": picture.width, "height": picture.height}
    return answer, b"".join(pixels.tobytes() for pixels in (picture.pixels, *picture.further))


@contextlib.contextmanager
def _ended_in_time(socket: int, seconds: float) -> Iterator[None]:
    """Lets signals kill the process, in the middle of C code, when its time or its parent ends.

    A parent sends nothing while it waits for an answer, so that nothing happens to the socket but
    its end. Systems that ignore SIGIO have the alarm.
    """
    flags = fcntl.fcntl(socket, fcntl.F_GETFL)
    fcntl.fcntl(socket, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(socket, fcntl.F_SETFL, flags | os.O_ASYNC)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    fcntl.fcntl(socket, fcntl.F_SETFL, flags)


def _streams() -> tuple[IO[bytes], IO[bytes]]:
    """Keeps the socket, which came as standard input, and silences the standard streams.

    Whatever decoders print would come for every image, and is not for the log of a worker.
    """
    socket = os.dup(0)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silence, stream)
    os.close(silence)
    return open(socket, "rb"), open(socket, "wb", closefd=False)


def _obey_the_parent_only() -> None:
    """Ends with the parent, and by the alarm, whatever signals the parent blocks or ignores.

    Signals that end a service reach every process of it. The parent decides what becomes of images
    that are being decoded then.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGALRM, signal.SIGIO):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _give_up_rights() -> None:
    """Writes no files, starts no programs, leaves no core, and is the first to lack memory."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (0, 0))
    sys.dont_write_bytecode = True
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN) or (event == "open" and (arguments[2] or 0) & _WRITES):
        raise PermissionError(f"A decoder must not do this: {event}")


def _limit_memory(most: int) -> None:
    """Lets the process have so many bytes above what it has now, where the system can."""
    with contextlib.suppress(OSError, ValueError):
        soft, hard = _data_bytes() + most, resource.getrlimit(resource.RLIMIT_DATA)[1]
        soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """Returns what counts against RLIMIT_DATA; 0 where the system does not tell."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmData:"):
                return 1024 * int(line.split()[1])
    return 0


def _send(stream: IO[bytes], message: Mapping[str, Any], payload: bytes = b"") -> None:
    stream.write(framed(message, len(payload)))
    stream.write(payload)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    length, size = FRAME.unpack(_exactly(stream, FRAME.size))
    message = json.loads(_exactly(stream, length))
    return message, _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
