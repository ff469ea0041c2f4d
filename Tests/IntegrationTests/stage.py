"""A stage for the command line: a control socket that says what it is told to, in the words of the real one.

    with Stage(directory) as stage:
        stage.show([slot("slot1"), slot("slot2", "passed"), running("slot3", "writing", 0.42, rate=2e7, left=160)])
        stage.socket                         # for stationctl --socket
        stage.leave(), stage.come_back()     # a station that restarts

What a program says of many slots in rare states can be looked at without sixteen readers and a dying card.
"""

import json
import os
import socketserver
import threading

INTERFACE = "flashing.station.Control"
SHA256 = "0a" * 32
CARD_FAULTS = ("data_mismatch", "write_error", "card_too_small", "capacity_false", "write_protected")


def slot(name, state="empty", reason=None, armed=True, image="openwrt-23.05.5-ath79-generic", card=31_914_983_424,
         job=None, detail="", speed="usb 480 port 2 lun 0 at pci0000:00/0000:00:03.0"):
    """One slot as GetStatus has it. A state that is a verdict gets the report of its job."""
    result = {"name": name, "state": state, "isArmed": armed, "place": speed, "reader": "05e3:0749 luns 1", "failuresInARow": 0,
              "signal": signal(state, reason, armed), "lights": {}, "notes": []}
    if reason:
        result["reason"] = reason
    if image:
        result["assignment"] = {"image": image, "sha256": SHA256, "byteCount": 5_000_000}
    if state not in ("absent", "empty"):
        result["card"] = {"device": "sdb", "byteCount": card, "model": "Generic STORAGE"}
    if state in ("passed", "failed", "cancelled", "interrupted") or (state == "refused" and reason == "dry_run"):
        verdict = {"verdict": state, **({"reason": reason} if reason else {})}
        result["job"] = {"id": "ab" * 16, "image": image or "gone", "isDryRun": reason == "dry_run", "report": report(verdict, detail)}
    if job:
        result["job"] = job
    return result


def signal(state, reason, armed):
    """What the station makes of such a slot, as far as tests need it: StationCoreTests/SignalTests has all of it."""
    if state in ("failed", "refused"):
        return "failed" if reason in CARD_FAULTS else "help"
    if state in ("absent", "empty"):
        return "ready" if armed else "dark"
    return {"running": "busy", "passed": "passed"}.get(state, "help")


def report(verdict, detail="", **figures):
    return {"verdict": verdict, "detail": detail, "cardByteCount": 31_914_983_424, "sectorByteCount": 512,
            "bytesWritten": 5_000_000, "bytesVerified": 5_000_000, "heldAfterSeconds": 0.1, "guardSeconds": 0.1,
            "capacitySeconds": 1.0, "wipeSeconds": 0.5, "writeSeconds": 20.0, "verifySeconds": 10.0,
            "totalSeconds": 31.6, "rewrites": 0, "badBlocks": 0, "foundMarkerFailed": False, **figures}


def running(name, phase, share, rate=None, left=None, image="openwrt-23.05.5-ath79-generic", state="running"):
    """A slot whose job is so far."""
    total = 10_000_000_000
    job = {"id": "cd" * 16, "image": image, "isDryRun": False,
           "progress": {"phase": phase, "phaseBytesDone": int(total * share), "phaseBytesTotal": total,
                        "bytesDone": int(total * share), "bytesTotal": total, "elapsedSeconds": 10.0,
                        "silentSeconds": 0.0}}
    if rate:
        job["bytesPerSecond"] = rate
    if left is not None:
        job["secondsLeft"] = left
    return slot(name, state, image=image, job=job)


def job(number, slot="slot1", verdict=None, **more):
    """One job as ListHistory has it."""
    record = {"sequence": number, "id": f"{number:032x}", "slot": slot, "bootID": "b" * 32, "deviceSequence": 7,
              "image": "openwrt", "imageSHA256": SHA256, "imageByteCount": 5_000_000, "trigger": "insertion",
              "isDryRun": False, "model": "Generic STORAGE", "startedAt": 1_700_000_000.0 + number,
              "wasClockSynchronised": True}
    if verdict:
        record["report"] = report(verdict, more.pop("detail", ""))
    return {**record, **more}


class Stage:
    """Answers GetStatus, Watch and ListHistory with what was shown last."""

    def __init__(self, directory):
        self.socket = os.path.join(directory, "control")
        self.state = threading.Condition()
        self.status = {"version": "1", "bootID": "b" * 32, "problems": [], "slots": []}
        self.jobs = []
        self.number = 0
        # As a station does whose jobs go on; else it falls silent when it has said what there is.
        self.keeps_talking = False
        self.queries = []
        self.server = None
        self.connections = set()

    def show(self, slots, problems=()):
        with self.state:
            self.status = {**self.status, "slots": list(slots), "problems": list(problems)}
            self.number += 1
            self.state.notify_all()

    def come_back(self):
        stage = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                stage.connections.add(self.request)
                try:
                    stage.serve(self.rfile, self.wfile, stage.server)
                except OSError:
                    pass
                finally:
                    stage.connections.discard(self.request)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self.server = Server(self.socket, Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def leave(self):
        """As a station that goes down: the socket is gone, and everybody is hung up on."""
        server, self.server = self.server, None
        if server is None:
            return
        os.unlink(self.socket)
        for connection in list(self.connections):
            try:
                connection.shutdown(2)
            except OSError:
                pass
        with self.state:
            self.state.notify_all()
        server.shutdown()
        server.server_close()

    def serve(self, incoming, outgoing, server):
        def reply(parameters, continues=False):
            message = {"parameters": parameters, **({"continues": True} if continues else {})}
            outgoing.write(json.dumps(message).encode() + b"\0")
            outgoing.flush()

        data = b""
        while chunk := incoming.read1(65536):
            data += chunk
            while b"\0" in data:
                message, data = data.split(b"\0", 1)
                call = json.loads(message)
                method = call["method"].removeprefix(INTERFACE + ".")
                if method == "ListHistory":
                    self.queries.append(call.get("parameters", {}))
                    jobs = self.jobs
                    while call.get("more") and len(jobs) > 200:
                        reply({"jobs": jobs[:200]}, continues=True)
                        jobs = jobs[200:]
                    reply({"jobs": jobs})
                elif method == "Watch" and call.get("more"):
                    seen = -1
                    while self.server is server:
                        with self.state:
                            self.state.wait_for(lambda: self.number != seen or self.server is not server, 1)
                            if self.number == seen and not self.keeps_talking:
                                continue
                            seen, status = self.number, self.status
                        reply(status, continues=True)
                else:
                    reply(self.status)

    def __enter__(self):
        self.come_back()
        return self

    def __exit__(self, *_):
        self.leave()
