"""The children that decode: whatever they do, and whatever is done to them, costs one row."""

import contextlib
import gc
import multiprocessing.spawn
import os
import resource
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from image_features.transforms.images import children
from image_features.transforms.images.child import framed
from image_features.transforms.images.children import decode_in_child, end_children
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import Reason
from tests import images
from tests.transforms.images.heavy import heavy_png, run, start

POLICY = DecodePolicy((8, 8), timeout=20)
SMALL = images.encode(images.gradient(8, 8), "TIFF")
HEAVY = heavy_png()
PIXELS = np.asarray(images.gradient(8, 8))


@pytest.fixture(autouse=True)
def _no_children():
    end_children()
    yield
    end_children()


def decodes(data=SMALL, policy=POLICY):
    np.testing.assert_array_equal(decode_in_child(data, policy).pixels, PIXELS)


def fails(data, **options):
    start = time.monotonic()
    with pytest.raises(DecodeError) as caught:
        decode_in_child(data, DecodePolicy((8, 8), **options))
    return caught.value, time.monotonic() - start


def pids():
    """The processes that are children of this one, and have not ended."""
    return {child.pid for child in psutil.Process().children() if child.status() != "zombie"}


@contextlib.contextmanager
def each_child_gets(number):
    """Sends a signal to each child that decodes."""
    ends = threading.Event()

    def look():
        while not ends.wait(0.01):
            for child in list(children._children._all):
                if not child.is_idle and child.lives:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child._process.pid, number)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def test_a_child_is_kept_and_told_to_end():
    decodes()
    before = pids()
    decodes()
    assert pids() == before and len(before) == 1
    end_children()
    assert not pids()
    decodes()
    assert len(pids()) == 1


def test_a_child_waits_for_its_next_file_whatever_the_default_timeout_of_sockets():
    end_children()
    socket.setdefaulttimeout(60)
    try:
        decodes()
        before = pids()
        time.sleep(0.2)
        decodes()
    finally:
        socket.setdefaulttimeout(None)
    assert pids() == before


def test_what_takes_too_long_is_ended_by_the_childs_alarm():
    decodes()
    before = pids()
    error, seconds = fails(HEAVY, timeout=0.3)
    assert error.reason is Reason.TOO_COSTLY and "0.3 seconds" in error.message
    assert seconds < 1.2
    assert not pids()
    decodes()
    assert pids().isdisjoint(before)


@pytest.mark.parametrize("size", [0, 10_000_000])
def test_a_child_that_is_stopped_holds_nobody(size):
    decodes()
    (pid,) = pids()
    os.kill(pid, signal.SIGSTOP)
    # What does not fit into a socket is not taken either.
    error, seconds = fails(SMALL + bytes(size), timeout=0.2)
    assert error.reason is Reason.TOO_COSTLY
    assert seconds < 2
    assert not psutil.pid_exists(pid)
    decodes()


def test_an_image_that_a_child_dies_on_once_is_decoded_by_another():
    decodes()
    (pid,) = pids()
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    decodes()
    assert pids() != {pid}


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "no memory left")]
)
def test_an_image_that_children_die_on_is_one_error(number, word):
    with each_child_gets(number):
        error, _ = fails(HEAVY, timeout=20)
    assert error.reason is Reason.DECODER_CRASHED
    assert word in error.message
    assert not pids()
    decodes()


def test_attempts_share_the_time():
    with each_child_gets(signal.SIGSTOP):
        error, seconds = fails(HEAVY, timeout=0.5)
    assert error.reason is Reason.TOO_COSTLY
    assert seconds < 3


def test_neighbours_of_a_crash_are_unharmed():
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decodes, [SMALL] * 4))
        victim = sorted(pids())[0]
        jobs = [pool.submit(decodes) for _ in range(100)]
        os.kill(victim, signal.SIGSEGV)
        for job in jobs:
            job.result()
    assert len(pids()) <= 4


