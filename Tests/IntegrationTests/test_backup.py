"""Backup and restore: a whole station into one file and out of it, whatever the file is, whenever the power fails."""
import contextlib
import hashlib
import io
import json
import os
import pathlib
import pty
import shlex
import signal
import subprocess
import tarfile

import pytest
from practice_card import LoopCard, PracticeCard
from practice_station import PracticeStation, wait_until
from test_builds import PROFILE, TRIPLE, Mirror, add_profile, configure, ctl, read
from test_station import IMAGE_BYTES, SLOW, add_image, verdicts
from writer_bench import MIB, bytes_at, pattern

FAILED, REFUSED, NOT_FOUND = 1, 6, 5


@pytest.fixture
def station(programs):
    """A station with slot1 in port 2, armed with `image1`, that runs."""
    with PracticeStation(programs) as station:
        station.declare("slot1", "2")
        station.start()
        add_image(station, "image1")
        station.call("Assign", slots=["slot1"], image="image1")
        yield station


@pytest.fixture
def other(programs):
    """A new box: nothing declared, and not started."""
    with PracticeStation(programs) as station:
        yield station


def places(station):
    return ["--config", station.config, "--state", station.state, "--programs", station.programs]


def backup(station, path, *options, check=True, **more):
    return station.stationctl("backup", str(path), *options, *places(station), check=check, **more)


def restore(station, path, *options, check=True, **more):
    return station.stationctl("restore", str(path), *options, *places(station), check=check, **more)


def code_of(result):
    """The code of an error in JSON."""
    return json.loads(result.stdout)["error"]["code"]


def tree(*roots):
    """Everything below some directories: kind, mode, and the bytes of what is no link; records apart, which SQLite rewrites."""
    found = {}
    for root in map(pathlib.Path, roots):
        for path in sorted(root.rglob("*")):
            name = f"{root.name}/{path.relative_to(root)}"
            status = path.lstat()
            if path.is_symlink():
                found[name] = os.readlink(path)
            elif path.is_file():
                found[name] = (oct(status.st_mode), hashlib.sha256(path.read_bytes()).hexdigest())
            else:
                found[name] = oct(status.st_mode)
    return found


def without_store(files):
    return {name: value for name, value in files.items() if "/store/" not in name and not name.endswith(".lock")}


def leftovers(station):
    """What a restore has beside its two targets."""
    return sorted(name for name in os.listdir(station.directory) if name.startswith(("etc.", "state.")))


def flash_one(station, slot="slot1", port="2"):
    with LoopCard(8 * MIB) as card:
        reader = station.bench.insert(port, card, slot)
        assert station.wait_for_state(slot, "passed", "failed", "refused")["state"] == "passed"
        reader.unplug()
        station.wait_for_state(slot, "absent")
        station.let_a_hand_change_cards()


# -- the round trip -----------------------------------------------------------------------------------------------------

