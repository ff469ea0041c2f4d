import Foundation
import StationCore
import StationLinux
import StationService
import Synchronization
import Testing

/// The built `stationctl` against a server with a fake station behind it.
@Suite("stationctl: commands, exit codes, errors")
struct ControlCommandLineTests {
    struct Outcome: Sendable {
        var code: Int32
        var output: String
        var errors: String
    }

    /// Runs stationctl with arguments for a shell; `$SOCKET` is the station's socket.
    private func run(_ arguments: String, in test: ServerUnderTest) async throws -> Outcome {
        let executable = try #require(SmallFile.link("/proc/self/exe"))
        let program = (executable as NSString).deletingLastPathComponent + "/stationctl"
        let outputs = test.directory + "/" + UUID().uuidString
        let command = "SOCKET='\(test.socketPath)'; DIR='\(test.directory)'; '\(program)' \(arguments)"
        let exit = await blocking {
            let child = try? ChildProcess(
                "/bin/sh", ["-c", "\(command) >'\(outputs).out' 2>'\(outputs).err' </dev/null"],
                environment: ["TZ": "UTC", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"])
            return child?.wait()
        }
        guard case .code(let code)? = exit else { throw StationError("test", "stationctl did not end: \(arguments)") }
        return Outcome(
            code: code, output: try String(contentsOfFile: outputs + ".out", encoding: .utf8),
            errors: try String(contentsOfFile: outputs + ".err", encoding: .utf8))
    }

    /// What the commands that run have written so far.
    private static func outputs(in test: ServerUnderTest) -> [String] {
        (SmallFile.names(in: test.directory) ?? []).filter { $0.hasSuffix(".out") }.compactMap {
            SmallFile.attribute("\(test.directory)/\($0)")
        }
    }

    @Test(
        "each command says the right thing to the station",
        arguments: [
            ("assign slot1 slot2 --image rescue", "assign rescue by \(geteuid()) slot1,slot2"),
            ("unassign slot1", "unassign slot1"),
            ("arm slot1", "arm slot1"), ("disarm slot1", "disarm slot1"), ("disarm --all", "disarm "),
            ("cancel slot1", "cancel slot1"), ("flash slot1", "flash - false slot1"),
            ("flash slot1 --image other --dry-run", "flash other true slot1"), ("image remove rescue", "remove rescue"),
            ("explain slot1", "explain slot1"), ("history --slot 's*' --limit 7", "history s* 8"),
            ("image list", "images"), ("slot identify slot1", "identify slot1 0"),
            ("slot identify slot1 --seconds 60", "identify slot1 60"),
        ])
    func says(arguments: String, call: String) async throws {
        let test = try await ServerUnderTest()
        for json in ["", " --json"] {
            test.station.state.withLock { $0.calls = [] }
            let outcome = try await run("\(arguments) --socket $SOCKET\(json)", in: test)
            #expect(outcome.code == 0, "\(outcome.errors)")
            #expect(test.station.calls == [call])
            #expect(!outcome.output.isEmpty)
            if !json.isEmpty { _ = try JSONDecoder().decode(JSONValue.self, from: Data(outcome.output.utf8)) }
        }
        await test.end()
    }

    @Test(
        "exit codes tell what went wrong, and JSON has the code",
        arguments: [
            ("frobnicate", 2, "usage"), ("assign slot1", 2, "usage"), ("assign", 2, "usage"), ("disarm", 2, "usage"),
            ("disarm slot1 --all", 2, "usage"), ("history --since yesterweek", 2, "usage"),
            ("image import - --name x", 0, ""),
            ("image import /none", 5, "file_unknown"), ("image import x --sha256 12", 5, "file_unknown"),
            ("status nothing", 5, "slot_unknown"), ("slot show slot9 --slots-dir $DIR", 5, "slot_unknown"),
            ("slot show UPPER --slots-dir $DIR", 2, "slot_name_invalid"),
            ("slot learn slot1 --slots-dir $DIR", 2, "usage"), ("image show nothing", 5, "image_unknown"),
        ] as [(String, Int32, String)])
    func exitCodes(arguments: String, code: Int32, name: String) async throws {
        let test = try await ServerUnderTest()
        let plain = try await run("\(arguments) --socket $SOCKET", in: test)
        #expect(plain.code == code, "\(plain.errors)")
        #expect(plain.errors.hasPrefix("stationctl: ") == (code != 0))
        let json = try await run("\(arguments) --socket $SOCKET --json", in: test)
        #expect(json.code == code)
        if code != 0 {
            let reply = try JSONDecoder().decode([String: StationError].self, from: Data(json.output.utf8))
            #expect(reply["error"]?.code == name)
            #expect(json.errors.isEmpty)
        }
        await test.end()
    }

    @Test(
        "the station's own errors have exit codes of their kind",
        arguments: [
            ("slot_unknown", 5), ("image_unknown", 5), ("no_card", 6), ("job_running", 6), ("device_mounted", 6),
            ("something_new", 1), ("station_stopping", 3),
        ] as [(String, Int32)])
    func stationErrors(code: String, exit: Int32) async throws {
        let test = try await ServerUnderTest()
        test.station.state.withLock { $0.error = StationError(code, "the message", remedy: "the mend") }
        let outcome = try await run("arm slot1 --socket $SOCKET", in: test)
        #expect(outcome.code == exit)
        #expect(outcome.errors == "stationctl: the message\n  what to do: the mend\n")
        await test.end()
    }

    @Test(
        "who may not is told how he could",
        arguments: [
            (ServerUnderTest.Caller.stranger, "status", "sudo usermod -aG station USER"),
            (.reader, "arm slot1", "sudo usermod -aG station-operator USER"), (.operator, "reload", "run it with sudo"),
        ])
    func notPermitted(caller: ServerUnderTest.Caller, arguments: String, remedy: String) async throws {
        let test = try await ServerUnderTest(as: caller)
        let outcome = try await run("\(arguments) --socket $SOCKET", in: test)
        #expect(outcome.code == 4)
        #expect(outcome.errors.contains("what to do: \(remedy)"))
        await test.end()
    }

    @Test(
        "no station is said to be none, wherever the option stands",
        arguments: [
            "status --socket $DIR/none", "--socket $DIR/none status", "--socket=$DIR/none flash slot1 --follow",
        ])
    func unreachable(arguments: String) async throws {
        let test = try await ServerUnderTest()
        let outcome = try await run(arguments, in: test)
        #expect(outcome.code == 3)
        #expect(outcome.errors.contains("systemctl status stationd"))
        await test.end()
    }

    @Test("status shows each slot in plain words, without colours in a pipe")
    func status() async throws {
        let test = try await ServerUnderTest()
        let failed = JobReport(.failed(.writeError), detail: "at 4096\u{1B}[31m")
        test.station.tell(
            Sample.status(
                [
                    Sample.machine("slot1", nil),
                    Sample.machine(
                        "slot2", [.held, Sample.progress(.writing, 0, elapsed: 0.1), Sample.progress(.writing, 0.42)]),
                    Sample.machine("slot3", Sample.passed), Sample.machine("slot4", [.ended(failed)]),
                    SlotMachine(slot: Sample.declaration("slot5")),
                ], problems: [StationError("p", "a problem", remedy: "a mend")]))
        let outcome = try await run("status --socket $SOCKET", in: test)
        #expect(
            outcome.output == """
                SLOT   STATE                       IMAGE   CARD
                slot1  ready for a card            rescue  no reader or card
                slot2  writing 42 %, about 15 s    rescue  31.9 GB sdb
                slot3  PASSED: take it out         rescue  31.9 GB sdb
                slot4  FAILED: set the card aside  rescue  31.9 GB sdb
                    the card failed to write (at 4096?[31m)
                slot5  nothing assigned            –       no reader or card
                !   a problem
                    → a mend

                5 slots: 1 wants a hand (slot4 failed), 1 running (about 15 s), 1 passed, 1 ready, 1 idle

                """)
        let json = try await run("status 'slot[12]' slot3 --socket $SOCKET --json", in: test)
        #expect(json.code == 5)
        let one = try await run("status 'slot?' --socket $SOCKET --json", in: test)
        #expect(try JSONDecoder().decode(Control.Status.self, from: Data(one.output.utf8)).slots.count == 5)
        await test.end()
    }

    @Test("status shows what lights do, where a slot has some")
    func lights() async throws {
        let test = try await ServerUnderTest()
        let two = SlotLights(light: .led("a"), failureLight: .led("b"))
        let shown: [(SlotLights, StationCore.Signal)] =
            [(SlotLights(), .ready), (SlotLights(light: .led("c")), .failed)]
            + StationCore.Signal.allCases.map { (two, $0) }
        var status = Sample.status([])
        status.slots = shown.enumerated().map { index, slot in
            var status = SlotStatus(Sample.machine("slot\(index + 1)", nil))
            (status.lights, status.signal) = slot
            return status
        }
        test.station.tell(status)
        let lines = try await run("status --socket $SOCKET", in: test).output.split(separator: "\n")
        let wanted = [
            "LIGHT", "–", "2 flashes", "dark", "green wink", "green blinking", "green steady", "red steady",
            "red, 3 flashes",
        ]
        for (line, end) in zip(lines, wanted) { #expect(line.hasSuffix("  \(end)"), "\(line)") }
        #expect(lines.count > wanted.count && lines.allSatisfy { $0.count <= 80 })
        await test.end()
    }

    @Test(
        "flash --follow ends with the verdict",
        arguments: [
            (Verdict.passed, 0), (.failed(.writeError), 7), (.refused(.dryRun), 0), (.cancelled, 7),
        ] as [(Verdict, Int32)])
    func follow(verdict: Verdict, exit: Int32) async throws {
        let test = try await ServerUnderTest()
        let station = test.station
        var machine = Sample.machine("slot1")
        guard case .running(let running) = machine.activity else { throw StationError("test", "no job runs") }
        var earlier = Sample.machine("slot1")
        if case .running(let other) = earlier.activity {
            _ = earlier.handle(.writer(other.start.id, .ended(JobReport(.failed(.readError)))), now: 1)
        }
        station.tell(Sample.status([earlier]))
        station.state.withLock { $0.flashed = running.start.id }
        async let outcome = run("flash slot1 --follow --socket $SOCKET", in: test)
        #expect(await eventually { station.calls.contains("flash - false slot1") })
        // Said before the job began, heard after it: another job's verdict is not this one's.
        let during = Sample.status([machine])
        station.state.withLock { $0.status = during }
        station.tell(Sample.status([earlier]), isLate: true)
        #expect(await eventually { station.calls.last == "status" })
        station.tell(during)
        let report = JobReport(verdict)
        _ = machine.handle(.writer(running.start.id, .ended(report)), now: 3)
        var job = Sample.job(1, report: report)
        job.id = running.start.id
        station.state.withLock { $0.jobs = [job] }
        station.tell(Sample.status([machine]))
        #expect(try await outcome.code == exit)
        #expect(
            try await outcome.output.contains(
                "verdict     \(verdict == .refused(.dryRun) ? "dry run ok" : verdict.word)"))
        await test.end()
    }

    @Test(
        "flash --follow hears of a job that was over before any status told of it",
        arguments: [(Verdict.failed(.cardRemoved), 7), (nil, 5)] as [(Verdict?, Int32)])
    func followTooLate(verdict: Verdict?, exit: Int32) async throws {
        let test = try await ServerUnderTest()
        let station = test.station
        let empty = Sample.status([Sample.machine("slot1", nil)])
        station.tell(empty)
        async let outcome = run("flash slot1 --follow --socket $SOCKET", in: test)
        #expect(await eventually { station.calls.contains("flash - false slot1") })
        if let verdict {
            var job = Sample.job(1, report: JobReport(verdict))
            job.id = station.state.withLock { $0.flashed }
            station.state.withLock { $0.jobs = [job] }
        }
        station.tell(empty)
        let told = try await outcome
        #expect(told.code == exit)
        #expect(
            verdict.map { told.output.contains("verdict     \($0.word)") }
                ?? told.errors.contains("did not take place"))
        await test.end()
    }

