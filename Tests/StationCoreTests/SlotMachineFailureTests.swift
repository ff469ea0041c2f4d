import StationCore
import StationTestSupport
import Testing

@Suite("A slot in which jobs fail")
struct SlotMachineFailureTests {
    /// A new card, and its job's verdict. The slot is armed.
    @discardableResult
    private func job(
        _ bench: inout SlotBench, _ verdict: Verdict, _ sequence: UInt64
    ) throws -> [SlotMachine.Effect] {
        bench.now += 100
        bench.handle(.deviceGone)
        bench.handle(bench.card(sequence))
        return try bench.end(verdict)
    }

    private static let verdicts: [Verdict] =
        [.passed, .cancelled, .interrupted] + Reason.allCases.flatMap { [.failed($0), .refused($0)] }

    @Test("counts a card's failures and nothing else, and a pass counts them away", arguments: verdicts)
    func counting(verdict: Verdict) throws {
        // These two are no verdicts of a card that came in.
        guard ![.refused(.sameCard), .refused(.wasInAlready)].contains(verdict) else { return }
        var bench = try SlotBench()
        try job(&bench, .failed(.writeError), 20)
        try job(&bench, verdict, 21)
        let isFailure = if case .failed(let reason) = verdict { reason.fault == .card } else { false }
        #expect(bench.machine.failuresInARow == (verdict == .passed ? 0 : isFailure ? 2 : 1))
        #expect(bench.machine.isArmed)
        #expect(SlotStatus(bench.machine).failuresInARow == bench.machine.failuresInARow)
    }

    @Test("is disarmed by the third failure in a row, says why, and the next card waits")
    func third() throws {
        var bench = try SlotBench()
        try job(&bench, .failed(.writeError), 20)
        try job(&bench, .refused(.writeProtected), 21)
        try job(&bench, .failed(.dataMismatch), 22)
        try job(&bench, .failed(.cardRemoved), 23)
        #expect(bench.machine.isArmed)
        let effects = try job(&bench, .failed(.readError), 24)
        #expect(effects.ended == [.failed(.readError)])
        #expect(effects.last == .announceDisarmed(.failuresInARow))
        #expect(!bench.machine.isArmed && bench.machine.assignment != nil)
        let status = SlotStatus(bench.machine)
        #expect(status.disarmReason == .failuresInARow)
        #expect(status.notes.map(\.code) == ["failures_in_a_row"])
        let gate = Explanation.gates(of: bench.machine, isImageThere: true).first { $0.gate == "armed" }
        #expect(gate?.isOpen == false && gate?.finding.contains("reader") == true)
        #expect(gate?.remedy.contains("stationctl arm slot1") == true)
        bench.now += 100
        bench.handle(.deviceGone)
        #expect(bench.handle(bench.card(25)) == [.announceWaiting(.disarmed)])
    }

    @Test("lets a card wait that came while the third failure was still under way")
    func waitingBehind() throws {
        var bench = try SlotBench()
        try job(&bench, .failed(.writeError), 20)
        try job(&bench, .failed(.writeError), 21)
        bench.now += 100
        bench.handle(.deviceGone)
        bench.handle(bench.card(22))
        bench.handle(bench.card(23))
        #expect(try bench.end(.failed(.writeError)).begun.isEmpty)
        #expect(bench.machine.word == "waiting disarmed")
    }

    @Test("does not count dry runs, nor disarm what is disarmed")
    func byHand() throws {
        var bench = try SlotBench()
        for sequence in 20...22 { try job(&bench, .failed(.writeError), UInt64(sequence)) }
        try bench.perform(.flash(nil, isDryRun: true))
        try bench.end(.failed(.writeError))
        #expect(bench.machine.failuresInARow == 3 && bench.machine.disarmReason == .failuresInARow)
        // A slot with nothing assigned may be flashed by hand.
        try bench.perform(.unassign)
        try bench.perform(.flash(try Samples.assignment(), isDryRun: false))
        #expect(try bench.end(.failed(.writeError)).ended.count == 1)
        #expect(bench.machine.failuresInARow == 4)
        try bench.perform(.flash(try Samples.assignment(), isDryRun: false))
        try bench.end(.passed)
        // Nobody armed it: one pass does not.
        #expect(bench.machine.failuresInARow == 0 && !bench.machine.isArmed)
    }