def test_a_station_comes_back_byte_for_byte_with_every_slot_disarmed(station, other, tmp_path):
    flash_one(station)
    (pathlib.Path(station.config) / "keys").mkdir()
    (pathlib.Path(station.config) / "keys" / "mine.pub").write_text("untrusted comment: x\n")
    station.declare("slot2", "3")
    station.call("Reload")
    recipe = {**PROFILE, "files": [{"source": "motd", "destination": "/etc/motd"}]}
    (tmp_path / "motd").write_text("hello\n")
    (tmp_path / "p.json").write_text(json.dumps(recipe))
    ctl(station, "profile", "import", str(tmp_path / "p.json"))
    told = json.loads(backup(station, tmp_path / "b.tar", "--json").stdout)
    assert (told["manifest"]["slotCount"], told["manifest"]["store"]["imageCount"], told["warnings"]) == (2, 1, [])
    assert os.stat(tmp_path / "b.tar").st_mode & 0o777 == 0o600 and os.stat(tmp_path / "b.tar").st_size == told["byteCount"]
    # Debian's tar reads it, and finds in it what is there.
    names = subprocess.run(["tar", "tf", tmp_path / "b.tar"], capture_output=True, text=True, check=True)
    assert names.stdout.splitlines()[0] == "manifest.json" and names.stderr == ""
    listed = json.loads(restore(station, tmp_path / "b.tar", "--list", "--json").stdout)
    assert [member["path"] for member in listed["members"]] == [name.rstrip("/") for name in names.stdout.splitlines()[1:]]
    with tarfile.open(tmp_path / "b.tar") as archive:
        for member in listed["members"]:
            if member["kind"] == "file":
                assert hashlib.sha256(archive.extractfile(member["path"]).read()).hexdigest() == member["sha256"]
    before = without_store(tree(station.config, station.state))
    history, profiles, images = station.history(), read(station, "profile", "list"), read(station, "image", "list")

    dry = restore(other, tmp_path / "b.tar", "--dry-run").stdout
    assert "nothing was changed" in dry and leftovers(other) == []
    done = restore(other, tmp_path / "b.tar")
    assert "slot" in done.stdout and len(leftovers(other)) == 2, done.stdout
    assert without_store(tree(other.config, other.state)) == before
    other.start()
    assert other.history() == history
    assert (read(other, "profile", "list"), read(other, "image", "list")) == (profiles, images)
    slot = other.slot("slot1")
    assert not slot["isArmed"] and slot["disarmReason"] == "restored" and slot["assignment"]["image"] == "image1"
    assert [note["code"] for note in slot["notes"]] == ["restored"]
    assert "another reader" in ctl(other, "explain", "slot1").stdout
    with LoopCard(8 * MIB) as card:
        untouched = bytes_at(card, 0, MIB)
        reader = other.bench.insert("2", card, "slot1")
        assert other.wait_for_state("slot1", "waiting", "running", "passed")["reason"] == "disarmed"
        assert bytes_at(card, 0, MIB) == untouched
        reader.unplug()
        other.wait_for_state("slot1", "absent")
    other.let_a_hand_change_cards()
    other.call("Arm", slots=["slot1"])
    flash_one(other)


def test_holes_stay_holes_and_cost_nothing(station, other, tmp_path):
    path = tmp_path / "sparse.img"
    with open(path, "wb") as file:
        file.write(pattern(8192))
        file.seek(300 * MIB)
        file.write(os.urandom(5000))
    station.import_image(str(path), "sparse")
    sealed = pathlib.Path(station.state, "images", hashlib.sha256(path.read_bytes()).hexdigest() + ".img")
    assert sealed.stat().st_blocks * 512 < 32 * MIB, "the library keeps holes: else this test proves nothing"
    backup(station, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").stat().st_size < 64 * MIB
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "xf", tmp_path / "b.tar", "-C", out, "--no-same-owner"], check=True)
    restore(other, tmp_path / "b.tar")
    for found in (out / "state" / "images" / sealed.name, pathlib.Path(other.state, "images", sealed.name)):
        assert found.read_bytes() == path.read_bytes() and found.stat().st_blocks * 512 < 32 * MIB


def test_a_backup_says_which_image_has_rotted(station, tmp_path):
    image, = pathlib.Path(station.state, "images").glob("*.img")
    with open(image, "r+b") as file:
        file.seek(MIB)
        file.write(b"rotten")
    made = backup(station, tmp_path / "b.tar", check=False)
    assert made.returncode == FAILED and f"{image.name} has rotted" in made.stdout + made.stderr, made


def test_builds_come_back_and_are_used_again_with_their_image_builder_or_without(programs, other, tmp_path):
    mirror = Mirror(tmp_path / "mirror")
    mirror.add()
    try:
        with PracticeStation(programs) as station:
            mirror.key.publish(os.path.join(station.config, "keys"))
            configure(station, mirror.url)
            station.start()
            profile = add_profile(station, tmp_path)
            ctl(station, "build", profile)
            built, = read(station, "builds", "list")["builds"]
            # As an Image Builder for x86 has: a file with the name of an image that is none of the library's.
            tree_of_builder, = pathlib.Path(station.state, "builders").glob("*/tree")
            (tree_of_builder / "boot.img").write_text("boot")
            backup(station, tmp_path / "all.tar")
            backup(station, tmp_path / "few.tar", "--without-builders")
            before = without_store(tree(station.state))
        assert any("/tree/" in name for name in before), "an Image Builder is there: else this test proves nothing"
        restore(other, tmp_path / "all.tar")
        assert without_store(tree(other.state)) == before
        other.start()
        asked = list(mirror.asked)
        again = read(other, "build", profile)
        assert again["builds"][0]["isReused"] if "builds" in again else again["isReused"]
        ctl(other, "build", profile, "--force")
        assert mirror.asked == asked, "everything was in the backup"
        other.stop()
        restore(other, tmp_path / "few.tar", "--replace")
        assert os.listdir(os.path.join(other.state, "builders")) == []
        other.start()
        assert "no Image Builder is here" in ctl(other, "builder", "list").stdout
        ctl(other, "build", profile, "--force")
        assert mirror.asked != asked, "the Image Builder was fetched again"
        assert built["id"] in [one["id"] for one in read(other, "builds", "list")["builds"]]
    finally:
        mirror.close()


