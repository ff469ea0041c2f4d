"""The command line as a person and a script meet it: the issue of a first card, mistakes, and what a pipe gets."""

import csv
import fcntl
import hashlib
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time

import pytest

from practice_card import LoopCard, PracticeCard
from practice_station import PracticeStation, wait_until
from stage import Stage, job, running, slot
from writer_bench import MIB, bytes_at, pattern

IMAGE_BYTES = 2 * MIB + 700
SUCCESS, FAILURE, USAGE, UNREACHABLE, NOT_PERMITTED, NOT_FOUND, REFUSED, NOT_PASSED = range(8)


@pytest.fixture
def station(programs):
    """A running station with slot1 in port 2 and no image."""
    with PracticeStation(programs) as station:
        station.declare("slot1", "2")
        station.start()
        yield station


@pytest.fixture
def image_file(station):
    path = os.path.join(station.directory, "first.img")
    with open(path, "wb") as file:
        file.write(pattern(IMAGE_BYTES))
    return path


@pytest.fixture
def armed(station, image_file):
    """The same with an image, assigned."""
    station.stationctl("image", "import", image_file)
    station.stationctl("assign", "slot1", "--image", "first")
    return station


def start_ctl(station, *arguments, **options):
    """stationctl in the background."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([os.path.join(station.programs, "stationctl"), "--socket", station.socket, *arguments],
                            **options)


def on_terminal(station, *arguments, env=None, columns=80, programs=None):
    """What stationctl writes to a terminal of so many columns, as text."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [os.path.join(programs or station.programs, "stationctl"), "--socket", station.socket, *arguments], stdin=terminal,
        stdout=terminal, stderr=terminal, env={**os.environ, "TERM": "xterm", **(env or {})})
    os.close(terminal)
    output = b""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        ready, _, _ = select.select([controller], [], [], 0.1)
        if ready:
            try:
                chunk = os.read(controller, 65536)
            except OSError:
                break
            if not chunk:
                break
            output += chunk
        elif process.poll() is not None:
            break
    process.wait(5)
    os.close(controller)
    return output.decode()


# -- the story ----------------------------------------------------------------------------------------

def test_the_story_of_a_first_card(programs):
    """Nothing is declared; everything that follows a person types, in this order."""
    with PracticeStation(programs) as station, LoopCard(300_000_000) as learnt, LoopCard(300_000_000) as card:
        station.start()
        slots = ("--slots-dir", os.path.join(station.config, "slots.d"))

        learning = start_ctl(station, "slot", "learn", "slot1", "--yes", *slots)
        line = learning.stderr.readline()
        assert "slot1" in line and "card" in line.lower(), line
        reader = station.bench.insert("2", learnt)
        output, notes = learning.communicate(timeout=15)
        assert learning.returncode == SUCCESS, notes
        assert "slot1" in output and "image import" in output and "assign slot1" in output
        assert "port 2" in notes and "05e3:0749" in notes and "WIPED" in notes
        with open(os.path.join(station.config, "slots.d", "slot1.slot"), encoding="utf-8") as file:
            assert "usb 480 port 2 lun 0 at pci0000:00/0000:00:03.0" in file.read()

        path = os.path.join(station.directory, "grub-rescue-usb.img")
        with open(path, "wb") as file:
            file.write(pattern(IMAGE_BYTES))
        result = station.stationctl("image", "import", path).stdout
        assert hashlib.sha256(pattern(IMAGE_BYTES)).hexdigest() in result and "grub-rescue-usb" in result
        result = station.stationctl("assign", "slot1", "--image", "grub-rescue-usb").stdout
        assert "slot1" in result and "stays as it is" in result, "the learnt card is in, and is left alone"
        assert not any(bytes_at(learnt, 0, MIB)) and station.history() == []
        reader.unplug()
        station.wait_for_state("slot1", "absent")
        station.let_a_hand_change_cards()

        watching = start_ctl(station, "watch", "slot1")
        station.bench.insert("2", card, "slot1")
        wait_until(lambda: station.slot("slot1")["state"] == "passed", what="passed")
        wait_until(lambda: select.select([watching.stdout], [], [], 0)[0], what="a line of watch")
        lines = []
        while not any("PASSED" in line for line in lines):
            lines.append(watching.stdout.readline())
        watching.terminate()
        watching.communicate(timeout=5)
        assert bytes_at(card, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES)

        status = station.stationctl("status").stdout
        assert "slot1" in status and "PASSED" in status and "grub-rescue-usb" in status
        history = station.stationctl("history").stdout
        assert "passed" in history and "slot1" in history
        explained = station.stationctl("explain", "slot1").stdout
        assert "slot1" in explained and "grub-rescue-usb" in explained