    @Test("flash names the job that has begun")
    func flash() async throws {
        let test = try await ServerUnderTest()
        let job = JobID()
        test.station.state.withLock { $0.flashed = job }
        let plain = try await run("flash slot1 --socket $SOCKET", in: test)
        #expect(plain.output == "slot1: job \(job.short) has begun; follow it: stationctl watch slot1\n")
        let json = try await run("flash slot1 --json --socket $SOCKET", in: test)
        #expect(try JSONDecoder().decode(Control.Begun.self, from: Data(json.output.utf8)).job == job)
        await test.end()
    }

    @Test("import passes the open file, and prints SHA-256 and byte count")
    func importImage() async throws {
        let test = try await ServerUnderTest()
        try "bytes".write(toFile: test.directory + "/home.v1.img", atomically: false, encoding: .utf8)
        let outcome = try await run("image import $DIR/home.v1.img --replace --socket $SOCKET", in: test)
        #expect(outcome.code == 0, "\(outcome.errors)")
        #expect(test.station.calls == ["import home.v1 false true"])
        #expect(test.station.state.withLock { $0.files } == [Array("bytes".utf8)])
        #expect(outcome.output.contains("size      5 B (5 bytes)\nsha256    0a0a"))
        await test.end()
    }

    @Test("watch writes a line for each change into a pipe, and JSON lines")
    func watch() async throws {
        let test = try await ServerUnderTest()
        let station = test.station
        station.tell(Sample.status([Sample.machine("slot1", nil)]))
        async let plain = run("watch --socket $SOCKET", in: test)
        async let json = run("watch --json --socket $SOCKET", in: test)
        #expect(await eventually { Self.outputs(in: test).filter { !$0.isEmpty }.count == 2 })
        station.tell(Sample.status([Sample.machine("slot1", Sample.passed)]))
        station.endStreams()
        let lines = try await plain.output.split(separator: "\n")
        #expect(lines.count == 2 && lines[0].hasSuffix("slot1 ready for a card; rescue"))
        #expect(lines.last?.hasSuffix("slot1 PASSED: take it out; rescue") == true)
        #expect(try await plain.code == 3)
        #expect(try await json.output.contains("\"state\":\"passed\""))
        await test.end()
    }

