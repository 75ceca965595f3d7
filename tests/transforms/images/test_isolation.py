"""Files start no programs and open no other files, whatever they are or say they are."""

import json
import pathlib
import shutil
import sys

import pytest

from tests import images
from tests.images.corpus import corpus
from tests.transforms.images.heavy import run

SECRET = "/etc/hostname"
# Each of these formats can name files, or be a program, in the hands of some reader.
_HOSTILE = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(SECRET) (r) file run showpage\n",
    "eps_dos": b"\xc5\xd0\xd3\xc6" + b"\x1e\0\0\0" + bytes(22) + b"%!PS\n(SECRET) run\n",
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/Launch/F(SECRET)>>>>endobj\n%%EOF",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://SECRET"/></svg>',
    "svg_xxe": b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file://SECRET">]><svg>&x;</svg>',
    "mvg": b"push graphic-context\nimage over 0,0 9,9 'SECRET'\npop graphic-context\n",
    "msl": b'<?xml version="1.0"?><image><read filename="SECRET"/></image>',
    "psd": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x08\0\0\0\x08\0\x08\0\3" + bytes(300),
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(60) + b"SECRET",
    "emf": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60) + b"SECRET",
    "xcf": b"gimp xcf v003\0" + bytes(60) + b"SECRET",
    "fits": b"SIMPLE  =                    T" + b" " * 2850,
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(60) + b"SECRET",
    "djvu": b"AT&TFORM\0\0\0\x40DJVMDIRM" + bytes(40) + b"SECRET",
    "xpm": b'/* XPM */\nstatic char * x[] = {"1 1 1 1", "a c SECRET", "a"};\n',
    "shell": b"#!/bin/sh\ncat SECRET\n",
    "url": b"[InternetShortcut]\nURL=file://SECRET\n",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of all formats, and what they are called is not what they are."""
    directory = tmp_path_factory.mktemp("isolation")
    for name, data in _HOSTILE.items():
        (directory / f"{name}.png").write_bytes(data.replace(b"SECRET", SECRET.encode()))
    for sample in corpus()[::5]:
        (directory / f"{sample.name}.eps").write_bytes(sample.data)
    for format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "JPEG2000", "AVIF"):
        data = images.encode(images.gradient(16, 16), format)
        (directory / f"{format}.pdf").write_bytes(data)
        (directory / f"cut {format}.svg").write_bytes(data[:-20])
    return directory


_WATCHED = """
import json, pathlib, sys
from image_features.transforms.images import child
from image_features.transforms.images.policy import DecodePolicy
files = [path.read_bytes() for path in sorted(pathlib.Path(sys.argv[1]).iterdir())]
events = []
watched = ("open", "subprocess.", "os.exec", "os.system", "os.posix_spawn", "os.fork", "socket.",
           "os.remove", "os.rename", "os.mkdir", "os.listdir", "ctypes.dlopen", "shutil.")
def watch(event, arguments):
    if event.startswith(watched) and not (event == "open" and isinstance(arguments[0], int)):
        events.append((event, str(arguments[0]) if arguments else ""))
sys.addaudithook(watch)
child._limit_memory = lambda most: None
done = 0
for data in files:
    for lenient in (False, True):
        answer, _ = child._decode(data, DecodePolicy((8, 8), allow_truncated=lenient))
        done += "reason" not in answer
roots = [path for path in sys.path if path]
plugins = [name for name in sys.modules if name.startswith("PIL.") and name.endswith("Plugin")]
print(json.dumps([done, events, roots, plugins]))
"""


def test_python_opens_nothing_but_modules(files):
    code, out, err = run(_WATCHED, files)
    assert code == 0 and "Traceback" not in err, err  # libtiff has its say.
    done, events, roots, plugins = json.loads(out)
    assert done > 20
    for event, name in events:
        assert event in ("open", "os.listdir"), (event, name)
        of_modules = name.endswith((".py", ".pyc", ".so")) or event == "os.listdir"
        assert of_modules and name.startswith(tuple(roots)), (event, name)
    for plugin in ("Eps", "Wmf", "Pdf", "Gbr", "Mpeg", "Hdf5StubImage", "FitsImage", "Psd"):
        assert not [name for name in plugins if plugin in name], plugins


_DECODE_ALL = """
import pathlib, sys
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        decode_image(path.read_bytes(), DecodePolicy((8, 8)))
    except DecodeError as error:
        print(error.reason)
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="This machine has no strace.")
def test_the_system_is_asked_for_no_program_and_no_other_file(files, tmp_path):
    trace = tmp_path / "trace"
    calls = "execve,execveat,open,openat,openat2,connect,unlink,rename,mkdir"
    tracer = ("strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={calls}")
    code, _, err = run(_DECODE_ALL, files, prefix=tracer)
    assert (code, err) == (0, "")
    lines = trace.read_text(errors="replace").splitlines()
    assert not [line for line in lines if SECRET in line]
    programs = {line.split('"')[1] for line in lines if "execve(" in line and " = 0" in line}
    assert {pathlib.Path(program).resolve() for program in programs} == {
        pathlib.Path(sys.executable).resolve()
    }
    assert not [line for line in lines if "connect(" in line]
    written = [line for line in lines if "O_WRONLY" in line or "O_RDWR" in line]
    assert not [line for line in written if "/dev/null" not in line and "oom_score" not in line]


def test_what_a_child_may_not_do_is_refused():
    program = """
import os, socket, subprocess, sys
from image_features.transforms.images import child
child._give_up_rights()
attempts = [
    lambda: subprocess.Popen(["true"]), lambda: os.system("true"), lambda: os.fork(),
    lambda: os.execv("/bin/true", ["true"]), lambda: os.posix_spawn("/bin/true", ["true"], {}),
    lambda: socket.create_connection(("127.0.0.1", 9)), lambda: socket.getaddrinfo("a.invalid", 1),
    lambda: open("written", "w"), lambda: open("/dev/null", "r+"), lambda: os.open("x", os.O_CREAT),
]
for attempt in attempts:
    try:
        attempt()
    except PermissionError as error:
        assert "A decoder must not" in str(error), error
        continue
    raise AssertionError
open("/dev/null").close()
"""
    assert run(program) == (0, "", "")
