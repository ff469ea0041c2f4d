"""Completion of stationctl in the shells themselves: from the table of commands, and with names that the station has."""
import os
import subprocess

import pytest
from practice_station import PracticeStation

MIB = 1 << 20


@pytest.fixture(scope="module")
def station(programs):
    with PracticeStation(programs) as station:
        station.declare("slot1", "2")
        station.declare("left-2", "3")
        station.start()
        path = os.path.join(station.directory, "one.img")
        with open(path, "wb") as file:
            file.write(bytes(510) + b"\x55\xaa" + bytes(MIB))
        station.import_image(path, "openwrt-one", isRaw=True)
        yield station


def in_bash(station, *words):
    """What bash offers behind the words, the last of which is being typed."""
    script = """
        PATH=$1:$PATH; shift
        source <(stationctl completion bash)
        COMP_WORDS=(stationctl "$@") COMP_CWORD=$#
        _stationctl
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", station.programs, "--socket", station.socket, *words],
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.split()


@pytest.mark.parametrize("words, offered", [
    (["im"], ["image"]),
    (["image", ""], ["import", "list", "remove", "show", "verify"]),
    (["slot", "l"], ["learn", "list"]),
    (["assign", "s"], ["slot1"]),
    (["assign", "slot1", "--im"], ["--image"]),
    (["assign", "slot1", "--image", ""], ["openwrt-one"]),
    (["image", "show", "open"], ["openwrt-one"]),
    (["explain", ""], ["left-2", "slot1"]),
    (["--color", "n"], ["never"]),
    # As bash hands over --image=op, and an = alone.
    (["assign", "slot1", "--image", "=", "op"], ["openwrt-one"]),
    (["status", "--js"], ["--json"]),
    (["completion", "z"], ["zsh"]),
    # A file's name stands here: the shell's own completion does that.
    (["image", "import", ""], []),
    (["nonsense", ""], []),
])
def test_bash_offers(station, words, offered):
    assert in_bash(station, *words) == offered


def test_hidden_commands_are_offered_to_nobody(station):
    assert not {"complete"} & set(in_bash(station, ""))
    assert not {"match", "lights"} & set(in_bash(station, "slot", ""))


def test_without_a_station_commands_complete_all_the_same_and_nothing_is_said(station, programs):
    done = subprocess.run([os.path.join(programs, "stationctl"), "complete", "--", "--socket", "/nonexistent", "assign", ""],
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_zsh_offers_the_same(station):
    # compadd works in a completion only: what it is given is what zsh would show.
    script = """
        PATH=$1:$PATH; shift
        compdef() { : }
        _files() { print FILES }
        compadd() { print -l -- ${(P)argv[-1]} }
        if [[ $HOW == sourced ]]; then
            source <(stationctl completion zsh)
        else
            # As the package installs it.
            folder=$(mktemp -d) && stationctl completion zsh > $folder/_stationctl
            fpath=($folder $fpath) && autoload -Uz _stationctl
        fi
        words=(stationctl "$@") CURRENT=$(( $# + 1 ))
        _stationctl
    """
    for words, offered in ((["image", "sh"], ["show"]), (["assign", "s"], ["slot1"]), (["image", "import", ""], ["FILES"])):
        for how in ("sourced", "autoloaded"):
            done = subprocess.run(["zsh", "-f", "-c", script, "zsh", station.programs, "--socket", station.socket, *words],
                                  capture_output=True, text=True, env={**os.environ, "HOW": how})
            assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", offered), (how, words, done)
