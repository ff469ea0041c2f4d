"""Integration tests: the real programs on virtual readers and real block devices.

    swift build && /usr/bin/python3 -m pytest Tests/IntegrationTests

STATION_PROGRAMS: the directory of the programs (default: .build/debug). STATION_VENV: a virtual environment with the
PyPI package `varlink`, for test_varlink.py. Needs root, loop devices, FUSE, and the Debian packages nbdkit,
nbdkit-plugin-python, libnbd-bin, fuse3, libumockdev0, gcc and python3-pytest.
"""

import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
for place in (HERE, os.path.join(ROOT, "packaging", "practice")):
    if place not in sys.path:
        sys.path.insert(0, place)

from practice_card import PracticeError, cleanup, wait_until  # noqa: E402


def attached_loops():
    """Loop devices that are attached, by the kernel's own list."""
    return {name for name in os.listdir("/sys/block")
            if name.startswith("loop") and os.path.exists(f"/sys/block/{name}/loop/backing_file")}


def pytest_configure(config):
    config.loops_before = attached_loops()


def pytest_sessionfinish(session):
    """Nothing may stay behind: no loop device, no mount, no process of the practice cards."""
    cleanup()
    try:
        wait_until(lambda: not ours(attached_loops() - session.config.loops_before), 5.0, "the loop devices go")
    except PracticeError:
        left = ours(attached_loops() - session.config.loops_before)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nloop devices left behind: {sorted(left)}", file=sys.stderr)


def ours(loops):
    """Those over a file of these tests whose directory is gone: whoever works beside us still has his."""
    result = set()
    for name in loops:
        try:
            with open(f"/sys/block/{name}/loop/backing_file", encoding="utf-8") as file:
                path = file.read().strip().removesuffix(" (deleted)")
        except OSError:
            continue
        is_named_so = any(word in path for word in ("practice-card-", "practice-station-", "writer-bench-"))
        if is_named_so and not os.path.exists(os.path.dirname(path)):
            result.add(name)
    return result


@pytest.fixture(scope="session")
def programs():
    """The directory with the programs under test."""
    path = os.path.abspath(os.environ.get("STATION_PROGRAMS", os.path.join(ROOT, ".build", "debug")))
    for name in ("stationd", "station-writer", "station-writer-unguarded", "station-library", "stationctl",
                 "topology-campaign"):
        assert os.access(os.path.join(path, name), os.X_OK), f"{path}/{name} is missing: swift build"
    return path


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The fault shim as a shared object for LD_PRELOAD."""
    path = str(tmp_path_factory.mktemp("shim") / "shim.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path, os.path.join(HERE, "shim.c"),
                    "-ldl", "-pthread"], check=True)
    return path
