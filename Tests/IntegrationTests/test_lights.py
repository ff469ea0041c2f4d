"""Lights of a real station, on LEDs of a tree of files: what they say through a card's stay, and what they cannot disturb."""

import os
import signal
import time

import pytest

from practice_card import LoopCard, PracticeCard
from practice_station import CallFailed, PracticeStation, wait_until
from test_station import SLOW, add_image
from virtual_reader import Device
from writer_bench import MIB

#: What a light looks like: how often it goes on within one round, and how long a round is, in seconds.
WINK, EVEN, DOUBLE, TRIPLE = (1, 3.0), (1, 1.0), (2, 1.7), (3, 2.05)
DARK, STEADY = (0, None), (None, None)


class LED(Device):
    """An LED of a kernel that has no triggers, so that the station blinks by itself."""

    def __init__(self, bench, name):
        super().__init__(bench, f"/sys/devices/platform/leds/leds/{name}", "leds",
                         attributes={"brightness": 0, "max_brightness": 1, "trigger": "[none]"})
        self.event("add")

    def is_lit(self):
        return self.get("brightness").strip() == "1"

    def unplug(self):
        self.remove()
        self.event("remove")

    def looks(self, look, seconds=15.0):
        """Waits until the light looks like this for a whole round, and fails with what it did instead."""
        flashes, period = look
        history = []
        deadline = time.monotonic() + seconds
        while True:
            history.append((time.monotonic(), self.is_lit()))
            now = history[-1][0]
            edges = [(at, lit) for (_, before), (at, lit) in zip(history, history[1:]) if lit != before]
            if period is None:
                wanted = flashes is None
                if all(lit == wanted for at, lit in history if now - at <= 3.2) and now - history[0][0] > 3.2:
                    return
            else:
                ons = [at for at, lit in edges if lit]
                if len(ons) > flashes:
                    # The last round, from a first flash to the next first one: all other gaps are shorter.
                    for first in range(len(ons) - flashes):
                        last = ons[first + flashes]
                        if abs(last - ons[first] - period) < 0.15 and now >= last:
                            gaps = [b - a for a, b in zip(ons[first:], ons[first + 1:first + flashes + 1])]
                            if flashes == 1 or max(gaps) == gaps[-1] and max(gaps[:-1]) < 0.5:
                                return
            assert now < deadline, (look, [(round(at - history[0][0], 2), lit) for at, lit in edges])
            time.sleep(0.01)


@pytest.fixture
def bare(programs):
    with PracticeStation(programs) as station:
        yield station


def station_with(bare, **lights):
    bare.declare("slot1", "2", **lights)
    bare.start()
    add_image(bare, "image1")
    return bare


def test_one_light_through_a_passed_card_a_stop_and_a_death(bare):
    led = LED(bare.bench, "green:slot1")
    station = station_with(bare, Light="led:green:slot1")
    led.looks(DARK)
    station.call("Assign", slots=["slot1"], image="image1")
    led.looks(WINK)
    with PracticeCard(8 * MIB, **SLOW) as card:
        reader = station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "probing", "wiping", "writing", "verifying")
        assert station.slot("slot1")["signal"] == "busy"
        led.looks(EVEN)
        station.wait_for_state("slot1", "passed")
        led.looks(STEADY)
        station.call("Disarm", slots=["slot1"])
        led.looks(STEADY)
        station.call("Arm", slots=["slot1"])

        station.stop()
        assert not led.is_lit()
        station.start()
        led.looks(STEADY)
        # Killed, and nobody there to darken its lights: what it says next is true all the same.
        station.stop(signal.SIGKILL)
        reader.unplug()
        station.start()
        led.looks(WINK)


def test_two_lights_tell_a_failed_card_from_a_refused_one_and_from_what_is_no_cards_fault(bare):
    green, red = LED(bare.bench, "green"), LED(bare.bench, "red")
    station = station_with(bare, Light="led:green", FailureLight="led:red", MaximumSize="16M")
    station.call("Assign", slots=["slot1"], image="image1")
    with PracticeCard(8 * MIB, faults={"fault": "drop"}) as card:
        reader = station.bench.insert("2", card, "slot1")
        station.wait_for_state("slot1", "failed")
        red.looks(STEADY)
        assert not green.is_lit()
        reader.unplug()
    green.looks(WINK)
    assert not red.is_lit()
    station.let_a_hand_change_cards()
    with LoopCard(32 * MIB) as card:
        reader = station.bench.insert("2", card, "slot1")
        assert station.wait_for_state("slot1", "refused")["reason"] == "card_too_large"
        red.looks(STEADY)
        reader.unplug()
    station.let_a_hand_change_cards()
    with LoopCard(8 * MIB) as card:
        station.bench.insert("2", card, "slot1", product_id="9999")
        assert station.wait_for_state("slot1", "refused")["reason"] == "reader_changed"
        red.looks(TRIPLE)
        assert not green.is_lit()


def test_one_light_flashes_twice_for_a_failed_card(bare):
    led = LED(bare.bench, "a")
    station = station_with(bare, Light="led:a")
    station.call("Assign", slots=["slot1"], image="image1")
    with PracticeCard(8 * MIB, faults={"fault": "drop"}) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_state("slot1", "failed")
        led.looks(DOUBLE)


def test_a_light_that_is_pulled_out_disturbs_no_job_and_is_driven_again_when_it_is_back(bare):
    led = LED(bare.bench, "a")
    station = station_with(bare, Light="led:a")
    station.call("Assign", slots=["slot1"], image="image1")
    with PracticeCard(8 * MIB, **SLOW) as card:
        station.bench.insert("2", card, "slot1")
        station.wait_for_phase("slot1", "writing")
        led.unplug()
        wait_until(lambda: station.call("GetStatus")["problems"], what="the problem to be said")
        assert [problem["code"] for problem in station.call("GetStatus")["problems"]] == ["light_missing"]
        with pytest.raises(CallFailed) as refused:
            station.call("Identify", slot="slot1")
        assert refused.value.parameters["code"] == "light_missing"
        assert station.wait_for_state("slot1", "passed", "failed", "refused")["state"] == "passed"
    assert station.journal().count("there is no LED a") == 1
    led = LED(bare.bench, "a")
    led.looks(STEADY)
    wait_until(lambda: not station.call("GetStatus")["problems"], what="the problem to be over")


def test_a_slot_is_found_by_its_light_and_two_claims_of_one_light_are_said(bare):
    led = LED(bare.bench, "a")
    station = station_with(bare, Light="led:a")
    shown = station.stationctl("slot", "identify", "slot1", "--seconds", "2").stdout
    assert shown == "slot1: blinking fast for 2 s: led:a\n"
    led.looks((1, 0.2), 2)
    led.looks(DARK)
    refused = station.stationctl("slot", "identify", "slot1", "--seconds", "601", check=False)
    assert refused.returncode == 2 and "1 to 600" in refused.stderr
    station.call("Assign", slots=["slot1"], image="image1")
    led.looks(WINK)
    station.declare("slot2", "3", Light="led:a")
    station.declare("slot3", "4")
    station.call("Reload")
    problem = station.call("GetStatus")["problems"][0]
    assert problem["code"] == "light_claimed_twice" and "slot1 and slot2" in problem["message"]
    led.looks(DARK)
    shown = station.stationctl("slot", "identify", "slot3", check=False)
    assert shown.returncode == 6 and "Light=led:NAME" in shown.stderr
    os.unlink(os.path.join(station.config, "slots.d", "slot2.slot"))
    station.call("Reload")
    led.looks(WINK)
    lights = station.slot("slot1")["lights"]
    assert lights == {"light": "led:a"}