def test_an_image_comes_from_standard_input(station):
    data = pattern(IMAGE_BYTES, seed=5)
    result = subprocess.run(
        [os.path.join(station.programs, "stationctl"), "--socket", station.socket, "image", "import", "-", "--name",
         "streamed", "--json"], input=data, capture_output=True, check=True)
    record = json.loads(result.stdout)
    assert record["sha256"] == hashlib.sha256(data).hexdigest() and record["byteCount"] == len(data)
    assert json.loads(station.stationctl("image", "show", "streamed", "--json").stdout)["sha256"] == record["sha256"]


def test_a_wrong_sha256_imports_nothing(station, image_file):
    result = station.stationctl("image", "import", image_file, "--sha256", "0" * 64, check=False)
    assert result.returncode != SUCCESS and "SHA-256" in result.stderr
    assert json.loads(station.stationctl("image", "list", "--json").stdout)["images"] == []
    good = hashlib.sha256(pattern(IMAGE_BYTES)).hexdigest()
    station.stationctl("image", "import", image_file, "--sha256", good)


def test_a_name_is_only_replaced_when_somebody_says_so(armed):
    path = os.path.join(armed.directory, "other.img")
    with open(path, "wb") as file:
        file.write(pattern(3 * MIB, seed=8))
    result = armed.stationctl("image", "import", path, "--name", "first", check=False)
    assert result.returncode != SUCCESS and "--replace" in result.stderr
    before = armed.slot("slot1")["assignment"]
    armed.stationctl("image", "import", path, "--name", "first", "--replace")
    assert armed.slot("slot1")["assignment"] == before, "card 8 is card 7"
    with LoopCard(8 * MIB) as card:
        armed.bench.insert("2", card, "slot1")
        assert armed.wait_for_state("slot1", "passed", "failed", "refused")["state"] == "passed"
        assert bytes_at(card, 0, IMAGE_BYTES) == pattern(IMAGE_BYTES)


# -- slots --------------------------------------------------------------------------------------------

def slots_option(station):
    return ("--slots-dir", os.path.join(station.config, "slots.d"))


def test_learn_takes_a_disk_that_is_in_already_by_its_name(station):
    with LoopCard(300_000_000) as card:
        reader = station.bench.insert("5", card)
        wait_until(lambda: "slot learn" in station.journal(), what="the station's look at it")
        name = os.path.basename(reader.device)
        station.stationctl("slot", "learn", "left-1", "--device", name, "--yes", *slots_option(station))
        assert station.slot("left-1")["state"] == "waiting"
        result = station.stationctl("slot", "learn", "left-2", "--device", name, "--yes", *slots_option(station),
                                    check=False)
        assert result.returncode == REFUSED and "left-1" in result.stderr
        assert not any(bytes_at(card, 0, MIB))


def test_a_directory_of_slots_that_cannot_be_read_is_no_empty_one(programs):
    nobody = 65534
    with tempfile.TemporaryDirectory() as directory:
        slots = os.path.join(directory, "slots.d")
        os.mkdir(slots)
        for path, mode in ((directory, 0o755), (slots, 0o300)):
            os.chown(path, nobody, nobody)
            os.chmod(path, mode)
        def listed():
            return subprocess.run(
                ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups", os.path.join(programs, "stationctl"),
                 "slot", "list", "--slots-dir", slots], capture_output=True, text=True, check=True)
        result = listed()
        assert result.stdout == "" and f"{slots} cannot be read" in result.stderr and f"chmod 755 {slots}" in result.stderr
        os.chmod(slots, 0o755)
        assert listed().stdout.startswith("no slot is declared")


def test_learn_asks_and_no_is_no(station):
    with LoopCard(300_000_000) as card:
        reader = station.bench.insert("5", card)
        wait_until(lambda: "slot learn" in station.journal(), what="the station's look at it")
        result = station.stationctl("slot", "learn", "slot5", "--device", os.path.basename(reader.device),
                                    *slots_option(station), check=False, input="y\n")
        assert result.returncode == USAGE and "--yes" in result.stderr, "a pipe is nobody to ask"
        assert not os.path.exists(os.path.join(station.config, "slots.d", "slot5.slot"))