def test_nothing_is_left_of_children_that_were_killed():
    decodes()
    gc.collect()
    descriptors = len(os.listdir("/dev/fd"))
    for _ in range(8):
        for pid in pids():
            os.kill(pid, signal.SIGKILL)
        decodes()
    gc.collect()
    # What another test has left in this process may have been closed meanwhile.
    assert len(os.listdir("/dev/fd")) <= descriptors
    assert len(psutil.Process().children()) == 1


READY = framed({"ready": True}, 0)
GOOD = {"format": "tiff", "width": 8, "height": 8, "ends": False}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"Traceback (most recent call last):",
        framed({}, 0)[:-1] + b"?",
        framed(GOOD, 191) + bytes(191),
        framed(GOOD, 0),
        framed({**GOOD, "width": "wide"}, 192) + bytes(192),
        framed({"format": "tiff"}, 192) + bytes(192),
        framed({"reason": "tired", "message": "no", "ends": False}, 0),
        framed({"reason": "corrupt", "ends": False}, 0),
        framed(GOOD, 2**60),
        (2**32 - 1).to_bytes(4) + bytes(8),
        framed([], 0),
    ],
)
def test_an_answer_without_sense_is_a_crash(answer, tmp_path, monkeypatch):
    assert answered(answer, tmp_path, monkeypatch).reason is Reason.DECODER_CRASHED


def test_a_child_says_what_it_did_not_foresee(tmp_path, monkeypatch):
    answer = framed({"crash": "ImportError: no such thing"}, 0)
    error = answered(answer, tmp_path, monkeypatch)
    assert error.reason is Reason.DECODER_CRASHED
    assert "the last time by ImportError: no such thing" in error.message


def answered(answer, tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable} -IS\nimport os\nos.write(0, {READY!r})\nasked = b''\n"
        # One that ends before it has been asked is another failure.
        f"while not asked.endswith({SMALL!r}): asked += os.read(0, 9999)\n"
        f"os.write(0, {answer!r})\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(multiprocessing.spawn, "get_executable", lambda: str(program))
    return fails(SMALL, timeout=20)[0]


@pytest.mark.parametrize(
    ("executable", "words"),
    [
        ("/no/python", "/no/python cannot be started: No such file"),
        ("/dev/null", "cannot be started: Permission denied"),
        ("/bin/false", "exit code 1"),
        ("", "no interpreter"),
        (None, "no interpreter"),
    ],
)
def test_a_program_without_an_interpreter_says_so(executable, words, monkeypatch):
    monkeypatch.setattr(multiprocessing.spawn, "get_executable", lambda: executable)
    error, _ = fails(SMALL)
    assert error.reason is Reason.DECODER_UNAVAILABLE
    assert words in error.message


