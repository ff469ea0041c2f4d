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
        mine.settimeout(120)
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


def build(library, tmp_path, script, profile=None, **limits):
    """Runs a build whose Makefile is that script; returns the last word and the log."""
    root = tmp_path / "mirror"
    make_server_tree(root, extra_files={"Makefile": MAKEFILE, "hostile.sh": script.encode(), "info.txt": INFO})
    with Liar(root, lambda out, content, start, number: honest(out, content, start)) as server:
        source = {"mirrors": [server.url], "signaturePolicy": "off", "isOffline": False, "retryCount": 0, "stallSeconds": 5}
        said = library.ask({"ensureBuilder": {"_0": {"triple": TRIPLE, "source": source, "isRefresh": False,
                                                     "byteLimit": 1 << 34}}})
    facts = said[-1]["builder"]["_0"]
    request = {"id": "ab" * 16, "triple": TRIPLE, "builder": facts["archiveSHA256"], "profile": PROFILE | (profile or {}),
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


# -- what a build leaves ------------------------------------------------------------------------------

def left(library):
    """What there is of builds besides their logs."""
    return sorted(str(path.relative_to(library.directory / "builds")) for path in (library.directory / "builds").rglob("*")
                  if path.name not in ("log", "ab" * 16))


@pytest.mark.parametrize("script", [
    # Where a file cannot be deleted its directory is made writable: by no link, and by no other name.
    "ln -s {vault} /out/x; chmod 0500 /out",
    "mkdir /out/d; ln -s {vault} /out/d/x; ln -s {vault}/image /out/d/y; chmod 0500 /out/d /out",
    "mkdir -p /out/d/e/f; chmod 0 /out/d/e/f; chmod 0100 /out/d/e; chmod 0400 /out/d",
    # Deeper than there are descriptors.
    "cd /out; i=0; while [ $i -lt 1500 ]; do mkdir d && cd d && echo x > f; i=$((i+1)); done",
    "cd /out; mkdir .removed-1 .removed-2; echo x > .removed-1/f; mkdir -p a/b/c; echo x > .removed-3",
], ids=["link", "links", "modes", "depth", "names"])
def test_of_what_a_hostile_build_leaves_nothing_stays_and_nothing_else_is_touched(library, tmp_path, script):
    vault = library.directory / "images"
    (vault / "image").write_text("something")
    before = {path: path.stat().st_mode for path in (vault, vault / "image")}
    last, _ = build(library, tmp_path, script.replace("{vault}", str(vault)) + "; exit 1")
    assert "failed" in last, last
    assert left(library) == []
    assert {path: path.stat().st_mode for path in before} == before


@pytest.mark.parametrize("script", [
    "mkdir /out/h; chmod 0300 /out/h; head -c 1M /dev/zero > /out/h/f; sleep 60",
    "cd /tmp; i=0; while [ $i -lt 200 ]; do mkdir d && cd d; i=$((i+1)); done; sleep 60",
], ids=["unreadable", "deep"])
def test_a_build_that_hides_what_it_writes_is_ended(library, tmp_path, script):
    last, _ = build(library, tmp_path, script)
    failure = last["failed"]["_0"]
    assert failure["code"] == "build_disk_full" and "cannot be counted" in failure["message"]
    assert left(library) == []


OVERVIEW = json.dumps({"target": "x86/64", "version_code": "r1-x", "profiles": {"generic": {"images": [
    {"name": "card.img", "type": "combined", "sha256": "0" * 64}]}}})


@pytest.mark.parametrize(("script", "code"), [
    ("mkfifo /out/profiles.json", "overview_invalid"),
    ("ln -s /builder/overview /out/profiles.json", "overview_invalid"),
    ("cp overview /out/profiles.json; mkfifo /out/sha256sums", "sums_invalid"),
    ("cp overview /out/profiles.json; mkfifo /out/x.manifest", "artifact_invalid"),
    ("cp overview /out/profiles.json; ln -s /etc/passwd /out/x", "artifact_invalid"),
    ("cp overview /out/profiles.json; mkdir /out/x", "artifact_invalid"),
    ("cp overview /out/profiles.json; i=0; while [ $i -lt 300 ]; do : > /out/f$i; i=$((i+1)); done", "artifact_invalid"),
    ("cp overview /out/profiles.json; for i in 1 2 3; do truncate -s 1G /out/f$i; done", "build_disk_full"),
    ("cp overview /out/profiles.json; echo x > /out/card.img", "artifact_mismatch"),
    ("cp overview /out/profiles.json; echo x > /out/y; echo \"$(printf %064d 0) *y\" > /out/sha256sums", "artifact_mismatch"),
    ("cp overview /out/profiles.json", "artifact_missing"),
], ids=["pipe", "link", "pipe of sums", "pipe of packages", "foreign link", "directory", "many", "holes", "mismatch", "wrong sum",
        "missing"])
def test_what_a_build_says_that_it_made_is_held_against_what_it_made(library, tmp_path, script, code):
    last, _ = build(library, tmp_path, f"echo '{OVERVIEW}' > overview; {script}")
    assert last["failed"]["_0"]["code"] == code, last
    assert left(library) == [] and not list((library.directory / "images").iterdir())


def forget(library):
    """Takes the build and its Image Builder away: the next one has another script."""
    for path in [*(library.directory / "builders").iterdir(), library.directory / "builds" / ("ab" * 16)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_the_stations_key_is_kept_byte_for_byte_and_by_no_link(library, tmp_path):
    keys = library.directory / "builds" / ".local-key"
    secret = library.directory / "images" / "secret"
    secret.write_text("secret")
    asks = {"add_local_key": True}
    build(library, tmp_path, f"echo a > key-build; echo b > key-build.ucert; ln -s {secret} key-build.pub", profile=asks)
    assert not keys.exists()
    forget(library)
    # One that a full disk left half is none.
    keys.mkdir(mode=0o700)
    (keys / "key-build").write_text("half")
    for path in (keys, keys / "key-build"):
        os.chown(path, NOBODY, NOBODY)
    build(library, tmp_path, "cat key-build; echo a > key-build; printf '\\377\\376' > key-build.ucert; echo c > key-build.pub",
          profile=asks)
    kept = {path.name: path.read_bytes() for path in keys.iterdir() if path.is_file()}
    assert kept == {"key-build": b"a\n", "key-build.ucert": b"\xff\xfe", "key-build.pub": b"c\n"}
    forget(library)
    _, log = build(library, tmp_path, "cat key-build.pub; echo other > key-build.pub || echo FIRM", profile=asks)
    assert "c\n" in log and "FIRM" in log
    assert {path.name: path.read_bytes() for path in keys.iterdir() if path.is_file()} == kept


def test_when_a_build_is_told_to_be_over_nothing_of_it_runs(library, tmp_path):
    last, log = build(library, tmp_path, "(setsid sh -c 'trap \"\" TERM HUP; sleep 300' &); echo GONE; exit 1")
    assert "failed" in last and "GONE" in log
    assert processes_of_nobody() == []
