"""The control socket with a client that is not ours: the PyPI package `varlink`, in a process of its own."""

import json
import os
import subprocess

import pytest

from practice_card import PracticeCard
from practice_station import INTERFACE, PracticeStation
from writer_bench import MIB, pattern

#: Runs with the virtual environment's Python. Arguments: socket, interface.
CLIENT = r"""
import json, sys, varlink
address, name = "unix:" + sys.argv[1], sys.argv[2]
def say(**values):
    print(json.dumps(values), flush=True)
with varlink.Client(address) as client:
    with client.open("org.varlink.service") as connection:
        info = connection.GetInfo()
    say(info={key: info[key] for key in ("vendor", "product", "version", "url", "interfaces")})
    interface = client.get_interface(name)
    say(members=sorted(interface.members), text=interface.description)
    with client.open(name) as connection:
        status = connection.GetStatus()
        say(slots=[slot["name"] for slot in status["slots"]])
        try:
            connection.Explain(slot="nothing")
        except varlink.VarlinkError as error:
            say(error=error.error(), parameters=error.parameters())
        say(assigned=connection.Assign(slots=["slot1"], image="image1")["slots"])
    with client.open(name) as connection:
        for status in connection.Watch(_more=True):
            slot, = status["slots"]
            say(state=slot["state"], phase=((slot.get("job") or {}).get("progress") or {}).get("phase"))
            if slot["state"] in ("passed", "failed", "refused"):
                break
    with client.open(name) as connection:
        job, = connection.ListHistory()["jobs"]
        say(verdict=job["report"]["verdict"], sha256=job["report"].get("readBackSHA256"))
"""


@pytest.fixture(scope="session")
def python():
    """The interpreter of the virtual environment with the client."""
    path = os.path.join(os.environ.get("STATION_VENV", ""), "bin", "python3")
    if not os.environ.get("STATION_VENV") or subprocess.run(
            [path, "-c", "import varlink"], capture_output=True, check=False).returncode:
        problem = ("STATION_VENV must name a virtual environment with the package varlink: "
                   "python3 -m venv DIR && DIR/bin/pip install varlink")
        if os.environ.get("CI") == "true":
            pytest.fail(problem)
        pytest.skip(problem)
    return path


def test_a_real_client_reads_the_interface_and_follows_a_job_to_its_end(programs, python):
    with PracticeStation(programs) as station, PracticeCard(8 * MIB, write_rate=8 * MIB, read_rate=16 * MIB) as card:
        station.declare("slot1", "2")
        station.start()
        path = os.path.join(station.directory, "image1.img")
        with open(path, "wb") as file:
            file.write(pattern(2 * MIB + 700))
        image = station.import_image(path, "image1")
        client = subprocess.Popen([python, "-c", CLIENT, station.socket, INTERFACE], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        try:
            lines = []

            def heard(key):
                line = client.stdout.readline()
                assert line, client.stderr.read()
                lines.append(json.loads(line))
                assert key in lines[-1], lines[-1]
                return lines[-1]

            info = heard("info")["info"]
            assert info["product"] and info["version"] and info["url"]
            assert sorted(info["interfaces"]) == sorted(["org.varlink.service", INTERFACE])
            described = heard("members")
            assert {"GetStatus", "Watch", "ListHistory", "Assign", "Flash", "Cancel"} <= set(described["members"])
            assert f"interface {INTERFACE}" in described["text"]
            assert heard("slots")["slots"] == ["slot1"]
            unknown = heard("error")
            assert unknown["error"].startswith(INTERFACE) and "nothing" in json.dumps(unknown["parameters"])
            assert heard("assigned")["assigned"] == ["slot1"]
            assert heard("state")["state"] == "absent"
            station.bench.insert("2", card, "slot1")
            states = []
            while not states or states[-1]["state"] not in ("passed", "failed", "refused"):
                states.append(heard("state"))
            assert states[-1]["state"] == "passed"
            assert {"writing", "verifying"} & {state["phase"] for state in states}
            ended = heard("verdict")
            assert ended["verdict"] == {"verdict": "passed"} and ended["sha256"] == image["sha256"]
            assert client.wait(10) == 0, client.stderr.read()
        finally:
            client.kill()
            client.communicate()