    @Test(
        "begins anew when it is armed or assigned, whatever it was doing; who disarms it takes the reason away",
        arguments: SlotMachineTests.Start.allCases)
    func commands(start: SlotMachineTests.Start) throws {
        for command: SlotMachine.Command in [.arm, .assign(try Samples.assignment()), .disarm, .unassign] {
            var bench = try SlotMachineTests.bench(
                start, memory: SlotMachine.Memory(failuresInARow: 2), disarmReason: .slotFileUnusable)
            if command == .arm, start == .unassigned { continue }
            try bench.perform(command)
            #expect(bench.machine.disarmReason == nil)
            #expect(bench.machine.failuresInARow == (bench.machine.isArmed ? 0 : start == .latched ? 0 : 2))
        }
    }

    @Test("remembers failures and reason over a restart")
    func restart() throws {
        let memory = SlotMachine.Memory(failuresInARow: 2)
        var bench = try SlotBench(memory: memory)
        #expect(try job(&bench, .failed(.readError), 20).last == .announceDisarmed(.failuresInARow))
        // The failure was recorded, and the power failed before the disarming was.
        let late = try SlotBench(memory: SlotMachine.Memory(failuresInARow: 3))
        #expect(!late.machine.isArmed && late.machine.disarmReason == .failuresInARow)
        let kept = SlotMachine(
            slot: try Samples.slot(), isArmed: false, assignment: try Samples.assignment(),
            disarmReason: .failuresInARow, memory: SlotMachine.Memory(failuresInARow: 3))
        #expect(kept.disarmReason == .failuresInARow)
    }

    @Test("keeps count as a simple list would, in a random walk", arguments: 0..<5)
    func walk(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        var bench = try SlotBench()
        var count = 0
        var isArmed = true
        for sequence in 20..<2000 as Range<UInt64> {
            bench.now += 100
            bench.handle(.deviceGone)
            #expect(bench.handle(bench.card(sequence)).begun.isEmpty == !isArmed)
            if !isArmed, random.chance(percent: 50) {
                try bench.perform(.arm)
                (isArmed, count) = (true, 0)
            }
            if bench.running == nil {
                guard isArmed else { continue }
                try bench.perform(.flash(nil, isDryRun: false))
            }
            let verdict = try #require(
                [.passed, .failed(.writeError), .failed(.dataMismatch), .failed(.cardRemoved), .cancelled]
                    .randomElement(
                        using: &random) as Verdict?)
            let effects = try bench.end(verdict)
            if verdict == .passed { count = 0 }
            if verdict.countsAsFailure { count += 1 }
            let disarms = isArmed && count >= 3 && verdict.countsAsFailure
            #expect(effects.contains(.announceDisarmed(.failuresInARow)) == disarms)
            if disarms { isArmed = false }
            #expect(bench.machine.isArmed == isArmed && bench.machine.failuresInARow == count)
        }
    }
}

@Suite("A slot in which a card is known")
struct SlotMachineCardTests {
    private static func record(_ failures: Int, card: JobID = JobID()) throws -> CardRecord {
        var record = CardRecord(
            card: CardKey(firstFailure: card), identity: .marker, byteCount: 8, model: "", at: 0)
        for _ in 0..<failures {
            record.failed(
                CardRecord.Failure(
                    job: JobID(), slot: try SlotName("slot2"), reason: .dataMismatch, at: 1_772_539_200,
                    wasClockSynchronised: true))
        }
        return record
    }

    @Test(
        "takes what the store remembers in every state, without doing anything else",
        arguments: SlotMachineTests.Start.allCases, [0, 1, 3])
    func everyState(start: SlotMachineTests.Start, failures: Int) throws {
        var bench = try SlotMachineTests.bench(start)
        let before = bench.machine
        let record = try Self.record(failures)
        let effects = bench.handle(.recalled(SlotBench.token(10), nil, record))
        #expect(bench.machine.activity == before.activity)
        guard start != .noCard else {
            #expect(effects.isEmpty && bench.machine.cardRecord == nil)
            return
        }
        #expect(bench.machine.cardRecord == record)
        // A card whose job has just ended did not come back.
        #expect(effects == (failures > 0 && start != .latched ? [.announceSuspect(record)] : []))
        #expect(bench.handle(.recalled(SlotBench.token(10), nil, record)) == [])
        #expect(bench.handle(.recalled(SlotBench.token(99), nil, try Self.record(2))) == [])
        #expect(bench.machine.cardRecord == record)
        let notes = SlotStatus(bench.machine).notes.map(\.code)
        #expect(notes == (failures > 0 ? ["card_suspect"] : []))
        let gate = Explanation.gates(of: bench.machine, isImageThere: true).first { $0.gate == "memory" }
        #expect(gate?.isOpen == (failures == 0 ? nil : failures < 3))
    }