def test_relearn_moves_a_slot_and_keeps_its_assignment(armed):
    with LoopCard(300_000_000) as card:
        moving = start_ctl(armed, "slot", "relearn", "slot1", "--yes", *slots_option(armed))
        assert "slot1" in moving.stderr.readline()
        reader = armed.bench.insert("6", card)
        _, notes = moving.communicate(timeout=15)
        assert moving.returncode == SUCCESS, notes
        slot = armed.slot("slot1")
        assert slot["assignment"]["image"] == "first" and slot["isArmed"]
        assert "port 6" in armed.stationctl("slot", "show", "slot1", *slots_option(armed)).stdout
        assert not any(bytes_at(card, 0, MIB)), "the card that is in is left alone"
        reader.unplug()
        armed.wait_for_state("slot1", "absent")
        armed.let_a_hand_change_cards()
        with LoopCard(300_000_000) as fresh, LoopCard(300_000_000) as elsewhere:
            armed.bench.insert("2", elsewhere)
            armed.bench.insert("6", fresh, "slot1")
            assert armed.wait_for_state("slot1", "passed", "failed", "refused")["state"] == "passed"
            assert not any(bytes_at(elsewhere, 0, MIB)), "its old place is nobody's"


def test_remove_makes_the_place_nobodys(armed):
    result = armed.stationctl("slot", "remove", "slot1", *slots_option(armed))
    assert "slot1" in result.stdout
    assert armed.call("GetStatus")["slots"] == []
    with LoopCard(8 * MIB) as card:
        armed.bench.insert("2", card)
        wait_until(lambda: "slot learn" in armed.journal(), what="the line for an undeclared place")
        assert not any(bytes_at(card, 0, MIB)) and armed.history() == []
    # Consent does not come back with the name.
    armed.declare("slot1", "2")
    armed.stationctl("reload")
    assert armed.stationctl("slot", "remove", "nothing", *slots_option(armed), check=False).returncode == NOT_FOUND


def test_add_declares_by_place_and_list_shows_it(station):
    place, reader = "usb 5000 port 1.4 lun 1 at pci0000:00/0000:00:14.0", "0bda:0326 luns 2"
    station.stationctl("slot", "add", "right-1", "--place", place, "--reader", reader, "--wipe", "zero",
                       "--maximum-size", "64G", *slots_option(station))
    listed = json.loads(station.stationctl("slot", "list", "--json", *slots_option(station)).stdout)
    assert [slot["name"] for slot in listed["slots"]] == ["right-1", "slot1"]
    assert place in station.stationctl("slot", "list", *slots_option(station)).stdout
    assert station.slot("right-1")["state"] == "absent"


@pytest.mark.parametrize("words, says", [
    (["--minimum-size", "1000"], "“1000” is no byte count of 1M or more"),
    (["--maximum-size", "512K"], "“512K” is no byte count of 1M or more"),
    (["--minimum-size", "64G", "--maximum-size", "1G"], "--minimum-size is larger"),
    (["--light", "led:green:one", "--failure-light", "led:green:one"], "are one light"),
    (["--failure-light", "led:red:one"], "--failure-light needs --light"),
    (["--mode", "update", "--wipe", "discard"], "--mode update cannot be had"),
    (["--place", "usb 480 port 09 lun 0 at pci0000:00/0000:00:03.0"], "is no place"),
    # The file's own reader says it, as of a file.
    pytest.param(["--place", "mmc at platform/soc/fe340000.mmc"], "at an MMC host the reader is mmc", id="other reader"),
])
def test_add_declares_nothing_that_its_own_file_could_not_say(station, words, says):
    place = [] if "--place" in words else ["--place", "usb 480 port 9 lun 0 at pci0000:00/0000:00:03.0"]
    result = station.stationctl("slot", "add", "right-1", *place, "--reader", "05e3:0749 luns 1", *words,
                                *slots_option(station), check=False)
    assert result.returncode == (FAILURE if "mmc at" in "".join(words) else USAGE) and says in result.stderr, result
    listed = json.loads(station.stationctl("slot", "list", "--json", *slots_option(station)).stdout)
    assert [slot["name"] for slot in listed["slots"]] == ["slot1"] and listed["problems"] == []


# -- reading ------------------------------------------------------------------------------------------

