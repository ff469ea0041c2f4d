"""What a person sees: the pictures of stationctl in a real terminal emulator (tmux), at many sizes."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import uuid

import pytest

from practice_card import PracticeCard
from practice_station import PracticeStation, wait_until
from stage import Stage, job, running, slot
from writer_bench import MIB, pattern

BAD_FILE = {"code": "slot_file_untrusted", "message": "slots.d/slot99.slot may be written by others than root",
            "remedy": "chown root: and chmod 644 the file in slots.d"}


class Terminal:
    """A terminal of some size with a shell in it."""

    def __init__(self, columns, rows, **environment):
        self.name = f"station-{uuid.uuid4().hex[:12]}"
        values = {"LANG": "C.UTF-8", "PS1": "prompt$ ", **environment}
        words = [f"{key}={shlex.quote(value)}" for key, value in values.items()]
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  f"env -u NO_COLOR -u LC_ALL {' '.join(words)} bash --norc --noprofile")
        self.tmux("set", "-g", "status", "off")
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))
        self.wait_for("prompt$")

    def tmux(self, *words):
        result = subprocess.run(["tmux", "-L", self.name, *words], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def lines(self):
        return self.tmux("capture-pane", "-p").split("\n")[:-1]

    def styled(self):
        return self.tmux("capture-pane", "-p", "-e")

    def style_of(self, word):
        """The attributes of the first place where this stands, as SGR has them: {"1", "7", "31"}."""
        active = set()
        for codes, text in re.findall(r"\x1b\[([0-9;]*)m|([^\x1b]+)", self.styled()):
            if text:
                if word in text:
                    return active
                continue
            for code in codes.split(";"):
                # 39 and 49 are the terminal's own colours again.
                gone = {"39": "3", "49": "4"}.get(code)
                if code in ("", "0"):
                    active = set()
                elif gone:
                    active = {one for one in active if not (len(one) == 2 and one.startswith(gone))}
                else:
                    active = active | {code}
        raise AssertionError(f"{word} is not on the screen")

    def text(self):
        return "\n".join(self.lines())

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def run(self, *words):
        self.type(" ".join(shlex.quote(word) for word in words))
        self.press("Enter")

    def wait_for(self, *texts, seconds=15.0):
        """Until all of these are on the screen; returns it."""
        try:
            wait_until(lambda: all(text in self.text() for text in texts), seconds)
        except AssertionError:
            raise AssertionError(f"{texts} did not come:\n{self.text()}") from None
        return self.text()

    def value(self, name):
        return self.tmux("display-message", "-p", f"#{{{name}}}").strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(AssertionError):
            self.tmux("kill-server")


@pytest.fixture
def stage(tmp_path):
    with Stage(str(tmp_path)) as stage:
        yield stage


@pytest.fixture
def ctl(programs, stage):
    """The words that call stationctl on the stage."""
    return lambda *words: [os.path.join(programs, "stationctl"), "--socket", stage.socket, *words]


def many(count):
    """Slots in every state there is, in turn."""
    slots = [
        running("s", "writing", 0.42, rate=20_500_000, left=158), slot("s", "passed"),
        slot("s", "failed", "data_mismatch", detail="at byte 4711, 12 blocks"), slot("s"),
        slot("s", "waiting", "was_in_already"), running("s", "verifying", 0.871, rate=41_000_000, left=12),
        slot("s", "absent", image=None, armed=False), slot("s", "refused", "device_mounted", image="x" * 128),
        running("s", "writing", 0.3, state="stuck"), slot("s", armed=False), slot("s", "cancelled"),
        slot("s", "refused", "dry_run"), running("s", "probing", 0.0), slot("s", "interrupted"),
        slot("s", "refused", "card_too_small"), slot("s", "passed"),
    ]
    names = [f"slot{index + 1}" if index != 8 else "a-slot-with-a-very-long-name-09" for index in range(count)]
    return [dict(slots[index % len(slots)], name=name) for index, name in enumerate(names)]


# -- watch --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("columns, rows", [(40, 12), (60, 24), (80, 24), (132, 43), (220, 50)])
@pytest.mark.parametrize("count", [1, 4, 16, 40])
def test_watch_fills_a_terminal_of_any_size_and_loses_no_slot(stage, ctl, columns, rows, count):
    stage.show(many(count))
    with Terminal(columns, rows) as terminal:
        terminal.run(*ctl("watch"))
        terminal.wait_for("flashing station", "quits", "slot1")
        lines = terminal.lines()
        assert len(lines) == rows and lines[0].startswith("flashing station")
        assert re.search(r"\d\d:\d\d:\d\d$", lines[0]), "nothing is cut at the right margin"
        assert lines[1].startswith(f"{count} slot")
        body = "\n".join(lines[2:-1])
        shown = {name for name in re.findall(r"\bslot\d+\b", body)}
        expected = {f"slot{index + 1}" for index in range(count) if index != 8}
        if shown != expected:
            said = re.search(r"slots 1–(\d+) of (\d+)", lines[-1])
            assert said and int(said[2]) == count and int(said[1]) < count, terminal.text()
            terminal.press("G")
            terminal.wait_for(f"slot{count}", f"of {count}")
            terminal.press("g")
            terminal.wait_for("slot1 ")
        if count == 4:
            assert "P A S S E D" in body or "PASSED" in body
            assert "F A I L E D" in body or "FAILED" in body
            assert "42 %" in body and ("about 3 min" in body or columns == 40)


def test_a_verdict_is_seen_from_afar_on_a_ground_of_its_colour(stage, ctl):
    stage.show(many(4))
    with Terminal(80, 24) as terminal:
        terminal.run(*ctl("watch"))
        terminal.wait_for("P A S S E D")
        assert terminal.style_of("P A S S E D") == {"1", "7", "32"}
        assert terminal.style_of("F A I L E D") == {"1", "7", "31"}
        assert "█" in terminal.text() and "░" in terminal.text()


def test_who_wants_no_colour_still_gets_inverse_words(stage, ctl):
    stage.show(many(16))
    for arguments, environment in ((["--color=never"], {}), ([], {"NO_COLOR": "1"})):
        with Terminal(80, 24, **environment) as terminal:
            terminal.run(*ctl("watch", *arguments))
            terminal.wait_for("PASSED")
            assert not re.search(r"\x1b\[(?:[0-9;]*;)?[349][0-7](?:;[0-9;]*)?m", terminal.styled())
            assert terminal.style_of("PASSED") == {"1", "7"}


def test_a_locale_without_unicode_gets_ascii(stage, ctl):
    stage.show(many(16))
    with Terminal(80, 24, LANG="C") as terminal:
        terminal.run(*ctl("watch"))
        assert terminal.wait_for("PASSED", "quits").isascii()
        assert "####" in terminal.text()


def test_a_terminal_that_cannot_draw_gets_lines(stage, ctl):
    stage.show(many(2))
    with Terminal(80, 24, TERM="dumb") as terminal:
        terminal.run(*ctl("watch"))
        terminal.wait_for("slot2 PASSED: take it out")
        assert terminal.value("alternate_on") == "0"


def test_the_picture_follows_the_window(stage, ctl):
    stage.show(many(16))
    with Terminal(80, 24) as terminal:
        terminal.run(*ctl("watch"))
        terminal.wait_for("slot16", "q quits")
        for columns, rows in ((40, 10), (150, 40), (20, 5), (80, 24)):
            terminal.tmux("resize-window", "-x", str(columns), "-y", str(rows))
            wait_until(lambda: re.search(r"\d\d:\d\d:\d\d$", terminal.lines()[0]) and len(terminal.lines()) == rows
                       and len(terminal.lines()[0]) == columns, what=f"a picture of {columns} columns")
            assert terminal.lines()[1].startswith("16 slots"), terminal.text()
        terminal.wait_for("slot16", "q quits")


def test_nothing_is_erased_before_it_is_drawn_again(programs, stage):
    """What flickers is what is erased first: a frame goes over the one before, in one write."""
    stage.show(many(4))
    with Terminal(80, 24) as terminal:
        log = os.path.join(os.path.dirname(stage.socket), "writes")
        terminal.tmux("pipe-pane", "-o", f"cat > {log}")
        terminal.run(os.path.join(programs, "stationctl"), "--socket", stage.socket, "watch")
        terminal.wait_for("42 %")
        for share in (0.5, 0.6, 0.7):
            stage.show([running("slot1", "writing", share, rate=2e7, left=100), *many(4)[1:]])
            terminal.wait_for(f"{int(share * 100)} %")
        terminal.press("q")
        terminal.wait_for("prompt$")

        def frames():
            with open(log, "rb") as file:
                text = file.read().decode()
            return text.split("\x1b[2J", 1)[1].split("\x1b[?1049l")[0].split("\x1b[H")[1:] if "\x1b[?1049l" in text else []

        drawn = wait_until(frames, what="all that was written")
        assert len(drawn) >= 4
        for frame in drawn:
            assert not re.search(r"\x1b\[\d*[JK]", frame), repr(frame)


@pytest.mark.parametrize("ending", ["q", "C-c", "TERM", "HUP"])
def test_the_terminal_is_left_as_it_was(stage, ctl, ending):
    stage.show(many(16))
    with Terminal(80, 24) as terminal:
        terminal.run("stty", "-a")
        before = terminal.wait_for("-cmspar" if "cmspar" in terminal.text() else "prompt$")
        terminal.press("C-l")
        terminal.type("echo what stood here; stty -a | cksum; " + shlex.join(ctl("watch")) + "; echo code $?; stty -a | cksum")
        terminal.press("Enter")
        terminal.wait_for("flashing station", "q quits")
        assert terminal.value("alternate_on") == "1" and terminal.value("cursor_flag") == "0"
        if ending in ("TERM", "HUP"):
            shell = terminal.value("pane_pid")
            child = subprocess.run(["pgrep", "-P", shell, "stationctl"], capture_output=True, text=True, check=True)
            os.kill(int(child.stdout), getattr(signal, f"SIG{ending}"))
        else:
            terminal.press(ending)
        code = {"q": 0, "C-c": 0, "TERM": 143, "HUP": 129}[ending]
        text = terminal.wait_for("what stood here", f"code {code}")
        assert terminal.value("alternate_on") == "0" and terminal.value("cursor_flag") == "1"
        assert terminal.value("wrap_flag") == "1"
        sums = wait_until(lambda: (found := re.findall(r"^\d+ \d+$", terminal.text(), re.M)) and len(found) == 2 and found)
        assert sums[0] == sums[1], f"the terminal's settings changed:\n{before}\n{text}"


def test_stopping_for_a_while_gives_the_terminal_back_for_that_while(stage, ctl):
    stage.show(many(4))
    with Terminal(80, 24) as terminal:
        terminal.run(*ctl("watch"))
        terminal.wait_for("q quits")
        terminal.press("C-z")
        terminal.wait_for("Stopped")
        assert terminal.value("alternate_on") == "0" and terminal.value("cursor_flag") == "1"
        terminal.run("fg")
        terminal.wait_for("q quits")
        assert terminal.value("alternate_on") == "1"


def test_a_station_that_restarts_is_waited_for_and_said_so(stage, ctl):
    stage.show(many(2))
    with Terminal(80, 24) as terminal:
        terminal.run(*ctl("watch"))
        terminal.wait_for("slot2")
        stage.leave()
        text = terminal.wait_for("NO STATION since", "trying again")
        assert "slot1" in text, "what was known stays there to be seen"
        stage.show([slot("slot1", "interrupted"), slot("slot2", "passed")])
        stage.come_back()
        text = terminal.wait_for("the station is back", "I N T E R R U P T E D")
        assert "NO STATION" not in text
        terminal.press("q")
        terminal.wait_for("prompt$")


def test_jobs_without_news_are_not_shown_as_if_all_were_well(stage, ctl):
    stage.show(many(1))
    with Terminal(80, 24) as terminal:
        terminal.run(*ctl("watch"))
        terminal.wait_for("NO NEWS for")


def test_a_mistake_is_told_below_the_prompt_and_not_in_a_picture(stage, ctl):
    stage.show(many(2))
    with Terminal(80, 24) as terminal:
        terminal.run(*ctl("watch", "sloot1"))
        terminal.wait_for("there is no slot", "did you mean slot1?", "prompt$")
        assert terminal.value("alternate_on") == "0"


def test_a_real_job_from_the_first_byte_to_the_verdict(programs):
    with PracticeStation(programs) as station:
        station.declare("slot1", "2")
        station.start()
        path = os.path.join(station.directory, "first.img")
        with open(path, "wb") as file:
            file.write(pattern(8 * MIB))
        station.import_image(path, "first")
        station.call("Assign", slots=["slot1"], image="first")
        with Terminal(80, 24) as terminal, PracticeCard(16 * MIB, write_rate=4 * MIB, read_rate=8 * MIB) as card:
            terminal.run(os.path.join(programs, "stationctl"), "--socket", station.socket, "watch")
            terminal.wait_for("ready for a card")
            station.bench.insert("2", card, "slot1")
            terminal.wait_for("writing", "█", "about", "MB/s")
            station.stop(signal.SIGKILL)
            terminal.wait_for("NO STATION since")
            station.start()
            terminal.wait_for("the station is back", seconds=30)
            terminal.wait_for("P A S S E D", seconds=60)


# -- status, history ----------------------------------------------------------------------------------

@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_status_and_history_never_wrap(stage, ctl, columns):
    stage.show(many(16), problems=[BAD_FILE])
    stage.jobs = [job(number, slot=one["name"], verdict={"verdict": "failed", "reason": "sector_size_unsupported"},
                      image="x" * 128) for number, one in enumerate(many(16))]
    with Terminal(columns, 100) as terminal:
        for words in (["status"], ["history"]):
            terminal.press("C-l")
            terminal.run(*ctl(*words))
            terminal.wait_for("16 slots: 7 want a hand" if words == ["status"] else "16 jobs: 16 failed")
            joined = terminal.tmux("capture-pane", "-p", "-J").split("\n")
            command = " ".join(shlex.quote(word) for word in ctl(*words))
            assert [line for line in joined if len(line) > columns and command not in line] == []


def test_status_at_80_columns_keeps_both_ends_of_long_names(stage, ctl):
    stage.show(many(16))
    with Terminal(80, 50) as terminal:
        terminal.run(*ctl("status"))
        text = terminal.wait_for("16 slots: 7 want a hand (slot3, slot5 +5), 3 running, 2 passed, 1 ready, 3 idle")
        assert re.search(r"^a-slot\S*…\S*-09 +STUCK", text, re.M), text
        assert terminal.style_of("FAILED") == {"1", "7", "31"}
