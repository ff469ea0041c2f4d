"""The display for a wall: what is read from afar, on terminals of many sizes, and what is heard."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading

import pytest

from block_letters import letters_of
from practice_card import PracticeCard
from practice_station import PracticeStation, wait_until
from stage import Stage, report, running, slot
from test_terminal import Terminal, many
from writer_bench import MIB, pattern


@pytest.fixture
def stage(tmp_path):
    with Stage(str(tmp_path)) as stage:
        stage.keeps_talking = True
        yield stage


@pytest.fixture
def ctl(programs, stage):
    """The words that call stationctl on the stage."""
    return lambda *words: [os.path.join(programs, "stationctl"), "--socket", stage.socket, *words]


class RawTerminal:
    """A terminal that remembers every byte it gets, with a program in it."""

    def __init__(self, words, columns=80, rows=25, **environment):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "LC_ALL")}
        self.process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                                        env={**inherited, "LANG": "C.UTF-8", **environment})
        os.close(theirs)
        self.bytes = b""
        self._ours = ours
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with contextlib.suppress(OSError):  # the program has ended
            while data := os.read(self._ours, 65536):
                self.bytes += data

    def wait_for(self, text, count=1, seconds=20):
        """Until these bytes have come so often."""
        text = text if isinstance(text, bytes) else text.encode()
        wait_until(lambda: self.bytes.count(text) >= count, seconds, what=f"{count} of {text} in {self.bytes[-3000:]}")

    @property
    def bells(self):
        """What was asked of the bell, in order: (hertz, milliseconds) on the console, () on any other terminal."""
        return [tuple(int(figure) for figure in match if figure)
                for match in re.findall(rb"(?:\x1b\[10;(\d+)\]\x1b\[11;(\d+)\])?\x07", self.bytes)]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(20)
        os.close(self._ours)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# -- what is seen -------------------------------------------------------------------------------------

@pytest.mark.parametrize("columns, rows", [(80, 25), (128, 48), (240, 67)])
@pytest.mark.parametrize("count", [1, 4, 16])
def test_every_slot_has_a_tile_on_a_console_of_any_size(stage, ctl, columns, rows, count):
    stage.show(many(count))
    with Terminal(columns, rows) as terminal:
        terminal.run(*ctl("display"))
        names = [f"slot{index + 1}" for index in range(count) if index != 8]

        def whole():
            # A terminal that is asked while it is drawn on shows half of the picture.
            before, lines = terminal.lines(), terminal.lines()
            return lines if before == lines and all(letters_of(lines, name) for name in names) else None

        lines = wait_until(whole, what="every slot's tile")
        assert len(lines) == rows and max(map(len, lines)) <= columns
        assert terminal.value("alternate_on") == "1" and terminal.value("cursor_flag") == "0"
        assert re.search(rf"^{count} slots?:", terminal.text(), re.MULTILINE)
        assert letters_of(lines, "42%")
        if count == 4:
            # From afar: about a tenth of the screen's height.
            for word in ("PASSED", "FAILED", "READY", "42%"):
                assert letters_of(lines, word) >= max(4, rows // 10), word
            for words in ("take it out", "set the card aside", "insert a card", "do not touch"):
                assert letters_of(lines, words), words


def test_a_single_slot_has_the_whole_screen(stage, ctl):
    stage.show([slot("slot1", "passed")])
    with Terminal(80, 25) as terminal:
        terminal.run(*ctl("display"))
        wait_until(lambda: letters_of(terminal.lines(), "PASSED") >= 7, what="PASSED in letters of seven rows")
        assert letters_of(terminal.lines(), "slot1") >= 4


def test_a_tile_is_filled_with_the_colour_of_its_state(stage, ctl):
    stage.show(many(5))
    with Terminal(80, 25) as terminal:
        terminal.run(*ctl("display"))
        terminal.wait_for("take it out", "set the card aside", "insert a card", "do not touch", "call somebody")
        assert terminal.style_of("take it out") == {"30", "42"}
        assert terminal.style_of("set the card aside") == {"1", "37", "41"}
        assert terminal.style_of("do not touch") == {"30", "46"}
        assert terminal.style_of("call somebody") == {"30", "43"}
        assert not {"41", "42", "43", "46"} & terminal.style_of("insert a card")
        # The ground reaches from one edge of the tile to the other.
        passed = next(line for line in terminal.styled().split("\n") if "take it out" in line)
        assert re.search(r"\x1b\[30m\x1b\[42m {8,}take it out {8,}", passed), repr(passed)


def test_more_slots_than_fit_are_shown_page_by_page_without_a_key(stage, ctl):
    stage.show(many(60))
    with Terminal(80, 25) as terminal:
        terminal.run(*ctl("display"))
        terminal.wait_for(" of 60")
        seen = set()

        def look():
            text = terminal.text()
            first, last = map(int, re.search(r"slots (\d+)-(\d+) of 60", text).groups())
            there = {int(number) for number in re.findall(r"\bslot(\d+)\b", text)} - {9}
            assert there >= set(range(first, last + 1)) - {9, 41}, text
            seen.update(range(first, last + 1))
            return len(seen) == 60

        wait_until(look, 60, what="all pages")


def test_the_picture_follows_the_window(stage, ctl):
    stage.show(many(4))
    with Terminal(80, 25) as terminal:
        terminal.run(*ctl("display"))
        terminal.wait_for("take it out")
        for columns, rows in ((40, 12), (160, 50), (18, 4), (80, 25)):
            terminal.tmux("resize-window", "-x", str(columns), "-y", str(rows))
            wait_until(lambda: len(lines := terminal.lines()) == rows and max(map(len, lines)) <= columns
                       and (columns < 40 or letters_of(lines, "slot4")), what=f"a picture of {columns} columns")


def test_it_starts_before_the_station_and_waits_for_it_whenever_it_is_away(stage, ctl):
    stage.leave()
    with Terminal(80, 25) as terminal:
        terminal.run(*ctl("display"))
        terminal.wait_for("waiting for it since", "no station answers")
        assert letters_of(terminal.lines(), "NO STATION") >= 5, terminal.text()
        stage.show(many(4))
        stage.come_back()
        terminal.wait_for("take it out")
        assert not letters_of(terminal.lines(), "NO STATION")
        stage.leave()
        text = terminal.wait_for("trying again", "take it out")
        assert letters_of(terminal.lines(), "NO STATION") >= 4, text
        # What nobody vouches for now is shown without its colours.
        assert not {"41", "42", "43", "46"} & terminal.style_of("take it out")
        stage.come_back()
        terminal.wait_for("the station is back, after it was away since")
        assert "42" in terminal.style_of("take it out")


def test_jobs_without_news_are_said_large(stage, ctl):
    stage.keeps_talking = False
    stage.show(many(1))
    with Terminal(80, 25) as terminal:
        terminal.run(*ctl("display"))
        terminal.wait_for("though jobs run")
        assert letters_of(terminal.lines(), "NO NEWS") >= 4


def test_a_station_without_slots_says_what_to_do(stage, ctl):
    with Terminal(80, 25) as terminal:
        terminal.run(*ctl("display"))
        terminal.wait_for("sudo stationctl slot learn slot1")
        assert letters_of(terminal.lines(), "NO SLOTS") >= 7


@pytest.mark.parametrize("locale, font", [("C", ""), ("C.UTF-8", "linux")])
def test_where_there_are_no_half_blocks_letters_are_made_of_whole_ones(stage, ctl, locale, font):
    """An ASCII locale; a Linux console, whose font has whole blocks only where it is one of Debian's."""
    stage.show(many(4))
    with RawTerminal(ctl("display"), LANG=locale, LC_ALL=locale, TERM=font or "xterm") as terminal:
        terminal.wait_for("take it out")
        terminal.end()
    text = terminal.bytes.decode()
    assert "▀" not in text and "▄" not in text and "…" not in text
    assert ("#" * 3 if locale == "C" else "█" * 3) in text and (text.isascii() or locale != "C")