def test_a_frozen_program_does_not_start_itself_again(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert fails(SMALL)[0].reason is Reason.DECODER_UNAVAILABLE


def test_a_descriptor_is_waited_for(monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 40, hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        threading.Timer(0.5, lambda: [os.close(taken.pop()) for _ in range(20)]).start()
        decodes()
        end_children()
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        monkeypatch.setattr(children, "_SHORTAGE_SECONDS", 0.3)
        error, _ = fails(SMALL)
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert error.reason is Reason.DECODER_UNAVAILABLE
    assert "Too many open files" in error.message


def test_signals_that_the_parent_blocks_or_ignores_end_a_child_all_the_same():
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        error, seconds = fails(HEAVY, timeout=0.3)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        signal.signal(signal.SIGALRM, before)
    assert error.reason is Reason.TOO_COSTLY
    assert seconds < 1.2


def test_signals_that_end_a_service_leave_its_children_to_it():
    decodes()
    (pid,) = pids()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    decodes()
    assert pids() == {pid}


def test_a_fork_has_children_of_its_own():
    decodes()
    (pid,) = pids()
    fork = os.fork()
    if not fork:
        code = 1
        with contextlib.suppress(BaseException):
            decodes()
            code = 0 if pids() and pid not in pids() else 2
            end_children()
        os._exit(code)
    assert os.waitpid(fork, 0)[1] == 0
    decodes()
    assert pids() == {pid}


def test_what_a_decoder_warns_of_is_not_for_the_log(capfd):
    image = Image.new("P", (8, 8))
    data = images.encode(image, "TIFF", tiffinfo={270: "x"}).replace(b"\x0e\x01", b"\x99\x99")
    with contextlib.suppress(DecodeError):
        decode_in_child(data, POLICY)
    with contextlib.suppress(DecodeError):
        decode_in_child(SMALL[:-40], POLICY)
    assert capfd.readouterr() == ("", "")


_PROGRAM = """
import os, pathlib, sys, threading, time
from image_features.transforms.images.children import decode_in_child
from image_features.transforms.images.policy import DecodePolicy
def decode(name, seconds=20):
    return decode_in_child(pathlib.Path(name).read_bytes(), DecodePolicy((8, 8), timeout=seconds))
{}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "small").write_bytes(SMALL)
    (tmp_path / "heavy").write_bytes(HEAVY)
    return tmp_path


@pytest.mark.parametrize(
    "way",
    [
        'decode(sys.argv[1] + "/small")',
        # Nobody waits for a daemon thread.
        'threading.Thread(target=decode, args=(sys.argv[1] + "/heavy",), daemon=True).start()\n'
        "time.sleep(0.6)",
        'threading.Thread(target=decode, args=(sys.argv[1] + "/small",), daemon=True).start()',
        'import atexit; atexit.register(decode, sys.argv[1] + "/small")',
    ],
)
def test_children_end_with_the_interpreter(files, way):
    begun = time.monotonic()
    assert run(_PROGRAM.format(way), files, flags=("-X", "dev"), MARK=files) == (0, "", "")
    assert time.monotonic() - begun < 4
    wait_until_ended(files, 1)


def wait_until_ended(mark, seconds, *others):
    """Waits until no process is left that has the mark in its environment, but for some others."""
    end = time.monotonic() + seconds
    while {process.pid for process in psutil.process_iter() if has(process, mark)} - {*others}:
        assert time.monotonic() < end
        time.sleep(0.05)


def has(process, mark):
    with contextlib.suppress(psutil.Error):
        return process.environ().get("MARK") == str(mark)
    return False


@pytest.mark.parametrize("ends_by", ["alarm", "end of the socket"])
def test_a_child_whose_parent_is_killed_ends_in_time(files, ends_by):
    way = 'decode(sys.argv[1] + "/small")\nfork = os.fork()\nif not fork: time.sleep(20)\n'
    way += 'print(fork, flush=True)\ndecode(sys.argv[1] + "/heavy", 1)'
    program = _PROGRAM.format(way)
    # A fork that no function of ours is told of keeps the socket open.
    if ends_by == "alarm":
        program = "import os\nos.register_at_fork = lambda **_: None\n" + program
    with start(program, files, MARK=files) as parent:
        fork = int(parent.stdout.readline())
        time.sleep(0.4)
        parent.kill()
        try:
            wait_until_ended(files, 2.5, fork)
        finally:
            os.kill(fork, signal.SIGKILL)


@pytest.mark.parametrize("flags", [(), ("-I",), ("-W", "error")])
def test_a_child_starts_wherever_its_parent_does(files, flags, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    for module in ("json", "struct", "socket", "numpy"):
        (place / f"{module}.py").write_text('raise SystemExit("the wrong module")')
    # A program that is started with -c has the working directory in its path.
    way = "import image_features; os.chdir(sys.argv[2]); "
    way += 'os.rmdir(sys.argv[3]) if sys.argv[3] else None; decode(sys.argv[1] + "/small")'
    program = f"import sys; sys.path.append({os.getcwd()!r})\n" + _PROGRAM.format(way)
    assert run(program, files, place, "", flags=flags) == (0, "", "")
    gone = tmp_path / "gone"
    gone.mkdir()
    assert run(program, files, gone, gone, flags=flags) == (0, "", "")