    @Test("learn waits for the card that comes, declares its place, and tells the station")
    func learn() async throws {
        let test = try await ServerUnderTest()
        let other = try Place(text: "usb 480 port 9 lun 0 at pci0000:00/0000:00:04.0")
        var there = Sample.device(name: "sda")
        there.place = other
        let devices = [(there, nil), (nil, nil), (Sample.device(), nil)] as [(DeviceRecord?, SlotName?)]
        test.station.state.withLock { $0.devices = devices.map { Control.DeviceSeen(device: $0.0, slot: $0.1) } }
        let slots = "--slots-dir $DIR/slots.d --socket $SOCKET"
        let learnt = try await run("slot learn slot1 --yes \(slots)", in: test)
        #expect(learnt.code == 0, "\(learnt.errors)")
        #expect(learnt.errors.contains("WILL BE WIPED") && learnt.errors.contains("Generic STORAGE, 31.9 GB, now sdb"))
        #expect(test.station.calls == ["devices", "reload"])
        let load = {
            try SlotDirectory.load(SlotName("slot1"), in: test.directory + "/slots.d", ownerID: geteuid())
        }
        #expect(try load() == Sample.declaration())
        // The same place again, the same name again, a place that the station knows.
        #expect(try await run("slot learn slot2 --yes \(slots)", in: test).code == 6)
        #expect(try await run("slot learn slot1 --yes \(slots)", in: test).code == 6)
        test.station.state.withLock { $0.devices[2].slot = Sample.slotName("other") }
        #expect(try await run("slot relearn slot1 --yes \(slots)", in: test).code == 6)
        // Moving keeps the other keys.
        var slot = Sample.declaration()
        slot.atBoot = .write
        try SlotDirectory.save(slot, in: test.directory + "/slots.d", ownerID: geteuid())
        #expect(try await run("slot relearn slot1 --yes --device /dev/sda \(slots)", in: test).code == 0)
        slot.place = other
        #expect(try load() == slot)
        #expect(try await run("slot remove slot1 \(slots)", in: test).code == 0)
        #expect(try await run("slot list \(slots)", in: test).output.hasPrefix("no slot is declared"))
        await test.end()
    }