def test_watch_json_is_one_status_in_each_line_up_to_the_verdict(armed):
    with PracticeCard(8 * MIB, write_rate=8 * MIB, read_rate=16 * MIB) as card:
        watching = start_ctl(armed, "watch", "--json")
        first = json.loads(watching.stdout.readline())
        assert first["slots"][0]["state"] == "absent"
        armed.bench.insert("2", card, "slot1")
        seen = []
        while not seen or seen[-1]["state"] not in ("passed", "failed"):
            seen.append(json.loads(watching.stdout.readline())["slots"][0])
        watching.terminate()
        watching.communicate(timeout=5)
    assert seen[-1]["state"] == "passed" and any(one["state"] == "running" for one in seen)
    done = [one["job"]["progress"]["bytesDone"] for one in seen if one["state"] == "running"]
    assert done == sorted(done) and done[-1] > 0


def test_history_filters_and_speaks_json(armed):
    for _ in range(2):
        with LoopCard(8 * MIB) as card:
            reader = armed.bench.insert("2", card, "slot1")
            armed.wait_for_state("slot1", "passed", "failed", "refused")
            reader.unplug()
            armed.wait_for_state("slot1", "absent")
    jobs = json.loads(armed.stationctl("history", "--json").stdout)["jobs"]
    assert len(jobs) == 2 and jobs[0]["sequence"] > jobs[1]["sequence"]
    assert all(job["report"]["verdict"] == {"verdict": "passed"} for job in jobs)
    assert json.loads(armed.stationctl("history", "--slot", "other*", "--json").stdout)["jobs"] == []
    assert len(json.loads(armed.stationctl("history", "--limit", "1", "--json").stdout)["jobs"]) == 1


def test_history_says_whether_it_is_all_and_goes_back_by_time(armed):
    for _ in range(3):
        with LoopCard(8 * MIB) as card:
            reader = armed.bench.insert("2", card, "slot1")
            armed.wait_for_state("slot1", "passed")
            reader.unplug()
            armed.wait_for_state("slot1", "absent")
            armed.let_a_hand_change_cards()
    whole = json.loads(armed.stationctl("history", "--json").stdout)
    assert len(whole["jobs"]) == 3 and whole["isComplete"]
    part = json.loads(armed.stationctl("history", "--limit", "2", "--json").stdout)
    assert part["jobs"] == whole["jobs"][:2] and not part["isComplete"]
    assert "the newest 2 jobs" in armed.stationctl("history", "--limit", "2").stdout
    assert json.loads(armed.stationctl("history", "--limit", "3", "--json").stdout)["isComplete"]
    last = part["jobs"][-1]
    older = json.loads(armed.stationctl("history", "--until", f"@{last['startedAt']}", "--json").stdout)
    assert [job["id"] for job in older["jobs"]] == [whole["jobs"][2]["id"]]


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "JSON"])
def test_a_job_that_is_not_there_is_not_there_in_every_form(armed, form):
    assert armed.stationctl("history", "--job", "1a2b", *form, check=False).returncode == NOT_FOUND
    for word in ("", "nope"):
        assert armed.stationctl("history", "--job", word, *form, check=False).returncode == USAGE


def test_cancel_ends_what_runs_of_all_that_is_meant(armed):
    armed.declare("slot2", "3")
    armed.stationctl("reload")
    assert armed.stationctl("cancel", "*", check=False).returncode == REFUSED
    with PracticeCard(8 * MIB, write_rate=2 * MIB, read_rate=4 * MIB) as card:
        armed.bench.insert("2", card, "slot1")
        armed.wait_for_phase("slot1", "writing")
        armed.stationctl("cancel", "*")
        armed.wait_for_state("slot1", "cancelled")


def test_a_stream_that_was_closed_is_nothing_that_is_written_into(armed, tmp_path):
    ctl = f"{armed.programs}/stationctl --socket {armed.socket}"
    run = lambda text: subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=20, check=False)  # noqa: E731
    for words in ("watch", "watch --json", "status"):
        result = run(f"{ctl} {words} >&-")
        assert result.returncode == FAILURE and "cannot be written" in result.stderr, result
    # What went wrong is told by the exit code, too, where nobody can read of it.
    assert run(f"{ctl} status nothing 2>&-").returncode == NOT_FOUND
    assert run(f"{ctl} status nothing 2> /dev/full").returncode == NOT_FOUND


