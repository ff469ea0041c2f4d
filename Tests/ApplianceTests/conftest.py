"""Fixtures of the tests that need a whole machine. There is no skipping here: what cannot run, fails and says why.

    /usr/bin/python3 -m pytest Tests/ApplianceTests [--all]

Tests that are marked nightly run with --all, and when they are named: by a file, a test, -k or -m.
$FLASHING_STATION_CACHE holds the guest between runs, $FLASHING_STATION_ARTIFACTS gets the logs of what failed.
"""
import pathlib
import sys

import pytest

sys.dont_write_bytecode = True  # the working tree stays as it was

from guest_station import Station, install_station, make_images, told  # noqa: E402 (it leads to the next)

import machine as bench  # noqa: E402

#: Every machine that is on, so that a failed test can save the logs of all of them.
running = []
#: How many tests this run has left to `--all`.
left = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the tests that are marked nightly, too")


def pytest_configure(config):
    config.addinivalue_line("markers", "nightly: a variation that runs with --all, or when it is named")


def pytest_collection_modifyitems(config, items):
    if config.option.all or config.option.keyword or config.option.markexpr:
        return
    named = [argument.partition("::") for argument in config.args]

    def is_named(item):
        return any(pathlib.Path(path).is_file() and item.path == pathlib.Path(path).resolve()
                   and (not test or item.nodeid.partition("::")[2].startswith(test)) for path, _, test in named)

    nightly = [item for item in items if item.get_closest_marker("nightly") and not is_named(item)]
    config.stash[left] = len(nightly)
    if nightly:
        items[:] = [item for item in items if item not in nightly]
        config.hook.pytest_deselected(items=nightly)


def pytest_terminal_summary(terminalreporter, config):
    for line in told:
        terminalreporter.write_line(line)
    if count := config.stash.get(left, 0):
        terminalreporter.write_line(f"NOT RUN: {count} nightly tests; packaging/test --all runs them", bold=True, yellow=True)


@pytest.fixture(scope="session")
def share_directory(tmp_path_factory):
    """A directory of this host that the session's machine has, read-only, at /mnt/share."""
    return tmp_path_factory.mktemp("share")


@pytest.fixture(scope="session")
def session_machine(share_directory):
    """The machine that all tests share: booting is what costs. Its system disk is a USB disk, on the bus of the readers."""
    with bench.Machine(name="session", root_on_usb=True, mmc=True, shares={"/mnt/share": share_directory},
                       extra=["-device", "VGA"]) as machine:
        told.append(f"the machine booted in {machine.boot_seconds:.0f} s")
        running.append(machine)
        yield machine
        running.remove(machine)


@pytest.fixture
def machine(session_machine):
    """The shared machine with nothing plugged in, before and after the test."""
    yield session_machine
    session_machine.pull_all()
    if session_machine.has_sd_card:
        session_machine.mmc_remove()
    if session_machine.glob("/sys/block/md*") or session_machine.glob("/sys/block/dm-*"):
        session_machine.drop_arrays()


@pytest.fixture
def new_card(tmp_path):
    """Makes card images: `new_card(mib=64)` is the path of a sparse file with a recognisable first sector."""
    made = []

    def make(mib=64):
        path = tmp_path / f"card{len(made)}.img"
        with path.open("wb") as file:
            file.write(f"card {len(made)}\n".encode())
            file.truncate(mib * 1024 * 1024)
        made.append(path)
        return path

    return make


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for machine in running:
            where = machine.keep_logs(item.name.replace("/", "_"))
            report.sections.append((f"logs of {machine.name}", f"kept in {where}"))


# -- the installed station ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def images(share_directory):
    return make_images(share_directory)


@pytest.fixture(scope="session")
def session_station(session_machine, share_directory, images):
    """The shared machine with the station installed and running."""
    install_station(session_machine, share_directory)
    return Station(session_machine)


@pytest.fixture
def station(session_station, machine, images):
    """The installed station with SLOTS armed and empty and nothing else declared, whatever the test before it did."""
    session_station.make_ready()
    yield session_station