def test_no_key_stops_it(stage, ctl):
    stage.show([slot("slot1")])
    with Terminal(80, 25) as terminal:
        terminal.run(*ctl("display"))
        terminal.wait_for("1 ready")
        for key in ("C-z", "C-s", "x", "Enter", "Up"):
            terminal.press(key)
        stage.show([slot("slot1", "passed")])
        wait_until(lambda: letters_of(terminal.lines(), "PASSED"), what="a picture of now")
        terminal.press("q")
        terminal.wait_for("prompt$")


@pytest.mark.parametrize("ending", ["C-c", "q", "TERM"])
def test_it_ends_cleanly_and_leaves_the_terminal_as_it_was(stage, ctl, ending):
    stage.show(many(4))
    with Terminal(80, 25) as terminal:
        terminal.run("bash", "-c", "stty -a | cksum; \"$@\"; echo code $?; stty -a | cksum", "bash", *ctl("display"))
        terminal.wait_for("take it out")
        if ending == "TERM":
            pids = subprocess.run(["pgrep", "-f", "--", f"--socket {stage.socket} display"], capture_output=True, text=True,
                                  check=True).stdout.split()
            for pid in pids:
                if os.readlink(f"/proc/{pid}/exe").endswith("stationctl"):
                    os.kill(int(pid), signal.SIGTERM)
        else:
            terminal.press(ending)
        terminal.wait_for("code 0")
        assert terminal.value("alternate_on") == "0" and terminal.value("cursor_flag") == "1"
        sums = wait_until(lambda: (found := re.findall(r"^\d+ \d+$", terminal.text(), re.M)) and len(found) == 2 and found)
        assert sums[0] == sums[1]