def test_a_watch_that_nobody_reads_any_more_ends_at_once(armed):
    began = time.monotonic()
    shown = subprocess.run(["bash", "-c", f"{armed.programs}/stationctl --socket {armed.socket} watch --json | head -n 1"],
                           capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(shown.stdout)["slots"] and time.monotonic() - began < 10


def test_explain_names_the_command_that_opens_each_gate(station, image_file):
    assert "stationctl assign slot1" in station.stationctl("explain", "slot1").stdout
    station.stationctl("image", "import", image_file)
    station.stationctl("assign", "slot1", "--image", "first")
    station.stationctl("disarm", "slot1")
    assert "stationctl arm slot1" in station.stationctl("explain", "slot1").stdout
    gates = json.loads(station.stationctl("explain", "slot1", "--json").stdout)["gates"]
    assert {gate["gate"] for gate in gates if not gate["isOpen"]} >= {"armed", "card"}


@pytest.mark.parametrize("words", [("status",), ("history",), ("image", "list")])
def test_what_goes_into_a_pipe_fits_80_columns_and_has_no_colour(armed, words):
    with PracticeCard(8 * MIB, faults={"fault": "stuck", "offset": MIB + 4711, "mask": 255}) as card:
        armed.bench.insert("2", card, "slot1")
        armed.wait_for_state("slot1", "failed", "passed")
        output = armed.stationctl(*words, env={**os.environ, "TERM": "xterm"}).stdout
    assert "\x1b" not in output and "\r" not in output and output.strip()
    # What is explained below a row is indented, and stays in one piece for whoever looks through it with grep.
    lines = output.splitlines()
    assert max(len(line) for line in lines if not line.startswith("    ")) <= 80, output
    notes = [line for line in lines if line.startswith("    ")]
    assert len(notes) == (1 if words == ("status",) else 0), output


def test_what_goes_into_a_pipe_is_never_cut(armed):
    name, image = "a-slot-with-a-rather-long-name", "an-image-with-a-name-that-is-longer-still"
    armed.declare(name, "7")
    armed.stationctl("reload")
    armed.stationctl("image", "import", os.path.join(armed.directory, "first.img"), "--name", image)
    armed.stationctl("assign", name, "--image", image)
    output = armed.stationctl("status").stdout
    assert any(name in line and image in line for line in output.splitlines()), output
    assert image in armed.stationctl("image", "list").stdout


def test_colours_come_on_a_terminal_and_not_with_no_color(armed):
    assert "\x1b[" in on_terminal(armed, "status")
    assert "\x1b[" not in on_terminal(armed, "status", env={"NO_COLOR": "1"})
    assert "\x1b[" not in on_terminal(armed, "status", env={"TERM": "dumb"})
    plain = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(armed, "status", columns=60))
    assert max(len(line) for line in plain.splitlines()) <= 60


# -- a stage: what the real station seldom says ----------------------------------------------------------

@pytest.fixture
def staged(programs, tmp_path):
    """`staged(words…)` runs stationctl on a stage; `staged.stage` is that stage."""
    with Stage(str(tmp_path)) as stage:
        def run(*words, env=None, **options):
            return subprocess.run([os.path.join(programs, "stationctl"), "--socket", stage.socket, *words], text=True,
                                  capture_output=True, check=False,
                                  env={**os.environ, "LANG": "C.UTF-8", "TZ": "UTC", **(env or {})}, **options)
        run.stage = stage
        yield run


def test_a_note_is_one_line_in_a_pipe_however_long(staged):
    detail = "the first wrong byte is at 4711, " * 6
    staged.stage.show([slot("slot1", "failed", "write_error", detail=detail)],
                      problems=[{"code": "p", "message": "a problem " * 30, "remedy": "a mend " * 30}])
    lines = staged("status").stdout.splitlines()
    assert any(detail.strip() in line for line in lines)
    assert any("a problem " * 29 in line for line in lines) and any("a mend " * 29 in line for line in lines)


def test_status_sums_up_and_names_who_waits_for_somebody(staged):
    staged.stage.show([running("slot1", "writing", 0.5, left=600), running("slot2", "verifying", 0.5, left=20),
                       slot("slot3", "failed", "write_error"), slot("slot4", "waiting", "same_card"),
                       slot("slot5", "passed"), slot("slot6"), slot("slot7", "refused", "dry_run"),
                       slot("slot8", armed=False)])
    output = staged("status").stdout
    assert output.splitlines()[-1] == (
        "8 slots: 2 want a hand (slot3 failed, slot4 waiting), 2 running (about 10 min), 1 passed, 1 ready, 2 idle")
    assert "WAITS: maybe the card before" in output and "dry run: would be written" in output


