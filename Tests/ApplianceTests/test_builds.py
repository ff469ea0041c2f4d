"""From a profile to a card that boots, by the installed station: its units, its users, its sandbox."""
import json
import sys

from guest_station import ROOT, verdict

import machine as bench

sys.path.insert(0, str(ROOT / "packaging" / "practice"))
from practice_builder import SigningKey, make_server_tree  # noqa: E402 (the path must be set first)

CONFIGURATION = "/etc/flashing-station/station.conf.d/builds.conf"
PROFILE = {
    "profile_id": "home.ap.24.10", "name": "An access point", "device_id": "ap-1", "openwrt_release": "24.10.2",
    "target": "x86", "subtarget": "64", "imagebuilder_profile": "generic", "packages": ["luci", "practice-slow-2"],
    "policies": {"filesystem": "ext4"},
}


def test_a_profile_is_built_by_the_library_and_its_card_boots_with_the_build_id(
        station, machine, share_directory, new_card):
    key = SigningKey(share_directory / "mirror" / "keys")
    make_server_tree(share_directory / "mirror", key=key)
    public = key.publish(share_directory / "mirror" / "public")
    machine.put(public.read_bytes(), f"/etc/flashing-station/keys/{public.name}", mode=0o644)
    machine.put(b"[ImageBuilder]\nMirrors=http://127.0.0.1:8080\n[Build]\nNetwork=offline\n", CONFIGURATION, mode=0o644)
    machine.run("systemctl reload stationd.service")
    server = machine.start("exec python3 -m http.server 8080 --bind 127.0.0.1 --directory /mnt/share/mirror")
    try:
        bench.wait_until(
            lambda: machine.run("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8080))'",
                                check=False).rc == 0, 30, "the mirror")
        machine.put(json.dumps(PROFILE).encode(), "/root/profile.json")
        station.ctl("profile", "import", "/root/profile.json")
        # Nobody asks for a build. The card comes while the image is made, and waits for it.
        assigning = machine.start("exec stationctl assign slot1 home.ap.24.10")
        station.watch(lambda slots: slots["slot1"].get("preparation"), 60, "the slot to wait for its image")
        card = new_card(64)
        reader = machine.usb_insert(1, card)
        station.watch(lambda slots: slots["slot1"].get("preparation") and slots["slot1"].get("card"), 60,
                      "the card to be in while its image is made")
        said = bench.wait_until(
            lambda: [line for line in machine.run("systemctl show -P StatusText 'station-library@*'").stdout.splitlines()
                     if line.startswith("build ")], 120, "the library's word that it builds", interval=0.1)
        assert said[0].endswith(": home.ap.24.10 for 24.10.2/x86/64"), said
        result = assigning.wait(300)
        assert result.rc == 0, result
        assert verdict(station.wait_verdict("slot1")) == "passed"
    finally:
        server.stop()
    build, = station.json("builds", "list")["builds"]
    job = station.history("--slot", "slot1")[0]
    assert job["build"] == build["id"] and job["profile"] == PROFILE["profile_id"]
    # As the library's user, in the sandbox, and with nothing left behind.
    log = station.ctl("builds", "log", build["id"]).stdout
    assert "Building images for x86" in log and "copied" not in log
    owner = machine.run(["stat", "-c", "%U %a", f"/var/lib/flashing-station/builds/{build['id']}/log"]).stdout.split()
    assert owner == ["station-library", "440"]
    assert not machine.run("pgrep -u station-library", check=False).stdout
    entry = station.machine.journal("MESSAGE_ID=9838f06f931a405cb6a0dc219b361a8e", f"STATION_BUILD={build['id']}")[-1]
    assert entry["STATION_PROFILE"] == PROFILE["profile_id"]
    machine.usb_remove(reader)
    assert build["product"]["card"]["byteCount"] == job["imageByteCount"]
    with bench.second_boot(card) as boot:
        boot.wait_text(f"flashing-station-practice build={build['id']}")
    # The next card costs no build.
    reader = machine.usb_insert(1, new_card(64))
    assert verdict(station.wait_verdict("slot1")) == "passed"
    assert len(station.json("builds", "list")["builds"]) == 1
    machine.usb_remove(reader)
    station.wait_state("slot1", "absent")
    station.ctl("assign", "slot1", "--image", "image-a")
    machine.run(f"rm {CONFIGURATION}; systemctl reload stationd.service")