def test_mistakes_are_told_below_the_prompt(stage, ctl):
    stage.show(many(2))
    with Terminal(80, 25) as terminal:
        terminal.run(*ctl("display", "sloot1"))
        terminal.wait_for("there is no slot", "did you mean slot1?", "prompt$")
        assert terminal.value("alternate_on") == "0"
    for words, code, said in ((["display"], 1, "needs a terminal to draw on"), (["display", "--json"], 2, "watch --json"),
                              (["watch", "--bell"], 2, "--bell needs a terminal")):
        result = subprocess.run(ctl(*words), capture_output=True, text=True, check=False)
        assert result.returncode == code and said in result.stdout + result.stderr, result


# -- what is heard ------------------------------------------------------------------------------------

PASSED, FAILED, HELP = [(1000, 200)], [(220, 600)] * 2, [(500, 200)] * 3


def finished(state, number, reason=None):
    """A slot whose job of that number ended so."""
    verdict = {"verdict": state, **({"reason": reason} if reason else {})}
    return slot("slot1", state, reason, job={"id": f"{number:032x}", "image": "openwrt", "isDryRun": False,
                                             "report": report(verdict)})


def at_work(number):
    result = running("slot1", "writing", 0.5)
    result["job"]["id"] = f"{number:032x}"
    return result


def test_the_console_is_asked_for_tones_and_gets_its_own_back(stage, ctl):
    stage.show([slot("slot1")])
    with RawTerminal(ctl("display"), TERM="linux") as terminal:
        terminal.wait_for("insert a card")
        heard = []
        for number, (state, reason, tones) in enumerate([
                ("passed", None, PASSED), ("failed", "data_mismatch", FAILED), ("refused", "write_protected", FAILED),
                ("failed", "writer_lost", HELP)]):
            stage.show([at_work(number)])
            stage.show([finished(state, number, reason)])
            heard += tones
            terminal.wait_for("\x07", len(heard))
            assert terminal.bells == heard
        assert terminal.end() == 0
    assert terminal.bytes.startswith(b"\x1b[9;0]\x1b[14;0]"), "it is not blanked"
    after = terminal.bytes[terminal.bytes.rindex(b"\x07"):]
    assert b"\x1b[10]\x1b[11]" in after and b"\x1b]R" in after and after.endswith(b"\x1b[2J")


def test_any_other_terminal_is_rung_and_told_nothing_it_does_not_know(stage, ctl):
    stage.show([slot("slot1")])
    with RawTerminal(ctl("display"), TERM="xterm") as terminal:
        terminal.wait_for("1 ready")
        stage.show([finished("failed", 1, "data_mismatch")])
        terminal.wait_for("\x07", 2)
        assert terminal.end() == 0
    assert terminal.bells == [(), ()]
    assert not re.search(rb"\x1b\[\d+(;\d+)?\]|\x1b\]", terminal.bytes)