def test_colour_is_a_choice(staged):
    staged.stage.show([slot("slot1", "passed")])
    assert "\x1b[1;7;32mPASSED\x1b[0m" in staged("status", "--color=always").stdout
    assert "\x1b[1;7;32mPASSED\x1b[0m" in staged("--color", "always", "status", env={"NO_COLOR": "1"}).stdout
    assert "\x1b" not in staged("status").stdout
    wrong = staged("status", "--color=alwys")
    assert wrong.returncode == USAGE and "did you mean always?" in wrong.stderr
    assert "\x1b" not in on_terminal(staged.stage, "status", "--color=never", programs=os.path.dirname(wrong.args[0]))


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LANG": "", "LC_ALL": "POSIX"}, {"LC_CTYPE": "en_US.ISO-8859-1"}])
def test_where_the_locale_is_not_utf8_all_is_ascii_but_json(staged, locale):
    staged.stage.show([slot("slot1", "failed", "read_error", image=None, detail="“Größe”"), slot("slot2", image=None)])
    for words in (["status"], ["--help"], ["watch", "--help"], ["status", "sloot"]):
        result = staged(*words, env=locale)
        assert (result.stdout + result.stderr).isascii(), result.stdout
    assert '"Gr??e"' in staged("status", env=locale).stdout
    assert "Größe" in staged("status", "--json", env=locale).stdout


def jobs():
    return [job(9, verdict={"verdict": "passed"}), job(8, verdict={"verdict": "failed", "reason": "write_error"},
                                                     detail="=HYPERLINK(\"http://x\",\"at 4096\")"),
            job(7, verdict={"verdict": "refused", "reason": "dry_run"}, isDryRun=True), job(6),
            job(5, verdict={"verdict": "interrupted"}, model="@reader, \"best\"", callerUserID=1000,
                wasClockSynchronised=False)]


def test_history_sums_up(staged):
    staged.stage.jobs = jobs()
    lines = staged("history").stdout.splitlines()
    assert lines[-1] == "5 jobs: 1 passed, 1 failed, 1 interrupted, 1 dry run, 1 under way"
    assert lines[1].startswith("2023-11-14 22:13 ") and lines[5].startswith("2023-11-14 22:13? ")
    assert staged("history", "--limit", "5").stdout.splitlines()[-1].startswith("5 jobs: ")
    assert staged("history", "--limit", "4").stdout.splitlines()[-1].startswith("the newest 4 jobs: ")


def test_history_as_csv_is_read_by_others_and_carries_no_formula(staged):
    staged.stage.jobs = jobs()
    result = staged("history", "--csv")
    raw = subprocess.run(result.args, capture_output=True, check=True).stdout
    assert raw.count(b"\r\n") == 6 and b"\n" not in raw.replace(b"\r\n", b""), "RFC 4180's line ends"
    rows = list(csv.DictReader(io.StringIO(raw.decode(), newline=""), strict=True))
    assert [row["sequence"] for row in rows] == ["9", "8", "7", "6", "5"]
    assert rows[0]["began"] == "2023-11-14T22:13:29+00:00" and rows[0]["write_seconds"] == "20.000"
    assert rows[1]["reason"] == "write_error" and rows[1]["detail"] == "'=HYPERLINK(\"http://x\",\"at 4096\")"
    assert rows[3]["verdict"] == "" and rows[3]["total_seconds"] == ""
    assert rows[4]["reader"] == "'@reader, \"best\"" and rows[4]["caller_uid"] == "1000"
    assert rows[4]["clock_synchronised"] == "false"
    assert staged.stage.queries[-1]["limit"] == 10_000
    assert staged("history", "--csv", "--json").returncode == USAGE


def test_history_filters_reach_the_station(staged):
    staged("history", "--slot", "s*", "--image", "openwrt*", "--card", "ab12", "--verdict", "failed", "--limit", "3")
    assert staged.stage.queries[-1] == {"slot": "s*", "image": "openwrt*", "card": "ab12", "verdict": "failed", "limit": 4}