def test_a_station_that_is_down_is_backed_up_too(station, other, tmp_path):
    flash_one(station)
    history = station.history()
    station.stop(signal.SIGKILL)
    backup(station, tmp_path / "b.tar")
    restore(other, tmp_path / "b.tar")
    other.start()
    assert other.history() == history


# -- jobs ---------------------------------------------------------------------------------------------------------------

def test_a_backup_while_a_card_is_written_disturbs_nothing_and_holds_the_job_as_interrupted(station, other, tmp_path):
    with PracticeCard(8 * MIB, **SLOW) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        backup(station, tmp_path / "b.tar")
        assert station.slot("slot1")["state"] == "running"
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
    restore(other, tmp_path / "b.tar")
    other.start()
    assert verdicts(other) == [("interrupted", None, "insertion")]
    assert not other.slot("slot1")["isArmed"]


def test_a_card_with_the_mark_of_an_unfinished_job_is_not_begun_by_a_restore(station, tmp_path):
    """Its control: without the restore that card is done again, by `test_station.py`."""
    with PracticeCard(8 * MIB, **SLOW) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        backup(station, tmp_path / "b.tar")
        station.stop(signal.SIGKILL)
        restore(station, tmp_path / "b.tar", "--replace")
        station.start()
        slot = station.wait_for_state("slot1", "waiting", "running", "passed")
        assert (slot["state"], slot["isArmed"]) == ("waiting", False), slot
        assert [one[0] for one in verdicts(station)] == ["interrupted"]


def test_a_restore_waits_for_no_job_and_replaces_no_running_station(station, tmp_path):
    backup(station, tmp_path / "b.tar")
    with PracticeCard(8 * MIB, **SLOW) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        refused = restore(station, tmp_path / "b.tar", "--replace", "--json", check=False)
        assert (refused.returncode, code_of(refused)) == (REFUSED, "job_running")
        assert "--interrupt-jobs" in refused.stdout
        refused = restore(station, tmp_path / "b.tar", "--replace", "--json", "--interrupt-jobs", check=False)
        # No systemd here that would stop it.
        assert (refused.returncode, code_of(refused)) == (REFUSED, "station_running")
        assert station.wait_for_state("slot1", "passed", "failed")["state"] == "passed"
    assert leftovers(station) == []


def test_a_station_that_has_a_state_is_not_replaced_unasked(station, tmp_path):
    backup(station, tmp_path / "b.tar")
    station.stop()
    before = tree(station.config, station.state)
    refused = restore(station, tmp_path / "b.tar", "--json", check=False, stdin=subprocess.DEVNULL)
    assert (refused.returncode, code_of(refused)) == (REFUSED, "not_confirmed")
    assert tree(station.config, station.state) == before
    kept = json.loads(restore(station, tmp_path / "b.tar", "--replace", "--json").stdout)["kept"]
    state, config = (pathlib.Path(path) for path in kept)
    assert {name.split("/", 1)[1]: value for name, value in tree(config, state).items()} == {
        name.split("/", 1)[1]: value for name, value in before.items()}


# -- where there is no room, or something is there ----------------------------------------------------------------------

def test_a_file_that_is_there_is_never_overwritten(station, tmp_path):
    path = tmp_path / "b.tar"
    path.write_text("mine")
    refused = backup(station, path, "--json", check=False)
    assert (refused.returncode, code_of(refused)) == (REFUSED, "file_exists")
    assert path.read_text() == "mine" and os.listdir(tmp_path) == ["b.tar"]


@contextlib.contextmanager
def small_disk(path, mib):
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}M,mode=755", "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_is_told_beforehand_with_the_numbers(station, programs, tmp_path):
    backup(station, tmp_path / "b.tar")
    with small_disk(tmp_path / "small", 1) as disk:
        refused = backup(station, disk / "b.tar", "--json", check=False)
        assert (refused.returncode, code_of(refused)) == (REFUSED, "storage_full")
        assert " bytes)" in refused.stdout and os.listdir(disk) == []
        with PracticeStation(programs, directory=str(disk / "box")) as box:
            refused = restore(box, tmp_path / "b.tar", "--json", check=False)
            assert (refused.returncode, code_of(refused)) == (REFUSED, "storage_full")
            assert " bytes)" in refused.stdout and leftovers(box) == []