    @Test(
        "asks the store for a card that its writer recognises, and answers as the store says", arguments: [0, 1, 2, 3])
    func answers(failures: Int) throws {
        var bench = try SlotMachineTests.bench(.running)
        let start = try #require(bench.running).start
        let traits = CardTraits(marker: JobID())
        #expect(bench.handle(.writer(start.id, .recognised(traits))) == [.recall(start.token, start.id, traits)])
        #expect(bench.running != nil)
        let record = try Self.record(failures)
        let effects = bench.handle(.recalled(start.token, start.id, record))
        #expect(effects.last == .answer(start.id, failures < 3 ? .proceed : .refuse))
        #expect(effects.contains(.announceSuspect(record)) == (failures > 0))
        // One that is not known may be written.
        #expect(bench.handle(.recalled(start.token, start.id, nil)) == [.answer(start.id, .proceed)])
        #expect(bench.handle(.recalled(start.token, JobID(), record)).isEmpty)
    }

    @Test("says of a condemned card what is held against it, and forgets it when it leaves")
    func condemned() throws {
        var bench = try SlotMachineTests.bench(.running)
        let start = try #require(bench.running).start
        bench.handle(.recalled(start.token, start.id, try Self.record(3)))
        try bench.end(.refused(.cardSuspect))
        guard case .latched(let finished) = bench.machine.activity else {
            Issue.record("not latched")
            return
        }
        #expect(
            finished.report.detail
                == "this card failed here on 3 March 2026 in slot2: data_mismatch (3 failures in a row)")
        // It was the card, not the reader: nothing was written.
        #expect(bench.machine.failuresInARow == 0)
        bench.handle(.deviceGone)
        #expect(bench.machine.cardRecord == nil)
        // It only seemed to leave: it is the same stay.
        bench.handle(bench.card(10))
        #expect(bench.machine.word == "latched refused" && bench.machine.cardRecord?.state == .condemned)
        bench.now += 100
        bench.handle(.deviceGone)
        bench.handle(bench.card(11))
        #expect(bench.machine.cardRecord == nil)
    }

    @Test("looks up a card that shows its identity before any writer has seen it", arguments: [true, false])
    func identity(isArmed: Bool) throws {
        var bench = try SlotBench(isArmed: isArmed)
        var record = Samples.card(sequence: 10)
        record.cardID = String(repeating: "0a", count: 16)
        let token = SlotBench.token(10)
        let effects = bench.handle(
            .device(record, .card(bench.machine.slot.name), bootID: SlotBench.boot, wasThere: false))
        #expect(effects.first == .recall(token, nil, CardTraits(cardID: record.cardID)))
        #expect(effects.count == 2)
        record.cardID = "no identity"
        var other = try SlotBench(isArmed: isArmed)
        let others = other.handle(
            .device(record, .card(other.machine.slot.name), bootID: SlotBench.boot, wasThere: false))
        #expect(others.count == 1)
    }

    @Test("knows the card of a finished job again after a restart")
    func restart() throws {
        let record = try Self.record(1)
        var first = try SlotBench()
        first.handle(first.card(10))
        try first.end(.failed(.writeError))
        var bench = try SlotBench(
            memory: SlotMachine.Memory(lastFinished: first.machine.lastFinished, lastCard: record))
        #expect(bench.handle(bench.card(10, wasThere: true)) == [])
        #expect(bench.machine.cardRecord == record && bench.machine.word == "latched failed")
    }

    @Test("may be looked at unless a job runs or nothing is in", arguments: SlotMachineTests.Start.allCases)
    func inspectable(start: SlotMachineTests.Start) throws {
        let bench = try SlotMachineTests.bench(start)
        let codes: [SlotMachineTests.Start: String] = [
            .noCard: "no_card", .refused: "reader_changed", .running: "job_running",
        ]
        var code: String?
        do { _ = try bench.machine.inspectable(nil) } catch { code = error.code }
        #expect(code == codes[start])
        guard codes[start] == nil else { return }
        #expect(throws: StationError.self) { _ = try bench.machine.inspectable(SlotBench.token(11)) }
        #expect(try bench.machine.inspectable(SlotBench.token(10)).1 == SlotBench.token(10))
    }
}