@pytest.mark.parametrize("text, seconds", [
    ("2h", 7200), ("90m", 5400), ("3 days ago", 3 * 86400), ("1 week", 7 * 86400), ("now", 0), ("@1700000000", None),
    ("today", None), ("yesterday", None), ("monday", None), ("Mon", None), ("2026-11-01", None), ("2026-11-01 14:05", None),
    ("2026-11-01T14:05:09", None), ("00:00", None),
])
def test_since_takes_times_as_people_write_them(staged, text, seconds):
    now = time.time()
    assert staged("history", "--since", text).returncode == SUCCESS
    since = staged.stage.queries[-1]["since"]
    midnight = now - now % 86400
    weekday = time.gmtime(now).tm_wday
    exact = {"@1700000000": 1_700_000_000, "today": midnight, "yesterday": midnight - 86400, "00:00": midnight,
             "monday": midnight - weekday * 86400, "Mon": midnight - weekday * 86400, "2026-11-01": 1793491200,
             "2026-11-01 14:05": 1793541900, "2026-11-01T14:05:09": 1793541909}
    if seconds is None:
        assert since == exact[text] or since == exact[text] + 86400, "but for midnight, which may pass in between"
    else:
        assert abs(since - (now - seconds)) < 30


@pytest.mark.parametrize("text, says", [
    ("yesterdya", "did you mean yesterday?"), ("2026-02-31", "write 2h"), ("2026-13-01", "write 2h"), ("", "write 2h"),
    ("25:00", "write 2h"), ("2 fortnights", "write 2h"), ("-1h", "write 2h"),
])
def test_a_time_that_is_none_is_told_so(staged, text, says):
    result = staged("history", f"--since={text}")
    assert result.returncode == USAGE and says in result.stderr, result.stderr


def test_a_reader_that_has_enough_ends_it_without_a_word(staged):
    staged.stage.jobs = [job(number, verdict={"verdict": "passed"}) for number in range(5000)]
    for handler in (signal.SIG_DFL, signal.SIG_IGN):
        command = subprocess.Popen(["bash", "-c", 'set -o pipefail; "$@" | head -1', "bash",
                                    *staged("history", "--limit", "10000").args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   preexec_fn=lambda: signal.signal(signal.SIGPIPE, handler), restore_signals=False)  # noqa: B023
        output, errors = command.communicate(timeout=20)
        assert output.startswith(b"WHEN") and errors == b"" and command.returncode == 141, (errors, command.returncode)


def test_an_output_that_cannot_be_written_is_an_error(staged):
    with open("/dev/full", "w", encoding="utf-8") as full:
        result = subprocess.run(staged("status").args, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == FAILURE and "cannot be written" in result.stderr


@pytest.mark.parametrize("words, says", [
    (["statsu"], "stationctl status?"), (["hist"], "stationctl history?"), (["list", "images"], "stationctl image list?"),
    (["import", "image", "x"], "stationctl image import?"), (["learn", "slot1"], "stationctl slot learn?"),
    (["slot", "laern", "slot1"], "stationctl slot learn?"), (["image", "shwo", "x"], "stationctl image show?"),
    (["history", "--verdict", "pased"], "did you mean passed?"), (["history", "--verdcit", "passed"], "--verdict?"),
    (["slot", "add", "x", "--wipe", "zreo", "--place", "usb 480 port 2 lun 0 at pci0000:00/0000:00:03.0", "--reader",
      "05e3:0749 luns 1", "--slots-dir", "/nonexistent"], "did you mean zero?"),
    (["images"], "stationctl image?"), (["frobnicate"], "see stationctl --help"),
])
def test_what_is_mistyped_is_guessed(staged, words, says):
    result = staged(*words)
    assert result.returncode == USAGE and says in result.stderr, result.stderr


def test_help_is_found_in_every_way_one_may_ask(staged):
    assert staged("help", "history").stdout == staged("history", "--help").stdout == staged("--help", "history").stdout
    assert staged("help").stdout == staged("--help").stdout
    group = staged("image", "--help")
    assert group.returncode == SUCCESS and "image import" in group.stdout and staged("help", "image").stdout == group.stdout
    assert staged("image").returncode == USAGE


# -- mistakes -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("words, code, says", [
    ((), USAGE, "help"),
    (("statsu",), USAGE, "status"),
    (("image", "imprt", "x"), USAGE, "import"),
    (("image",), USAGE, "import"),
    (("status", "--jsno"), USAGE, "--json"),
    (("assign", "slot1"), USAGE, "--image"),
    (("disarm",), USAGE, "--all"),
    (("history", "--limit", "many"), USAGE, "1 to 10000"),
    (("image", "import", "-", "--sha256", "xyz", "--name", "x"), USAGE, "64"),
    (("image", "import", "-"), USAGE, "--name"),
    (("status", "sloot1"), NOT_FOUND, "slot1"),
    (("explain", "sloot1"), NOT_FOUND, "slot1"),
    (("assign", "sloot1", "--image", "first"), NOT_FOUND, "slot1"),
    (("assign", "slot1", "--image", "fist"), NOT_FOUND, "first"),
    (("image", "show", "fist"), NOT_FOUND, "first"),
    (("image", "remove", "nothing"), NOT_FOUND, "nothing"),
    (("image", "import", "/nonexistent.img"), NOT_FOUND, "/nonexistent.img"),
    (("image", "import", "/etc"), FAILURE, "directory"),
    (("image", "remove", "first"), REFUSED, "slot1"),
    (("flash", "slot1"), REFUSED, "card"),
    (("cancel", "slot1"), REFUSED, "job"),
])
def test_a_mistake_is_explained_and_has_its_exit_code(armed, words, code, says):
    result = armed.stationctl(*words, check=False, input="")
    assert result.returncode == code, result.stderr
    assert says in result.stderr and result.stdout == ""
    assert "what to do" in result.stderr or code == USAGE or "\n" in result.stderr
    if "--jsno" not in words and words:
        result = armed.stationctl(*words, "--json", check=False, input="")
        assert result.returncode == code
        error = json.loads(result.stdout)["error"]
        assert error["code"] and error["message"] and "remedy" in error