# -- what is not where it should be --------------------------------------------------------------------------------------

def test_nothing_is_written_into_a_file_that_somebody_left_there(station, tmp_path):
    """Whoever may write into the directory may have it open, and would own images and keys."""
    partial = tmp_path / ".b.tar.partial"
    partial.write_text("left")
    partial.chmod(0o666)
    os.chown(partial, 12345, 12345)
    with open(partial, encoding="utf-8") as theirs:
        backup(station, tmp_path / "b.tar")
        assert theirs.read() == "left"
    status = os.stat(tmp_path / "b.tar")
    assert (status.st_mode & 0o777, status.st_uid, os.listdir(tmp_path)) == (0o600, 0, ["b.tar"])


def test_a_backup_whose_words_nobody_can_read_is_none(station, tmp_path):
    path = tmp_path / "station.tar"
    words = shlex.join(["--socket", station.socket, "backup", str(path), *places(station)])
    result = subprocess.run(["sh", "-c", f"{station.programs}/stationctl {words} >&-"], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "cannot be written" in result.stderr, result
    # As after a kill: the beginning goes with the next one.
    assert not path.exists()
    backup(station, path)
    assert [one.name for one in tmp_path.iterdir()] == ["station.tar"] and restore(station, path, "--list").returncode == 0


def test_two_backups_into_one_file_do_not_meet(station, tmp_path):
    import fcntl
    with open(tmp_path / ".b.tar.partial", "w", encoding="utf-8") as living:
        fcntl.flock(living, fcntl.LOCK_EX)
        refused = backup(station, tmp_path / "b.tar", "--json", check=False)
        assert (refused.returncode, code_of(refused)) == (REFUSED, "backup_running")
        assert os.listdir(tmp_path) == [".b.tar.partial"]


def test_a_dry_run_leaves_nothing_beside_the_file(station, tmp_path):
    tmp_path.chmod(0o555)
    told = json.loads(backup(station, tmp_path / "b.tar", "--dry-run", "--json").stdout)
    assert told["isDryRun"] and told["isWhole"] and os.listdir(tmp_path) == []


def elsewhere(path):
    """A directory moved away, a link in its place."""
    moved = path.with_name(path.name + "-moved")
    path.rename(moved)
    path.symlink_to(moved)


@pytest.mark.parametrize("what", ["images", "builds", "builders"])
def test_a_directory_that_is_a_link_is_no_backup_without_it(station, tmp_path, what):
    station.stop()
    elsewhere(pathlib.Path(station.state, what))
    refused = backup(station, tmp_path / "b.tar", "--json", check=False)
    assert (refused.returncode, code_of(refused)) == (FAILED, "backup_unreadable")
    assert what in refused.stdout and os.listdir(tmp_path) == []


def test_a_configuration_that_is_not_there_is_no_backup_without_it(station, tmp_path):
    refused = station.stationctl(
        "backup", str(tmp_path / "b.tar"), "--json", "--config", station.config + "x", "--state", station.state,
        "--programs", station.programs, check=False)
    assert (refused.returncode, code_of(refused)) == (FAILED, "backup_unreadable") and os.listdir(tmp_path) == []


def test_slot_files_behind_a_link_are_in_the_backup(station, other, tmp_path):
    elsewhere(pathlib.Path(station.config, "slots.d"))
    told = json.loads(backup(station, tmp_path / "b.tar", "--json").stdout)
    assert told["manifest"]["slotCount"] == 1 and told["isWhole"]
    restore(other, tmp_path / "b.tar")
    assert os.listdir(os.path.join(other.config, "slots.d")) == ["slot1.slot"]


def test_a_backup_that_had_to_leave_something_out_says_so_and_is_restored(station, other, tmp_path):
    os.mkfifo(os.path.join(station.config, "pipe"))
    said = backup(station, tmp_path / "b.tar", check=False)
    assert said.returncode == FAILED and "pipe" in said.stderr and "not whole" in said.stdout and "is whole" not in said.stdout
    said = backup(station, tmp_path / "c.tar", "--json", check=False)
    assert said.returncode == FAILED and not json.loads(said.stdout)["isWhole"]
    restore(other, tmp_path / "b.tar")


def test_names_that_only_their_bytes_tell_apart_come_back(station, other, tmp_path):
    for name in ("\u00e9", "e\u0301", "\u0301x"):
        pathlib.Path(station.config, name).write_text(name)
    backup(station, tmp_path / "b.tar")
    restore(other, tmp_path / "b.tar")
    for name in ("\u00e9", "e\u0301", "\u0301x"):
        assert pathlib.Path(other.config, name).read_text() == name


def test_the_records_are_those_of_the_state_that_is_named(station, other, tmp_path):
    """Not those of whoever answers at the usual socket: here that one is another station's."""
    flash_one(station)
    other.start()
    other.stop()
    script = ('mount -t tmpfs none /run && mkdir /run/flashing-station && mount --bind "$1" /run/flashing-station && shift && '
              'stationctl=$1 && shift && "$stationctl" status --json && exec "$stationctl" "$@"')
    told = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", station.directory, os.path.join(station.programs, "stationctl"),
         "backup", str(tmp_path / "b.tar"), "--json", *places(other)], capture_output=True, text=True, check=True)
    answered, end = json.JSONDecoder().raw_decode(told.stdout)
    backed = told.stdout[end:]
    assert answered["slots"][0]["name"] == "slot1", "the other station answers there: else this test proves nothing"
    assert json.loads(backed)["manifest"]["store"]["jobCount"] == 0


