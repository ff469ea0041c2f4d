import StationCore
import StationTestSupport
import Testing

/// A slot whose image is still being built.
@Suite("A slot that waits for its image")
struct SlotMachinePreparationTests {
    static func preparing() throws -> (SlotBench, SlotMachine.Preparation) {
        var bench = try SlotBench()
        let preparation = SlotMachine.Preparation(profile: "home.ap", callerUserID: 1000)
        #expect(try bench.perform(.prepare(preparation)) == [.saveConsent])
        return (bench, preparation)
    }

    @Test("has nothing assigned: what it had before is written to no card")
    func nothing() throws {
        var (bench, _) = try Self.preparing()
        #expect(!bench.machine.isArmed && bench.machine.assignment == nil)
        #expect(Signal(bench.machine) == .ready)
        #expect(bench.handle(bench.card(10)) == [.announceWaiting(.preparing)])
        #expect(bench.machine.word == "waiting preparing" && Signal(bench.machine) == .busy)
        for command in [SlotMachine.Command.arm, .flash(nil, isDryRun: false), .flash(nil, isDryRun: true)] {
            #expect { try bench.perform(command) } throws: { ($0 as? StationError)?.code == "slot_preparing" }
        }
    }

    @Test("begins the card that came while it waited, once, and the next ones by themselves")
    func begins() throws {
        var (bench, preparation) = try Self.preparing()
        bench.handle(bench.card(10))
        let image = try Samples.assignment()
        let effects = bench.handle(.prepared(preparation.id, image))
        #expect(effects.first == .savePreparation(preparation, image))
        #expect(effects.begun.map(\.token) == [SlotBench.token(10)] && effects.begun.map(\.assignment) == [image])
        #expect(bench.machine.isArmed && bench.machine.preparation == nil)
        #expect(bench.handle(.prepared(preparation.id, image)) == [])
        try bench.end(.passed)
        bench.handle(.deviceGone)
        bench.now += 60
        #expect(bench.handle(bench.card(11)).begun.count == 1)
    }

    @Test("leaves a card alone that was in when it was assigned, or found in")
    func wasIn() throws {
        for isFound in [false, true] {
            var bench = try SlotBench()
            if !isFound {
                bench.handle(bench.card(10))
                try bench.end(.passed)
            }
            let preparation = SlotMachine.Preparation(profile: "home.ap", callerUserID: 1000)
            try bench.perform(.prepare(preparation))
            if isFound { bench.handle(bench.card(10, wasThere: true)) }
            #expect(bench.handle(.prepared(preparation.id, try Samples.assignment())).begun.isEmpty)
            #expect(bench.machine.word == (isFound ? "waiting was_in_already" : "latched passed"))
        }
    }

    @Test("knows a card that passed before and only lost contact, though it waited")
    func sameCard() throws {
        var bench = try SlotBench()
        let head = try Samples.digest("d")
        bench.handle(bench.card(10))
        try bench.end(.passed, head: head)
        let preparation = SlotMachine.Preparation(profile: "home.ap", callerUserID: 1000)
        try bench.perform(.prepare(preparation))
        bench.handle(.deviceGone)
        bench.now += 1
        bench.handle(bench.card(11))
        #expect(bench.machine.word == "waiting preparing")
        let begun = bench.handle(.prepared(preparation.id, try Samples.assignment())).begun
        #expect(begun.map(\.condition) == [.unlessHead(head)])
    }

    @Test("writes nothing when the image cannot be built, says so, and can be assigned anew")
    func fails() throws {
        var (bench, preparation) = try Self.preparing()
        bench.handle(bench.card(10))
        let problem = StationError("package_unknown", "no package x")
        let effects = bench.handle(.preparationFailed(preparation.id, problem))
        #expect(effects.last == .announceWaiting(.buildFailed) && effects.begun.isEmpty)
        #expect(bench.machine.word == "waiting build_failed" && Signal(bench.machine) == .help)
        let status = SlotStatus(bench.machine)
        #expect(status.preparation?.problem == problem && status.notes.map(\.code) == ["build_failed"])
        #expect(
            Explanation.gates(of: bench.machine, isImageThere: false).contains { $0.finding.contains("no package x") })
        bench.handle(.deviceGone)
        #expect(Signal(bench.machine) == .help, "an armed light would call for cards")
        bench.now += 60
        #expect(bench.handle(bench.card(11)) == [.announceWaiting(.buildFailed)])
        try bench.perform(.assign(try Samples.assignment()))
        #expect(bench.machine.word == "waiting was_in_already" && bench.machine.isArmed)
    }

    @Test(
        "is no longer waiting when somebody says otherwise, and a late image changes nothing",
        arguments: [
            SlotMachine.Command.unassign, .disarm, .prepare(SlotMachine.Preparation(profile: "other", callerUserID: 1)),
        ])
    func dropped(command: SlotMachine.Command) throws {
        var (bench, preparation) = try Self.preparing()
        bench.handle(bench.card(10))
        try bench.perform(command)
        #expect(bench.machine.word == "waiting was_in_already")
        #expect(bench.handle(.prepared(preparation.id, try Samples.assignment())) == [])
        #expect(bench.handle(.preparationFailed(preparation.id, StationError("a", "b"))) == [])
        #expect(!bench.machine.isArmed && bench.machine.assignment == nil)
    }

    @Test("does not begin a card that left meanwhile, nor anything once the station stops")
    func left() throws {
        var (bench, preparation) = try Self.preparing()
        bench.handle(bench.card(10))
        bench.handle(.deviceGone)
        var stopped = bench
        var goingDown = bench
        #expect(bench.handle(.prepared(preparation.id, try Samples.assignment())).begun.isEmpty)
        #expect(bench.machine.isArmed)
        stopped.handle(.stop)
        #expect(stopped.handle(.prepared(preparation.id, try Samples.assignment())) == [])
        goingDown.handle(.goingDown)
        #expect(goingDown.handle(.prepared(preparation.id, try Samples.assignment())) == [])
    }
}
