"""What a build may take, as the unprivileged user that builds run as: root's processes know no limit of their number."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import pytest
from practice_builder import make_server_tree
from practice_card import wait_until
from test_downloads import TRIPLE, Liar, honest

NOBODY = 65534
INFO = b"""Current Target: "x86/64"
Current Revision: "r1-x"
Default Packages: base-files
Available Profiles:

generic:
    Generic
    Packages: base-files
"""
MAKEFILE = b"info:\n\t@cat info.txt\nimage:\n\t@sh hostile.sh\n"
PROFILE = {"profile_id": "p", "name": "p", "device_id": "p", "openwrt_release": "24.10.2", "target": "x86", "subtarget": "64",
           "imagebuilder_profile": "generic"}


class Library:
    """station-library as nobody, in a directory of nobody's."""

    def __init__(self, programs, directory=None):
        self.programs = programs
        self.directory = directory or pathlib.Path(tempfile.mkdtemp(prefix="practice-station-", dir="/tmp"))
        for name in ("images", "builders", "builds", "keys"):
            (self.directory / name).mkdir(mode=0o750)
        for path in [self.directory, *self.directory.iterdir()]:
            os.chown(path, NOBODY, NOBODY)
        os.chown(self.directory / "keys", 0, 0)
        os.chmod(self.directory / "keys", 0o755)
        # Where the programs are need not be to be seen by nobody.
        self.program = self.directory / "station-library"
        shutil.copy(os.path.join(programs, "station-library"), self.program)
        self.program.chmod(0o755)

    def ask(self, request):
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(
            ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", self.program, "--vault",
             self.directory / "images", "--builders", self.directory / "builders", "--builds", self.directory / "builds",
             "--keys", self.directory / "keys", "--connected", str(theirs.fileno())],
            pass_fds=[theirs.fileno()], cwd="/", env={**os.environ, "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")})
        theirs.close()
        mine.sendmsg([json.dumps(request).encode()])
        said = []
        with mine:
            while message := mine.recv(1 << 18):
                said.append(json.loads(message))
        assert process.wait() == 0
        return said

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def library(programs):
    library = Library(programs)
    yield library
    library.close()


def build(library, tmp_path, script, **limits):
    """Runs a build whose Makefile is that script; returns the last word and the log."""
    root = tmp_path / "mirror"
    make_server_tree(root, extra_files={"Makefile": MAKEFILE, "hostile.sh": script.encode(), "info.txt": INFO})
    with Liar(root, lambda out, content, start, number: honest(out, content, start)) as server:
        source = {"mirrors": [server.url], "signaturePolicy": "off", "isOffline": False, "retryCount": 0, "stallSeconds": 5}
        said = library.ask({"ensureBuilder": {"_0": {"triple": TRIPLE, "source": source, "isRefresh": False,
                                                     "byteLimit": 1 << 34}}})
    facts = said[-1]["builder"]["_0"]
    request = {"id": "ab" * 16, "triple": TRIPLE, "builder": facts["archiveSHA256"], "profile": PROFILE,
               "extraPackages": [], "keepsDirectory": False, "byteLimit": 1 << 34,
               "limits": {"isOnline": False, "seconds": 60, "memoryByteCount": 4 << 30, "processCount": 512,
                          "diskByteCount": 1 << 30, **limits}}
    said = library.ask({"build": {"_0": request}})
    log = (library.directory / "builds" / ("ab" * 16) / "log").read_text()
    return said[-1], log


def processes_of_nobody():
    done = subprocess.run(["pgrep", "-u", str(NOBODY)], capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_a_build_that_forks_without_end_is_stopped_and_ends(library, tmp_path):
    script = "i=0; while [ $i -lt 2000 ]; do sleep 300 & i=$((i+1)); done; echo FORKED ALL"
    last, log = build(library, tmp_path, script, processCount=64)
    assert "failed" in last and "FORKED ALL" not in log and "ork" in log, log[-500:]
    wait_until(lambda: not processes_of_nobody(), 10, "everything to end")


def test_a_build_that_takes_too_much_memory_fails(library, tmp_path):
    script = "python3 -c 'bytearray(2 << 30); print(\"TOOK ALL\")'"
    last, log = build(library, tmp_path, script, memoryByteCount=1 << 30)
    assert "failed" in last and "TOOK ALL" not in log and "MemoryError" in log, log[-500:]


def test_a_build_that_takes_too_much_time_is_ended_with_everything_it_started(library, tmp_path):
    script = "(setsid sleep 300 &); trap '' TERM HUP INT; sleep 300; sleep 300"
    last, _ = build(library, tmp_path, script, seconds=10)
    assert last["failed"]["_0"]["code"] == "build_timeout"
    wait_until(lambda: not processes_of_nobody(), 10, "everything to end")


def test_a_build_that_prints_without_end_is_ended_in_time_and_its_log_is_bounded(library, tmp_path):
    script = "while :; do head -c 1M /dev/zero | tr '\\0' x; done"
    last, _ = build(library, tmp_path, script, seconds=10)
    assert last["failed"]["_0"]["code"] == "build_timeout"
    log = library.directory / "builds" / ("ab" * 16) / "log"
    assert log.stat().st_size < 65 << 20


def test_where_no_overlay_can_be_mounted_the_builder_is_copied_and_stays_as_it_is(programs, tmp_path):
    base = pathlib.Path(tempfile.mkdtemp(prefix="practice-station-", dir="/tmp"))
    os.chmod(base, 0o755)
    for name in ("lower", "upper", "work", "merged"):
        (base / name).mkdir(mode=0o755)
    # An overlay is what the kernel puts no other overlay's upper layer on.
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                    f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work", base / "merged"], check=True)
    try:
        place = base / "merged" / "library"
        place.mkdir(mode=0o755)
        library = Library(programs, place)
        last, log = build(library, tmp_path, "echo x > inside; echo MADE; exit 1")
        assert "the Image Builder is copied" in log and "MADE" in log and "failed" in last
        tree = next(path for path in (place / "builders").iterdir() if (path / "tree").exists()) / "tree"
        assert not (tree / "inside").exists()
    finally:
        subprocess.run(["umount", base / "merged"], check=True)
        shutil.rmtree(base)


def test_a_build_writes_nothing_but_what_is_its_own(library, tmp_path):
    script = f"""
        echo x > {library.directory}/images/evil 2> /dev/null && echo WROTE
        echo x > /builder/inside && echo x > /out/result && echo x > /tmp/x && echo OWN
        echo x > /files/evil 2> /dev/null && echo WROTE
        for device in /dev/sda /dev/vda /dev/loop0 /dev/mmcblk0; do [ -b $device ] && echo WROTE; done
        kill -9 -1; exit 1
    """
    last, log = build(library, tmp_path, script)
    assert "failed" in last and "OWN" in log and "WROTE" not in log, log
    tree = next(path for path in (library.directory / "builders").iterdir() if (path / "tree").exists()) / "tree"
    assert not (tree / "inside").exists() and not list((library.directory / "images").iterdir())