def test_what_was_there_or_came_while_the_station_was_away_is_not_sounded(stage, ctl):
    # Each silent thing would be heard as a failure, and before the pass that comes after it.
    stage.show([finished("failed", 1, "data_mismatch")])
    with RawTerminal(ctl("display"), TERM="linux") as terminal:
        terminal.wait_for("1 wants a hand")
        stage.show([at_work(2)])
        terminal.wait_for("1 running")
        stage.show([finished("passed", 2)])
        terminal.wait_for("\x07")
        stage.leave()
        terminal.wait_for("trying again")
        stage.show([finished("failed", 3, "data_mismatch")])
        stage.come_back()
        terminal.wait_for("the station is back")
        stage.show([at_work(4)])
        stage.show([finished("passed", 4)])
        terminal.wait_for("\x07", 2)
        assert terminal.bells == PASSED * 2
        # The same job once more is no news; another one that comes after it is.
        stage.show([slot("slot1")])
        stage.show([finished("passed", 4)])
        stage.show([finished("failed", 5, "data_mismatch")])
        terminal.wait_for("\x07", 4)
        assert terminal.bells == PASSED * 2 + FAILED


def test_several_at_once_are_heard_one_after_the_other(stage, ctl):
    stage.show([dict(slot("x"), name=f"slot{number}") for number in range(16)])
    with RawTerminal(ctl("display"), TERM="linux") as terminal:
        terminal.wait_for("insert a card")
        ends = [slot("x", "passed"), slot("x", "failed", "data_mismatch"), slot("x", "failed", "writer_lost")]
        stage.show([dict(ends[number % 3], name=f"slot{number}") for number in range(16)])
        terminal.wait_for("\x07", 6)
        stage.show([dict(slot("x"), name=f"slot{number}") for number in range(16)])
        stage.show([dict(ends[1], name="slot1"), dict(finished("failed", 99, "data_mismatch"), name="slot2")])
        terminal.wait_for("\x07", 8)
        assert terminal.bells == FAILED + HELP + PASSED + FAILED


def test_watch_is_silent_unless_asked_and_display_sounds_unless_told_not_to(stage, ctl):
    for words, isHeard in ((["watch"], False), (["watch", "--bell"], True), (["display", "--no-bell"], False)):
        stage.show([slot("slot1")])
        with RawTerminal(ctl(*words), TERM="linux") as terminal:
            terminal.wait_for("slot")
            stage.show([at_work(1)])
            terminal.wait_for("writing")
            stage.show([finished("passed", 1)])
            terminal.wait_for("1 passed")
            if isHeard:
                terminal.wait_for("\x07")
            # Another picture of a later second: whatever was to be played has been by then.
            stage.show([at_work(2)])
            terminal.wait_for("writing", terminal.bytes.count(b"writing") + 2)
            terminal.end(signal.SIGINT)
        assert terminal.bells == (PASSED if isHeard else []), words


def test_a_real_card_is_seen_and_heard(programs):
    with PracticeStation(programs) as station:
        station.declare("slot1", "2")
        with Terminal(80, 25) as terminal, PracticeCard(16 * MIB, write_rate=4 * MIB, read_rate=8 * MIB) as card:
            terminal.tmux("set", "-g", "monitor-bell", "on")
            terminal.run(os.path.join(programs, "stationctl"), "--socket", station.socket, "display")
            terminal.wait_for("waiting for it since")
            station.start()
            path = os.path.join(station.directory, "first.img")
            with open(path, "wb") as file:
                file.write(pattern(8 * MIB))
            station.import_image(path, "first")
            station.call("Assign", slots=["slot1"], image="first")
            wait_until(lambda: letters_of(terminal.lines(), "READY") >= 7, what="READY")
            station.bench.insert("2", card, "slot1")
            terminal.wait_for("writing", "█", "left")
            station.stop(signal.SIGKILL)
            terminal.wait_for("trying again")
            assert letters_of(terminal.lines(), "NO STATION")
            station.start()
            wait_until(lambda: letters_of(terminal.lines(), "PASSED") >= 7, 60, what="PASSED")