@pytest.mark.parametrize("what", ["state/images", "state/store", "config/slots.d"])
def test_what_is_mounted_in_the_state_is_not_exchanged_with_it(good_backup, other, tmp_path, what):
    area, name = what.split("/")
    path = pathlib.Path(other.state if area == "state" else other.config, name)
    path.mkdir(exist_ok=True, parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    try:
        refused = restore(other, good_backup, "--json", check=False)
        assert code_of(refused) == "restore_mount" and name in refused.stdout and leftovers(other) == []
    finally:
        subprocess.run(["umount", path], check=True)
    restore(other, good_backup)


def test_a_station_that_only_has_records_is_not_replaced_unasked(good_backup, other):
    other.declare("slot1", "2")
    other.start()
    add_image(other, "image1")
    other.call("Assign", slots=["slot1"], image="image1")
    flash_one(other)
    other.stop()
    os.unlink(os.path.join(other.config, "slots.d", "slot1.slot"))
    for image in pathlib.Path(other.state, "images").iterdir():
        image.unlink()
    refused = restore(other, good_backup, "--json", check=False, stdin=subprocess.DEVNULL)
    assert (refused.returncode, code_of(refused)) == (REFUSED, "not_confirmed")


def test_a_damaged_mark_of_a_restore_says_what_to_do(good_backup, other):
    restore(other, good_backup)
    marker = pathlib.Path(other.state + ".restoring")
    marker.write_text("{")
    refused = other.stationctl("restore", "--continue", "--json", *places(other), check=False)
    assert code_of(refused) == "restore_stuck" and str(marker) in json.loads(refused.stdout)["error"]["remedy"]


# -- archives that are none ---------------------------------------------------------------------------------------------

class Member(tarfile.TarInfo):
    """As stationctl names directories: with no slash behind them."""

    def get_info(self):
        info = super().get_info()
        info["name"] = info["name"].rstrip("/") if self.isdir() else info["name"]
        return info


class Forged:
    """A good backup, taken apart, to be put together otherwise."""

    def __init__(self, path):
        with tarfile.open(path, tarinfo=Member) as archive:
            self.members = [(info, archive.extractfile(info).read() if info.isfile() else b"") for info in archive]
        self.manifest = json.loads(self.members.pop(0)[1])
        self.raw = None

    def entry(self, path):
        return next(one for one in self.manifest["members"] if one["path"] == path)

    def index(self, path):
        return next(index for index, one in enumerate(self.manifest["members"]) if one["path"] == path)

    def image(self):
        return next(one["path"] for one in self.manifest["members"] if one["path"].endswith(".img"))

    def add(self, path, data=b"x", at=None, kind=tarfile.REGTYPE, target="", told=True):
        info = Member(path)
        info.type, info.size, info.linkname, info.mode = kind, len(data), target, 0o644
        at = len(self.members) if at is None else at
        self.members.insert(at, (info, data))
        if told:
            words = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link"}
            entry = {"path": path, "kind": words.get(kind, "file")}
            if entry["kind"] == "file":
                entry |= {"byteCount": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if entry["kind"] == "link":
                entry["target"] = target
            self.manifest["members"].insert(at, entry)

    def replace(self, path, data, told=True):
        index = self.index(path)
        info, _ = self.members[index]
        info.size = len(data)
        self.members[index] = (info, data)
        if told:
            self.entry(path).update(byteCount=len(data), sha256=hashlib.sha256(data).hexdigest())

    def write(self, path):
        self.manifest["byteCount"] = sum(one.get("byteCount", 0) for one in self.manifest["members"])
        text = json.dumps(self.manifest).encode()
        head = tarfile.TarInfo("manifest.json")
        head.size = len(text)
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(head, io.BytesIO(text))
            for info, data in self.members:
                info.mtime, info.pax_headers = int(info.mtime), {}
                archive.addfile(info, io.BytesIO(data))
        if self.raw:
            data = bytearray(path.read_bytes())
            self.raw(data)
            path.write_bytes(data)


def drop(forged, path):
    index = forged.index(path)
    del forged.members[index], forged.manifest["members"][index]


def flip(data, where):
    data[where] ^= 1


def sql(forged, *statements):
    """Another store: as the one that is there, and then these statements."""
    import sqlite3
    index = forged.index("state/store/station.db")
    path = "/tmp/forged.db"
    pathlib.Path(path).write_bytes(forged.members[index][1])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    forged.replace("state/store/station.db", pathlib.Path(path).read_bytes())
    os.unlink(path)


BAD = {
    "an absolute path": (lambda f: f.add("/etc/flashing-evil"), "backup_member", "/etc/flashing-evil"),
    "a way out": (lambda f: f.add("config/../../evil"), "backup_member", "config/../../evil"),
    "a way out behind a good name": (lambda f: f.add("state/images/../../../evil"), "backup_member", "evil"),
    "a place that is no station's": (lambda f: f.add("state/other"), "backup_member", "state/other"),
    "an image of another name": (lambda f: f.add("state/images/evil.sh"), "backup_member", "state/images/evil.sh"),
    "another file beside the store": (lambda f: f.add("state/store/station.db-wal", at=f.index("state/store/station.db")),
                                      "backup_member", "station.db-wal"),
    "a link in the configuration": (lambda f: f.add("config/slots.d/x.slot", b"", kind=tarfile.SYMTYPE, target="/etc/shadow"),
                                    "backup_member", "config/slots.d/x.slot"),
    "a link in place of a directory": (lambda f: f.add("state/builds/" + "a" * 32, b"", kind=tarfile.SYMTYPE, target="../images"),
                                       "backup_member", "a" * 32),
    "a link out of a build": (lambda f: (f.add("state/builds/" + "a" * 32, b"", kind=tarfile.DIRTYPE),
                                         f.add(f"state/builds/{'a' * 32}/x", b"", kind=tarfile.SYMTYPE, target="../../../store")),
                              "backup_member", "/x"),
    "a device": (lambda f: f.add("config/dev", b"", kind=tarfile.BLKTYPE), "backup_member", "config/dev"),
    "a hard link": (lambda f: f.add("config/hard", b"", kind=tarfile.LNKTYPE, target="config/slots.d/slot1.slot"),
                    "backup_member", "config/hard"),
    "a pipe": (lambda f: f.add("config/pipe", b"", kind=tarfile.FIFOTYPE), "backup_member", "config/pipe"),
    "a member twice": (lambda f: f.add("config/slots.d/slot1.slot"), "backup_member", "config/slots.d/slot1.slot"),
    "a member twice, told once": (lambda f: f.add("config/slots.d/slot1.slot", told=False), "backup_member", "the end"),
    "a member in no directory": (lambda f: f.add("config/nowhere/x"), "backup_member", "config/nowhere/x"),
    "a member that the manifest has not": (lambda f: f.add("config/x", at=2, told=False), "backup_member", "config/x"),
    "a member that is not there": (lambda f: f.members.pop(f.index(f.image())), "backup_member", "state/"),
    "another size": (lambda f: f.entry(f.image()).update(byteCount=5), "backup_member", ".img"),
    "other bytes": (lambda f: f.replace(f.image(), os.urandom(IMAGE_BYTES), told=False), "backup_damaged", ".img"),
    "no store": (lambda f: drop(f, "state/store/station.db"), "backup_invalid", "station.db"),
    "a later format": (lambda f: f.manifest.update(formatVersion=2, stationVersion="9.9", members=[{"what": 1}]),
                       "backup_version", "9.9"),
    "another format": (lambda f: f.manifest.update(format="something"), "backup_invalid", "something"),
    "a store of a later form": (lambda f: sql(f, "INSERT INTO migrations VALUES (99, 'later', 0)"), "store_from_future", "station.db"),
    "a store that is none": (lambda f: f.replace("state/store/station.db", b"x" * 4096), "store_corrupt", "station.db"),
    "an empty store": (lambda f: f.replace("state/store/station.db", b""), "store_corrupt", "station.db"),
    "a store that arms again": (lambda f: sql(
        f, "CREATE TRIGGER evil AFTER UPDATE ON slot_consent BEGIN UPDATE slot_consent SET is_armed = 1, disarm_reason = NULL; END"),
        "store_corrupt", "evil"),
    "a broken header": (lambda f: setattr(f, "raw", lambda data: flip(data, 3)),
                        "backup_invalid", "no backup"),
    "a cut": (lambda f: setattr(f, "raw", lambda data: data.__delitem__(slice(len(data) // 2, None))), "backup_damaged", "ends"),
    "a cut to nothing": (lambda f: setattr(f, "raw", lambda data: data.clear()), "backup_invalid", "no backup"),
    "something behind the end": (lambda f: setattr(f, "raw", lambda data: data.extend(b"x" * 512)), "backup_damaged", "behind"),
}


@pytest.fixture(scope="module")
def good_backup(programs, tmp_path_factory):
    path = tmp_path_factory.mktemp("backup") / "good.tar"
    with PracticeStation(programs) as station:
        station.declare("slot1", "2")
        station.start()
        add_image(station, "image1")
        station.call("Assign", slots=["slot1"], image="image1")
        backup(station, path)
    return path


def test_what_was_taken_apart_and_put_together_again_is_a_backup(good_backup, other, tmp_path):
    """The control of the next one: it is the change that is refused, not the way it was packed."""
    Forged(good_backup).write(tmp_path / "same.tar")
    restore(other, tmp_path / "same.tar")


@pytest.mark.parametrize("what", BAD)
def test_an_archive_is_refused_with(good_backup, other, tmp_path, what):
    """…that member named, and nothing changed."""
    change, code, named = BAD[what]
    forged = Forged(good_backup)
    change(forged)
    forged.write(tmp_path / "bad.tar")
    before = tree(other.directory)
    for options in (["--dry-run"], []):
        refused = restore(other, tmp_path / "bad.tar", "--json", *options, check=False)
        assert refused.returncode != 0 and code_of(refused) == code, refused.stdout
        assert named in json.loads(refused.stdout)["error"]["message"] + json.loads(refused.stdout)["error"]["remedy"], refused.stdout
        assert tree(other.directory) == before


# -- death --------------------------------------------------------------------------------------------------------------

KILL = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
/* Dies before or after the N-th call of some name: KILL_AT=renameat2:2:after. In the first program only. */
static int count;
static void at(const char *name, const char *when) {
    const char *spec = getenv("KILL_AT");
    if (!spec) return;
    static __thread int inside;
    char text[64];
    snprintf(text, sizeof text, "%s:%d:%s", name, count, when);
    if (!inside && strcmp(text, spec) == 0) kill(getpid(), SIGKILL);
}
static int mine(const char *name) {
    const char *spec = getenv("KILL_AT");
    return spec && strncmp(spec, name, strlen(name)) == 0 && spec[strlen(name)] == ':';
}
#define WRAP(result, name, parameters, arguments) \
    result name parameters { \
        static result (*real) parameters; \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        if (mine(#name)) { count++; at(#name, "before"); } \
        result value = real arguments; \
        if (mine(#name)) at(#name, "after"); \
        return value; \
    }
WRAP(int, renameat2, (int a, const char *b, int c, const char *d, unsigned e), (a, b, c, d, e))
WRAP(int, rename, (const char *a, const char *b), (a, b))
WRAP(int, syncfs, (int a), (a))
WRAP(int, fsync, (int a), (a))
WRAP(int, unlink, (const char *a), (a))
WRAP(int, mkdir, (const char *a, mode_t b), (a, b))
WRAP(ssize_t, pwrite, (int a, const void *b, size_t c, off_t d), (a, b, c, d))
"""


@pytest.fixture(scope="session")
def killer(tmp_path_factory):
    directory = tmp_path_factory.mktemp("killer")
    (directory / "kill.c").write_text(KILL)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", directory / "kill.so", directory / "kill.c",
                    "-ldl"], check=True)
    return lambda where: dict(os.environ, LD_PRELOAD=str(directory / "kill.so"), KILL_AT=where)


@pytest.mark.parametrize("where", ["pwrite:1:before", "pwrite:5:after", "fsync:1:before", "renameat2:1:before", "renameat2:1:after"])
def test_a_backup_that_is_killed_is_there_whole_or_not_at_all(station, other, tmp_path, killer, where):
    path = tmp_path / "b.tar"
    killed = backup(station, path, check=False, env=killer(where))
    assert killed.returncode == -signal.SIGKILL, killed
    if where == "renameat2:1:after":
        restore(other, path, "--dry-run")
    else:
        assert not path.exists()
        backup(station, path)
        assert os.listdir(tmp_path) == ["b.tar"]
        restore(other, path, "--dry-run")


def test_a_restore_that_was_asked_about_takes_nothing_of_one_that_was_cut_off_meanwhile(good_backup, other):
    other.declare("slot1", "2")
    terminal, end = pty.openpty()
    try:
        asking = subprocess.Popen(
            [os.path.join(other.programs, "stationctl"), "--socket", other.socket, "restore", str(good_backup), *places(other)],
            stdin=end, stdout=end, stderr=end)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(terminal, 4096)
        kept = pathlib.Path(other.state + ".unpacking", "store")
        kept.mkdir(parents=True)
        pathlib.Path(other.state + ".restoring").write_text("{}")
        os.write(terminal, b"y\n")
        assert asking.wait(30) == REFUSED
        assert kept.exists()
    finally:
        os.close(end)
        os.close(terminal)


INSTANTS = ["mkdir:1:after", "mkdir:4:after", "pwrite:2:after", "syncfs:1:before", "syncfs:2:after", "rename:1:before",
            "rename:1:after", *(f"renameat2:{number}:{when}" for number in (1, 2, 3, 4) for when in ("before", "after")),
            "unlink:2:after"]


@pytest.mark.parametrize("where", INSTANTS)
def test_a_restore_that_is_killed_leaves_the_old_state_or_the_new_one_or_says_how_to_go_on(
        programs, good_backup, station, other, tmp_path, killer, where):
    """The station that is replaced has another image in the same slot."""
    other.declare("slot1", "2")
    other.start()
    add_image(other, "old", seed=9)
    other.call("Assign", slots=["slot1"], image="old")
    other.stop()
    killed = restore(other, good_backup, "--replace", check=False, env=killer(where))
    assert killed.returncode == -signal.SIGKILL, (killed.returncode, killed.stdout, killed.stderr)
    if os.path.exists(other.state + ".restoring"):
        refused = subprocess.run(
            [os.path.join(programs, "stationd"), "--config", other.config, "--state", other.state, "--socket", other.socket],
            capture_output=True, text=True, check=False, timeout=20)
        assert refused.returncode == 1 and "restore --continue" in refused.stderr, refused
        refused = restore(other, good_backup, "--replace", "--json", check=False)
        assert (refused.returncode, code_of(refused)) == (REFUSED, "restore_unfinished")
        other.stationctl("restore", "--continue", *places(other))
    other.start()
    slot = other.slot("slot1")
    kept = [name for name in leftovers(other) if ".before-restore-" in name]
    if slot["assignment"]["image"] == "old":
        assert slot["isArmed"] and kept == [], "nothing was begun yet"
        other.stop()
        restore(other, good_backup, "--replace")
        other.start()
        slot = other.slot("slot1")
    else:
        assert len(kept) == 2
    assert (slot["assignment"]["image"], slot["isArmed"], slot["disarmReason"]) == ("image1", False, "restored")
    kept = [name for name in leftovers(other) if ".before-restore-" in name]
    assert len(kept) == 2 and leftovers(other) == kept
    old = pathlib.Path(other.directory, next(name for name in kept if name.startswith("state")))
    assert len(list((old / "images").iterdir())) == 1, "what was there before is kept"