    @Test("slot add declares what it is told; udev's helper never fails")
    func addAndMatch() async throws {
        let test = try await ServerUnderTest()
        let slots = "--slots-dir $DIR/slots.d --socket $SOCKET"
        let added = try await run(
            "slot add slot1 --place '\(Sample.place)' --reader '\(Sample.reader)' --wipe zero --at-boot write "
                + "--maximum-size 64G \(slots)", in: test)
        #expect(added.code == 0, "\(added.errors)")
        var slot = Sample.declaration()
        slot.wipe = .zero
        slot.atBoot = .write
        slot.maximumByteCount = 64 << 30
        #expect(try SlotDirectory.load(slot.name, in: test.directory + "/slots.d", ownerID: geteuid()) == slot)
        #expect(try await run("slot add slot2 --place x --reader mmc \(slots)", in: test).code == 2)
        for path in ["/devices/none/block/sda", "/etc/passwd", "''", "/devices/../x/block/sda"] {
            let matched = try await run("slot match --udev \(path) --slots-dir $DIR/slots.d", in: test)
            #expect(matched.code == 0 && matched.output.isEmpty && matched.errors.isEmpty)
        }
        await test.end()
    }

    @Test(
        "every command has help with an example",
        arguments: [
            "status", "watch", "explain", "history", "assign", "unassign", "arm", "disarm", "cancel", "reload", "flash",
            "image import", "image list", "image show", "image remove", "slot list", "slot show", "slot add",
            "slot remove",
            "slot learn", "slot relearn", "slot identify", "slot match", "slot lights",
        ])
    func help(command: String) async throws {
        let test = try await ServerUnderTest()
        let outcome = try await run("\(command) --help", in: test)
        #expect(outcome.code == 0)
        #expect(outcome.output.contains("Usage: stationctl \(command)") && outcome.output.contains("\nExample"))
        let all = try await run("--help", in: test)
        #expect(all.output.contains("\n  \(command) ") != ["slot match", "slot lights"].contains(command))
        await test.end()
    }
}