def test_without_a_station_every_command_says_so(programs, tmp_path):
    for words in (["status"], ["watch"], ["assign", "slot1", "--image", "x"]):
        result = subprocess.run([os.path.join(programs, "stationctl"), "--socket", str(tmp_path / "nothing"), *words],
                                capture_output=True, text=True, check=False)
        assert result.returncode == UNREACHABLE and "what to do" in result.stderr


def test_a_station_that_goes_away_ends_watch_with_the_code_for_it(armed):
    watching = start_ctl(armed, "watch", "--json")
    watching.stdout.readline()
    armed.stop()
    watching.communicate(timeout=5)
    assert watching.returncode == UNREACHABLE


def test_flash_follow_tells_the_verdict_by_its_exit_code(armed):
    armed.stationctl("disarm", "--all")
    with PracticeCard(8 * MIB) as card:
        armed.bench.insert("2", card, "slot1")
        armed.wait_for_state("slot1", "waiting")
        assert "stationctl arm slot1, then" in armed.stationctl("status").stdout
        result = armed.stationctl("flash", "slot1", "--dry-run", "--follow")
        assert "dry run" in result.stdout.lower() and not any(bytes_at(card, 0, MIB))
        assert armed.stationctl("flash", "slot1", check=False).returncode == REFUSED
        assert "stays as it is" in armed.stationctl("arm", "slot1").stdout
        # Who takes the arming away is told nothing of how to write the card.
        assert "stays as it is" not in armed.stationctl("disarm", "slot1").stdout
        armed.stationctl("arm", "slot1")
        result = armed.stationctl("flash", "slot1", "--follow", "--json")
        assert json.loads(result.stdout)["jobs"][0]["report"]["verdict"] == {"verdict": "passed"}
        card.control({"fault": "stuck", "offset": MIB + 4711, "mask": 255})
        result = armed.stationctl("flash", "slot1", "--follow", check=False)
        assert result.returncode == NOT_PASSED and "data_mismatch" in result.stdout + result.stderr


def test_every_command_has_help_that_fits_and_says_how_it_ends(station):
    top = station.stationctl("--help").stdout
    names = re.findall(r"^  ((?:image|slot|card|profile|builder|builds|artifact) [a-z]+|[a-z]+)\b", top.split("Commands:")[1].split("\n\n")[0], flags=re.M)
    assert len(names) > 15
    for name in names:
        text = station.stationctl(*name.split(), "--help").stdout
        assert "Usage: stationctl " + name in text
        assert max(len(line) for line in text.splitlines()) <= 100, name
        assert "\nExample" in text and re.search(r"^Exit codes:\n  0 ", text, re.M), name
    assert max(len(line) for line in top.splitlines()) <= 80, top


def test_an_ordinary_user_without_a_group_may_not_even_look(armed):
    os.chmod(armed.directory, 0o755)
    result = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
         os.path.join(armed.programs, "stationctl"), "--socket", armed.socket, "status"],
        capture_output=True, text=True, check=False)
    assert result.returncode == NOT_PERMITTED and "group" in result.stderr
