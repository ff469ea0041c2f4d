import StationCore
import StationTestSupport
import Testing

/// A slot machine with a clock and the names of everything.
struct SlotBench {
    static let boot = "0123456789abcdef"

    var machine: SlotMachine
    var now = 100.0

    init(
        isArmed: Bool = true, isAssigned: Bool = true, atBoot: AtBoot = .wait,
        memory: SlotMachine.Memory = SlotMachine.Memory(), disarmReason: DisarmReason? = nil
    ) throws {
        machine = SlotMachine(
            slot: try Samples.slot(atBoot: atBoot), isArmed: isArmed,
            assignment: isAssigned ? try Samples.assignment() : nil, disarmReason: disarmReason, memory: memory)
    }

    static func token(_ sequence: UInt64) -> InsertionToken { InsertionToken(bootID: boot, deviceSequence: sequence) }

    func card(_ sequence: UInt64, wasThere: Bool = false, byteCount: UInt64 = 8_000_000_000) -> SlotMachine.Input {
        .device(
            Samples.card(sequence: sequence, byteCount: byteCount), .card(machine.slot.name), bootID: Self.boot,
            wasThere: wasThere)
    }

    func refused(_ sequence: UInt64, _ reason: Reason, wasThere: Bool = false) -> SlotMachine.Input {
        .device(
            Samples.card(sequence: sequence), .refused(machine.slot.name, reason), bootID: Self.boot, wasThere: wasThere
        )
    }

    var empty: SlotMachine.Input {
        .device(
            Samples.card(sequence: 500, byteCount: 0), .emptySlot(machine.slot.name), bootID: Self.boot, wasThere: false
        )
    }

    @discardableResult
    mutating func handle(_ input: SlotMachine.Input) -> [SlotMachine.Effect] { machine.handle(input, now: now) }

    @discardableResult
    mutating func perform(_ command: SlotMachine.Command) throws -> [SlotMachine.Effect] {
        try machine.perform(command, caller: 1000, now: now)
    }

    var running: SlotMachine.Running? {
        if case .running(let running) = machine.activity { running } else { nil }
    }

    /// The writer gives this verdict.
    @discardableResult
    mutating func end(_ verdict: Verdict, head: SHA256Digest? = nil) throws -> [SlotMachine.Effect] {
        let start = try #require(running).start
        var report = JobReport(verdict)
        report.headSHA256 = head
        if verdict == .passed {
            // What a writer says that has done its work.
            handle(.writer(start.id, .held))
            report.readBackSHA256 = start.assignment.sha256
            report.bytesVerified = start.assignment.byteCount
        }
        return handle(.writer(start.id, .ended(report)))
    }
}

extension [SlotMachine.Effect] {
    var begun: [JobStart] { compactMap { if case .begin(let start) = $0 { start } else { nil } } }
    var ended: [Verdict] { compactMap { if case .end(_, let report) = $0 { report.verdict } else { nil } } }
    var discarded: Int { count { if case .discard = $0 { true } else { false } } }
}

extension SlotMachine {
    /// The kind of what it is doing.
    var word: String {
        switch activity {
        case .noCard: "noCard"
        case .waiting(let waiting): "waiting \(waiting.rawValue)"
        case .refused(let reason): "refused \(reason.rawValue)"
        case .running: "running"
        case .latched(let finished): "latched \(finished.report.verdict.word)"
        }
    }
}

@Suite("A slot")
struct SlotMachineTests {
    // MARK: Every state, every input

    enum Start: String, CaseIterable, Sendable {
        case noCard, unassigned, disarmed, wasIn, refused, running, latched
    }

    static func bench(
        _ start: Start, memory: SlotMachine.Memory = SlotMachine.Memory(), disarmReason: DisarmReason? = nil
    ) throws -> SlotBench {
        var bench = try SlotBench(
            isArmed: start != .disarmed, isAssigned: start != .unassigned, memory: memory, disarmReason: disarmReason)
        switch start {
        case .noCard: break
        case .unassigned, .disarmed, .running: bench.handle(bench.card(10))
        case .wasIn: bench.handle(bench.card(10, wasThere: true))
        case .refused: bench.handle(bench.refused(10, .readerChanged))
        case .latched:
            bench.handle(bench.card(10))
            try bench.end(.passed)
        }
        return bench
    }

    private static let state: [Start: String] = [
        .noCard: "noCard", .unassigned: "waiting unassigned", .disarmed: "waiting disarmed",
        .wasIn: "waiting was_in_already",
        .refused: "refused reader_changed", .running: "running", .latched: "latched passed",
    ]

    @Test("begins in the state it is meant to", arguments: Start.allCases)
    func starts(start: Start) throws {
        #expect(try Self.bench(start).machine.word == Self.state[start])
    }

    @Test("goes on with the same card as it was", arguments: Start.allCases, [false, true])
    func sameCard(start: Start, wasThere: Bool) throws {
        guard start != .noCard, start != .refused else { return }
        var bench = try Self.bench(start)
        let before = bench.machine.activity
        #expect(bench.handle(bench.card(10, wasThere: wasThere)) == [])
        #expect(bench.machine.activity == before)
    }

    @Test("takes a new card for what it is", arguments: Start.allCases)
    func newCard(start: Start) throws {
        var bench = try Self.bench(start)
        let effects = bench.handle(bench.card(11))
        switch start {
        case .unassigned: #expect(effects == [.announceWaiting(.unassigned)])
        case .disarmed: #expect(effects == [.announceWaiting(.disarmed)])
        case .running:
            #expect(effects == [])
            #expect(bench.running?.start.token == SlotBench.token(10))
        // Without a gap between them it may be the same card after a reset of the bus.
        case .wasIn: #expect(effects == [.announceWaiting(.wasInAlready)])
        case .noCard, .refused, .latched:
            #expect(effects.begun.map(\.token) == [SlotBench.token(11)])
            #expect(effects.begun.map(\.trigger) == [.insertion])
        }
    }

    @Test("is empty when the card is gone, in whatever way, unless a job runs", arguments: Start.allCases, [0, 1, 2])
    func gone(start: Start, way: Int) throws {
        var bench = try Self.bench(start)
        let input: SlotMachine.Input =
            switch way {
            case 0: .deviceGone
            case 1: bench.empty
            default: .device(Samples.card(sequence: 12, place: nil), .notOurs, bootID: SlotBench.boot, wasThere: false)
            }
        #expect(bench.handle(input) == [])
        #expect(bench.machine.word == (start == .running ? "running" : "noCard"))
        if start != .running {
            #expect(bench.machine.token == nil)
            #expect((bench.machine.device == nil) == (way != 1))
        }
    }

    @Test("refuses what is refused, and says so once", arguments: Start.allCases)
    func refusal(start: Start) throws {
        var bench = try Self.bench(start)
        let effects = bench.handle(bench.refused(11, .slotAmbiguous))
        guard start != .running else {
            #expect(effects == [])
            #expect(try bench.end(.passed).contains(.announceRefused(.slotAmbiguous)))
            return
        }
        #expect(effects == [.announceRefused(.slotAmbiguous)])
        #expect(bench.handle(bench.refused(11, .slotAmbiguous)) == [])
        #expect(bench.machine.word == "refused slot_ambiguous")
    }

    @Test("hears of a writer only while its job runs", arguments: Start.allCases)
    func strangeWriter(start: Start) throws {
        var bench = try Self.bench(start)
        let before = bench.machine.activity
        let stranger = JobID()
        for input: SlotMachine.Input in [
            .writer(stranger, .held), .writer(stranger, .progress(JobProgress(phase: .writing))),
            .writer(stranger, .ended(JobReport(.passed))), .writerLost(stranger, .writerLost, detail: ""),
            .writerSilent(stranger, seconds: 100),
        ] {
            #expect(bench.handle(input) == [])
            #expect(bench.machine.activity == before)
        }
    }

    @Test("stops nothing but a running job", arguments: Start.allCases)
    func stop(start: Start) throws {
        var bench = try Self.bench(start)
        let before = bench.machine.activity
        let job = bench.running?.start
        let effects = bench.handle(.stop)
        guard let job else {
            #expect(effects == [])
            #expect(bench.machine.activity == before)
            return
        }
        #expect(effects.first == .hangUp(job.id))
        #expect(effects.ended == [.interrupted])
        #expect(bench.handle(.writer(job.id, .ended(JobReport(.passed)))) == [])
    }

    @Test("lets what runs end before the station goes down, and begins nothing any more", arguments: Start.allCases)
    func goingDown(start: Start) throws {
        var bench = try Self.bench(start)
        let before = bench.machine.activity
        #expect(bench.handle(.goingDown) == [])
        #expect(bench.machine.activity == before)
        #expect(throws: StationError.self) { try bench.perform(.flash(nil, isDryRun: false)) }
        bench.handle(bench.card(11))
        if bench.running != nil {
            let effects = try bench.end(.passed, head: try Samples.digest("d"))
            #expect(effects.ended == [.passed])
            #expect(effects.begun.isEmpty)
        }
        #expect(bench.handle(bench.card(12)).begun.isEmpty)
        #expect(bench.running == nil)
    }

    @Test("never shows a verdict for the card after, while the station goes down", arguments: [false, true])
    func swapWhileGoingDown(leavesReader: Bool) throws {
        var bench = try Self.bench(.running)
        try bench.end(.passed, head: try Samples.digest("d"))
        #expect(bench.machine.word.hasPrefix("latched"))
        bench.handle(.goingDown)
        if leavesReader {
            bench.handle(.deviceGone)
            #expect(bench.machine.activity == .noCard)
        }
        bench.now += 60
        bench.handle(bench.card(12))
        #expect(!bench.machine.word.hasPrefix("latched"))
        #expect(bench.running == nil)
    }

    @Test("takes assignments, arming and disarming in every state without touching the card", arguments: Start.allCases)
    func consent(start: Start) throws {
        var bench = try Self.bench(start)
        let before = bench.machine.activity
        #expect(try bench.perform(.assign(Samples.assignment("other", digit: "b"))) == [.saveConsent])
        #expect(bench.machine.isArmed)
        #expect(try bench.perform(.disarm) == [.saveConsent])
        #expect(!bench.machine.isArmed)
        #expect(try bench.perform(.arm) == [.saveConsent])
        #expect(bench.machine.isArmed)
        #expect(try bench.perform(.unassign) == [.saveConsent])
        #expect(!bench.machine.isArmed && bench.machine.assignment == nil)
        #expect(throws: StationError.self) { try bench.perform(.arm) }
        #expect(bench.machine.activity == before)
    }

    @Test("flashes on demand what is in, and says why not", arguments: Start.allCases, [false, true])
    func flash(start: Start, isDryRun: Bool) throws {
        var bench = try Self.bench(start)
        let assignment = try Samples.assignment("other", digit: "b")
        let code: String? =
            switch start {
            case .noCard: "no_card"
            case .refused: "reader_changed"
            case .running: "job_running"
            case .disarmed where !isDryRun: "slot_disarmed"
            default: nil
            }
        if let code {
            let error = #expect(throws: StationError.self) { try bench.perform(.flash(assignment, isDryRun: isDryRun)) }
            #expect(error?.code == code)
            return
        }
        let begun = try bench.perform(.flash(assignment, isDryRun: isDryRun)).begun
        #expect(begun.map(\.token) == [SlotBench.token(10)])
        #expect(begun.map(\.trigger) == [.flash])
        #expect(begun.map(\.condition) == [.none])
        #expect(begun.map(\.isDryRun) == [isDryRun])
        #expect(begun.map(\.assignment) == [assignment])
        #expect(begun.map(\.callerUserID) == [1000])
    }

    @Test("does not flash when nothing is assigned and nothing is named")
    func flashUnassigned() throws {
        var bench = try Self.bench(.unassigned)
        let error = #expect(throws: StationError.self) { try bench.perform(.flash(nil, isDryRun: false)) }
        #expect(error?.code == "slot_unassigned")
    }

    @Test("cancels a running job and nothing else", arguments: Start.allCases)
    func cancel(start: Start) throws {
        var bench = try Self.bench(start)
        guard let job = bench.running?.start.id else {
            let error = #expect(throws: StationError.self) { try bench.perform(.cancel) }
            #expect(error?.code == "no_job")
            return
        }
        #expect(try bench.perform(.cancel) == [.cancel(job)])
        #expect(bench.running?.isCancelling == true)
        #expect(try bench.end(.cancelled).ended == [.cancelled])
        #expect(bench.machine.word == "latched cancelled")
    }

    // MARK: Consent

    @Test(
        "never begins with a card that is in when it is assigned or armed",
        arguments: [Start.unassigned, .disarmed, .wasIn])
    func laterConsent(start: Start) throws {
        var bench = try Self.bench(start)
        try bench.perform(.assign(Samples.assignment()))
        try bench.perform(.arm)
        #expect(bench.handle(bench.card(10)).begun == [])
        #expect(bench.handle(bench.card(10, wasThere: true)).begun == [])
        bench.handle(.deviceGone)
        bench.now += SlotMachine.glitchWindow + 0.1
        #expect(bench.handle(bench.card(11)).begun.count == 1)
    }

    @Test(
        "never begins with a waiting card because it was refused for a moment",
        arguments: [Start.unassigned, .disarmed, .wasIn, .latched])
    func refusedForAMoment(start: Start) throws {
        var bench = try Self.bench(start)
        try bench.perform(.assign(Samples.assignment()))
        let before = bench.machine.activity
        bench.handle(bench.refused(10, .slotAmbiguous))
        bench.now += 60
        #expect(bench.handle(bench.card(10)).begun == [])
        #expect(bench.machine.activity == before)
    }

    @Test(
        "never begins with a waiting or finished card that only seemed to leave",
        arguments: [Start.unassigned, .disarmed, .wasIn, .latched], [1.0, 60])
    func goneForAMoment(start: Start, seconds: Double) throws {
        var bench = try Self.bench(start)
        try bench.perform(.assign(Samples.assignment()))
        let before = bench.machine.activity
        bench.handle(.deviceGone)
        bench.now += seconds
        #expect(bench.handle(bench.card(10)).begun == [])
        #expect(bench.machine.activity == before)
    }

    @Test("lets a card wait that was in at the start, also when its reader was not complete at first")
    func wasThereIncomplete() throws {
        var bench = try SlotBench()
        #expect(bench.handle(bench.refused(10, .readerChanged, wasThere: true)) == [.announceRefused(.readerChanged)])
        #expect(bench.handle(bench.card(10)) == [.announceWaiting(.wasInAlready)])
    }

    @Test("begins with a new card that was refused until its reader was complete")
    func newIncomplete() throws {
        var bench = try SlotBench()
        bench.handle(bench.refused(10, .readerChanged))
        #expect(bench.handle(bench.card(10)).begun.count == 1)
    }

    @Test("does not begin when a slot file that was read anew lets a refused card in")
    func redeclared() throws {
        var bench = try SlotBench()
        bench.handle(bench.refused(10, .cardTooLarge))
        #expect(bench.handle(bench.card(10, wasThere: true)) == [.announceWaiting(.wasInAlready)])
    }

    @Test("keeps a running job when it is disarmed, and the next card waits")
    func disarmWhileRunning() throws {
        var bench = try Self.bench(.running)
        try bench.perform(.disarm)
        #expect(bench.running != nil)
        bench.handle(bench.card(11))
        let effects = try bench.end(.passed)
        #expect(effects.ended == [.passed])
        #expect(effects.begun == [])
        #expect(bench.machine.word == "waiting disarmed")
    }

    // MARK: At the start

    @Test("writes a card that was in only where the slot says so", arguments: AtBoot.allCases)
    func atBoot(atBoot: AtBoot) throws {
        var bench = try SlotBench(atBoot: atBoot)
        let effects = bench.handle(bench.card(10, wasThere: true))
        #expect(effects.begun.map(\.trigger) == (atBoot == .write ? [.atBoot] : []))
    }

    @Test("asks for the marker of an unfinished job, and takes the writer's no", arguments: AtBoot.allCases)
    func resumed(atBoot: AtBoot) throws {
        let job = JobID()
        var bench = try SlotBench(atBoot: atBoot, memory: SlotMachine.Memory(interruptedJobs: [job]))
        let begun = bench.handle(bench.card(10, wasThere: true)).begun
        #expect(begun.map(\.condition) == [.onlyIfMarked([job])])
        #expect(begun.map(\.trigger) == [.resumed])
        let effects = try bench.end(.refused(.wasInAlready))
        #expect(effects.discarded == 1)
        #expect(effects.ended == [])
        #expect(effects.begun.map(\.trigger) == (atBoot == .write ? [.atBoot] : []))
        if atBoot == .wait { #expect(bench.machine.word == "waiting was_in_already") }
    }

    @Test("does not resume while disarmed or unassigned", arguments: [false, true])
    func resumedDisarmed(isAssigned: Bool) throws {
        var bench = try SlotBench(
            isArmed: false, isAssigned: isAssigned, memory: SlotMachine.Memory(interruptedJobs: [JobID()]))
        #expect(bench.handle(bench.card(10, wasThere: true)).begun == [])
    }

    @Test(
        "knows a card it finished before it was started anew",
        arguments: [Verdict.passed, .failed(.dataMismatch), .cancelled, .interrupted])
    func memory(verdict: Verdict) throws {
        var first = try Self.bench(.running)
        let start = try #require(first.running).start
        try first.end(verdict)
        let memory = SlotMachine.Memory(lastFinished: .init(start: start, report: JobReport(verdict)))
        var bench = try SlotBench(memory: memory)
        bench.handle(bench.card(10, wasThere: true))
        #expect(bench.machine.word == (verdict == .interrupted ? "waiting was_in_already" : "latched \(verdict.word)"))
        bench.handle(bench.card(11, wasThere: true))
        #expect(bench.machine.word == "waiting was_in_already")
    }

    // MARK: The card and the next one

    @Test("begins with the next card when the writer is done with the one before")
    func next() throws {
        var bench = try Self.bench(.running)
        bench.handle(.deviceGone)
        #expect(bench.handle(bench.card(11)) == [])
        let effects = try bench.end(.failed(.cardRemoved))
        #expect(effects.ended == [.failed(.cardRemoved)])
        #expect(effects.begun.map(\.token) == [SlotBench.token(11)])
        #expect(bench.machine.token == SlotBench.token(11))
    }

    @Test("does not begin with a next card that has left again")
    func nextGone() throws {
        var bench = try Self.bench(.running)
        bench.handle(bench.card(11))
        bench.handle(.deviceGone)
        #expect(try bench.end(.failed(.cardRemoved)).begun == [])
        #expect(bench.machine.word == "noCard")
    }

    @Test("keeps the reader when the card is pulled while a job runs")
    func emptyWhileRunning() throws {
        var bench = try Self.bench(.running)
        bench.handle(bench.empty)
        try bench.end(.failed(.cardRemoved))
        #expect(bench.machine.word == "noCard")
        #expect(SlotStatus(bench.machine).state == "empty")
    }

    @Test("holds on to a running job's card when it only seemed to leave or to be another", arguments: [0, 1, 2, 3])
    func flicker(way: Int) throws {
        var bench = try Self.bench(.running)
        switch way {
        case 0: bench.handle(.deviceGone)
        case 1: bench.handle(bench.card(11))
        case 2: bench.handle(bench.refused(11, .slotAmbiguous))
        default: bench.handle(bench.empty)
        }
        bench.handle(bench.card(10))
        try bench.end(.passed)
        #expect(bench.machine.word == "latched passed")
        bench.now += 100
        #expect(bench.handle(bench.card(10)) == [])
        #expect(bench.machine.word == "latched passed")
        // Nor is it another card when it seems to go once more.
        bench.handle(.deviceGone)
        bench.now += 100
        #expect(bench.handle(bench.card(10)) == [])
        #expect(bench.machine.word == "latched passed")
    }

    @Test("asks whether it is the same card within 10 seconds, and not later", arguments: [0.0, 9.9, 10, 10.1, 100])
    func returns(after seconds: Double) throws {
        var bench = try Self.bench(.running)
        let head = try Samples.digest("c")
        try bench.end(.passed, head: head)
        bench.handle(.deviceGone)
        bench.now += seconds
        let begun = bench.handle(bench.card(11)).begun
        #expect(begun.map(\.condition) == [seconds <= 10 ? .unlessHead(head) : .none])
        guard seconds <= 10 else { return }
        let effects = try bench.end(.refused(.sameCard))
        #expect(effects.ended == [] && effects.discarded == 1)
        // Another card of the same image begins with the same bytes: nothing is said of this one.
        #expect(bench.machine.word == "waiting same_card")
        #expect(bench.handle(bench.card(11)) == [])
    }

    @Test("latches a failed card again that comes back: its marker tells it from all others")
    func failedReturns() throws {
        var bench = try Self.bench(.running)
        try bench.end(.failed(.dataMismatch), head: try Samples.digest("c"))
        bench.handle(.deviceGone)
        bench.handle(bench.card(11))
        #expect(try bench.end(.refused(.sameCard)).discarded == 1)
        #expect(bench.machine.word == "latched failed")
    }

    @Test("tries a failed card again that a hand pulled and inserted", arguments: [2.1, 5, 100])
    func failedRetry(after seconds: Double) throws {
        var bench = try Self.bench(.running)
        try bench.end(.failed(.dataMismatch), head: try Samples.digest("c"))
        bench.handle(.deviceGone)
        bench.now += seconds
        #expect(bench.handle(bench.card(11)).begun.map(\.condition) == [.none])
    }

    @Test("does not ask when only the medium left the reader, which a loss of contact does not do")
    func mediumReturns() throws {
        var bench = try Self.bench(.running)
        try bench.end(.passed, head: try Samples.digest("c"))
        bench.handle(bench.empty)
        #expect(bench.handle(bench.card(11)).begun.map(\.condition) == [.none])
    }

    @Test(
        "lets a waiting card wait on after a reset of its bus, and not after a hand was there", arguments: [1.9, 2.1])
    func glitch(seconds: Double) throws {
        var bench = try Self.bench(.wasIn)
        bench.handle(.deviceGone)
        bench.now += seconds
        #expect(bench.handle(bench.card(11)).begun.isEmpty == (seconds < 2))
    }

    @Test("leaves a card alone around which it was declared, whatever it says of the start", arguments: AtBoot.allCases)
    func declaredAround(atBoot: AtBoot) throws {
        var bench = try SlotBench(atBoot: atBoot)
        let name = bench.machine.slot.name
        let input = SlotMachine.Input.declaredAround(Samples.card(sequence: 10), .card(name), bootID: SlotBench.boot)
        #expect(bench.handle(input) == [.announceWaiting(.wasInAlready)])
        #expect(bench.handle(bench.card(10)) == [])
        bench.handle(.deviceGone)
        bench.now += SlotMachine.glitchWindow + 0.1
        #expect(bench.handle(bench.card(11)).begun.count == 1)
    }

    @Test(
        "leaves such a card alone also when a job ran when it was declared, whatever is heard of it until that ends",
        arguments: AtBoot.allCases)
    func declaredAroundWhileRunning(atBoot: AtBoot) throws {
        var bench = try SlotBench(atBoot: atBoot)
        let name = bench.machine.slot.name
        bench.handle(bench.card(10))
        bench.handle(.declaredAround(Samples.card(sequence: 11), .card(name), bootID: SlotBench.boot))
        bench.handle(bench.card(11))
        let effects = try bench.end(.passed)
        #expect(effects.begun.isEmpty)
        #expect(bench.machine.activity == .waiting(.wasInAlready))
    }

    @Test("leaves such a card alone also when it was refused at first", arguments: AtBoot.allCases)
    func declaredAroundRefused(atBoot: AtBoot) throws {
        var bench = try SlotBench(atBoot: atBoot)
        let name = bench.machine.slot.name
        bench.handle(
            .declaredAround(Samples.card(sequence: 10), .refused(name, .slotAmbiguous), bootID: SlotBench.boot))
        #expect(bench.handle(bench.card(10)) == [.announceWaiting(.wasInAlready)])
    }

    @Test("takes another sequence number without a gap for a reset of the bus, not for a hand")
    func sequenceWithoutGap() throws {
        var passed = try SlotBench()
        passed.handle(passed.card(10))
        _ = try passed.end(.passed, head: Samples.digest("a"))
        let again = try #require(passed.handle(passed.card(11)).begun.first)
        guard case .unlessHead = again.condition else {
            Issue.record("a card that passed would be written again")
            return
        }
        var waiting = try SlotBench()
        waiting.handle(
            .device(
                Samples.card(sequence: 10), .card(waiting.machine.slot.name), bootID: SlotBench.boot, wasThere: true))
        #expect(waiting.machine.activity == .waiting(.wasInAlready))
        #expect(waiting.handle(waiting.card(11)).begun.isEmpty)
        #expect(waiting.machine.activity == .waiting(.wasInAlready))
    }

    @Test("takes a new patience over while a job runs")
    func newPatience() throws {
        var bench = try SlotBench()
        bench.handle(bench.card(10))
        let job = try #require(bench.running).start.id
        bench.machine.redeclare(bench.machine.slot, stuckAfterSeconds: 3)
        #expect(bench.handle(.writerSilent(job, seconds: 2.9)).isEmpty)
        #expect(bench.handle(.writerSilent(job, seconds: 3)).count == 1)
    }

    @Test("writes nothing while it is disarmed, also not when it is asked to")
    func flashDisarmed() throws {
        var bench = try Self.bench(.disarmed)
        #expect(throws: StationError.self) { try bench.perform(.flash(nil, isDryRun: false)) }
        #expect(bench.running == nil)
    }

    @Test("does not take the writer's word alone for passed", arguments: 0..<4)
    func unproven(missing: Int) throws {
        var bench = try SlotBench()
        bench.handle(bench.card(10))
        let start = try #require(bench.running).start
        if missing != 0 { bench.handle(.writer(start.id, .held)) }
        var report = JobReport(.passed)
        if missing != 1 { report.readBackSHA256 = start.assignment.sha256 }
        if missing == 2 { report.readBackSHA256 = try Samples.digest("0") }
        if missing != 3 { report.bytesVerified = start.assignment.byteCount }
        #expect(bench.handle(.writer(start.id, .ended(report))).ended == [.failed(.internalError)])
    }

    @Test("does not pass a dry run")
    func dryRun() throws {
        var bench = try Self.bench(.disarmed)
        try bench.perform(.flash(nil, isDryRun: true))
        #expect(try bench.end(.passed).ended == [.failed(.internalError)])
        try bench.perform(.flash(nil, isDryRun: true))
        #expect(try bench.end(.refused(.dryRun)).ended == [.refused(.dryRun)])
    }

    @Test("remembers what came of a card, whatever a dry run on it says after that")
    func dryRunAfterwards() throws {
        var bench = try SlotBench()
        let head = try Samples.digest("d")
        bench.handle(bench.card(10))
        try bench.end(.passed, head: head)
        try bench.perform(.flash(nil, isDryRun: true))
        try bench.end(.refused(.dryRun))
        #expect(bench.machine.word == "latched refused")
        #expect(bench.machine.lastFinished?.report.verdict == .passed)
        // It loses contact and is back: known as the card that passed, not written once more.
        bench.handle(.deviceGone)
        bench.now += 1
        #expect(bench.handle(bench.card(11)).begun.map(\.condition) == [.unlessHead(head)])
    }

    @Test("remembers nothing of another card's pass after a dry run")
    func dryRunOnAnotherCard() throws {
        var bench = try SlotBench()
        bench.handle(bench.card(10))
        try bench.end(.passed, head: try Samples.digest("d"))
        bench.handle(.deviceGone)
        bench.now += 60
        try bench.perform(.disarm)
        bench.handle(bench.card(11))
        try bench.perform(.flash(nil, isDryRun: true))
        try bench.end(.refused(.dryRun))
        try bench.perform(.arm)
        bench.handle(.deviceGone)
        bench.now += 1
        #expect(bench.handle(bench.card(12)).begun.map(\.condition) == [.none])
    }

    @Test("tries once more when the refusal came before udev had opened the node, and only once")
    func permissionRetry() throws {
        var bench = try Self.bench(.running)
        try bench.end(.refused(.permissionDenied))
        #expect(bench.handle(bench.card(10)).begun.map(\.token) == [SlotBench.token(10)])
        try bench.end(.refused(.permissionDenied))
        #expect(bench.handle(bench.card(10)) == [])
        #expect(bench.machine.word == "latched refused")
    }

    @Test("tries no refused card once more on another word than it was begun on", arguments: [false, true])
    func permissionRetryOnAnotherWord(isSaidWhileRunning: Bool) throws {
        let words: [[SlotMachine.Command]] = [
            [.disarm], [.unassign], [.disarm, .arm], [.assign(try Samples.assignment())],
            [.assign(try Samples.assignment("other", digit: "b"))],
            [.prepare(SlotMachine.Preparation(profile: "home.ap", callerUserID: 1000))],
        ]
        for commands in words {
            var bench = try Self.bench(.running)
            if !isSaidWhileRunning { try bench.end(.refused(.permissionDenied)) }
            for command in commands { try bench.perform(command) }
            if isSaidWhileRunning { try bench.end(.refused(.permissionDenied)) }
            #expect(bench.handle(bench.card(10)) == [])
            #expect(bench.machine.word == "latched refused")
            // The next card has nothing to do with it.
            bench.handle(bench.card(11))
            #expect((bench.running != nil) == bench.machine.isArmed)
        }
    }

    @Test("tries no refused card once more that only seemed to leave while something else was said")
    func permissionRetryAfterSeemingToLeave() throws {
        var bench = try Self.bench(.running)
        try bench.end(.refused(.permissionDenied))
        bench.handle(.deviceGone)
        try bench.perform(.disarm)
        try bench.perform(.arm)
        #expect(bench.handle(bench.card(10)) == [])
        #expect(bench.handle(bench.card(10)) == [])
        #expect(bench.machine.word == "latched refused")
    }

    @Test("tries no refused card once more where something was said while another seemed to be in its place")
    func permissionRetryAfterFlicker() throws {
        var bench = try Self.bench(.running)
        bench.handle(bench.card(11))
        try bench.perform(.disarm)
        bench.handle(bench.card(10))
        try bench.end(.refused(.permissionDenied))
        #expect(bench.handle(bench.card(10)) == [])
        #expect(bench.machine.word == "latched refused")
    }

    @Test("tries no card once more that was refused before the station started")
    func permissionRetryAfterStart() throws {
        var before = try Self.bench(.running)
        try before.end(.refused(.permissionDenied))
        guard case .latched(let finished) = before.machine.activity else { throw StationError("test", "not latched") }
        var bench = try SlotBench(memory: SlotMachine.Memory(lastFinished: finished))
        bench.handle(bench.card(10, wasThere: true))
        #expect(bench.machine.word == "latched refused")
        #expect(bench.handle(bench.card(10)) == [])
    }

    @Test("tries no card once more whose flash was refused: somebody has heard that it was")
    func permissionRetryOfFlash() throws {
        var bench = try Self.bench(.running)
        try bench.end(.cancelled)
        try bench.perform(.flash(nil, isDryRun: false))
        try bench.end(.refused(.permissionDenied))
        #expect(bench.handle(bench.card(10)) == [])
    }

    @Test("tries a card once more that had waited for its image")
    func permissionRetryAfterPreparation() throws {
        var bench = try Self.bench(.noCard)
        let preparation = SlotMachine.Preparation(profile: "home.ap", callerUserID: 1000)
        try bench.perform(.prepare(preparation))
        bench.handle(bench.card(10))
        #expect(bench.handle(.prepared(preparation.id, try Samples.assignment())).begun.count == 1)
        try bench.end(.refused(.permissionDenied))
        #expect(bench.handle(bench.card(10)).begun.map(\.token) == [SlotBench.token(10)])
    }

    @Test("begins nothing any more once the station stops", arguments: Start.allCases)
    func stopped(start: Start) throws {
        var bench = try Self.bench(start)
        bench.handle(.stop)
        #expect(bench.handle(bench.card(11)) == [])
        #expect(bench.running == nil)
    }

    @Test(
        "does not ask about a card of another size, or one whose first bytes are not known", arguments: [false, true])
    func returnsOther(isOtherSize: Bool) throws {
        var bench = try Self.bench(.running)
        try bench.end(.passed, head: isOtherSize ? try Samples.digest("c") : nil)
        bench.handle(.deviceGone)
        let begun = bench.handle(bench.card(11, byteCount: isOtherSize ? 4_000_000_000 : 8_000_000_000)).begun
        #expect(begun.map(\.condition) == [.none])
    }

    @Test(
        "ends a job whose writer is lost, and the next card is fine",
        arguments: [Reason.writerLost, .writerUnreachable])
    func writerLost(reason: Reason) throws {
        var bench = try Self.bench(.running)
        let job = try #require(bench.running).start.id
        #expect(bench.handle(.writerLost(job, reason, detail: "it went away")).ended == [.failed(reason)])
        #expect(bench.handle(.writerLost(job, reason, detail: "it went away")) == [])
        #expect(bench.handle(bench.card(11)).begun.count == 1)
    }

    @Test("says once that a job is stuck, and again when it was not in between")
    func stuck() throws {
        var bench = try Self.bench(.running)
        let start = try #require(bench.running).start
        func silent(_ seconds: Double) -> SlotMachine.Input {
            .writer(start.id, .progress(JobProgress(phase: .writing, silentSeconds: seconds)))
        }
        #expect(bench.handle(silent(14.9)) == [])
        #expect(bench.handle(silent(15)) == [.announceStuck(start)])
        #expect(bench.handle(silent(16)) == [])
        #expect(SlotStatus(bench.machine).state == "stuck")
        #expect(bench.handle(silent(0)) == [])
        #expect(SlotStatus(bench.machine).state == "running")
        #expect(bench.handle(.writerSilent(start.id, seconds: 20)) == [.announceStuck(start)])
    }

    @Test("says once of a job that its card is much slower than others here")
    func slow() throws {
        var bench = try Self.bench(.running)
        let start = try #require(bench.running).start
        func written(_ bytes: UInt64, after seconds: Double) -> SlotMachine.Input {
            .writer(
                start.id,
                .progress(
                    JobProgress(
                        phase: .writing, phaseBytesDone: bytes, phaseBytesTotal: 1 << 30, bytesDone: bytes,
                        bytesTotal: 1 << 31,
                        elapsedSeconds: seconds)))
        }
        #expect(bench.handle(written(0, after: 0)) == [])
        #expect(bench.handle(written(20_000_000, after: 20)) == [])
        #expect(SlotStatus(bench.machine).notes.isEmpty)
        #expect(bench.handle(.usualSpeed(20e6)) == [])
        let pace = SlowCard(bytesPerSecond: 1e6, usualBytesPerSecond: 20e6, isWriting: true)
        #expect(bench.handle(written(21_000_000, after: 21)) == [.announceSlow(start, pace)])
        #expect(bench.handle(written(22_000_000, after: 22)) == [])
        let note = try #require(SlotStatus(bench.machine).notes.first)
        #expect(note.code == "card_slow")
        #expect(note.message == "the card writes 1.00 MB/s; cards usually go at 20.0 MB/s here")
    }

    @Test("shows a state and gates for everything it can do", arguments: Start.allCases)
    func shows(start: Start) throws {
        let bench = try Self.bench(start)
        let states: [Start: String] = [
            .noCard: "absent", .unassigned: "waiting", .disarmed: "waiting", .wasIn: "waiting", .refused: "refused",
            .running: "running", .latched: "passed",
        ]
        #expect(SlotStatus(bench.machine).state == states[start])
        let gates = Explanation.gates(of: bench.machine, isImageThere: true)
        #expect(gates.allSatisfy { $0.isOpen == $0.remedy.isEmpty })
        #expect(gates.allSatisfy(\.isOpen) == (start == .running))
    }

    @Test("says of an absent reader that it is at the other speed class of its port, and of no other")
    func elsewhere() throws {
        let fast = Place.usb(controller: "pci0000:00/0000:00:04.0", hubSpeed: 5000, ports: "1", lun: 0)
        let stray = Samples.card("sdz", place: fast)
        for start in Start.allCases {
            let bench = try Self.bench(start)
            let isAbsent = start == .noCard
            #expect(SlotStatus(bench.machine, elsewhere: fast).elsewhere == (isAbsent ? fast : nil))
            let gates = Explanation.gates(of: bench.machine, isImageThere: true, elsewhere: stray)
            let said = gates.first {
                $0.finding.contains("USB 3 (5000 Mbit/s), as sdz; declared is USB 2 (480 Mbit/s)")
            }
            #expect((said != nil) == isAbsent)
            #expect(said.map { $0.gate == "reader" && $0.remedy.contains("stationctl slot relearn slot1") } ?? true)
        }
    }

    // MARK: A random walk

    @Test("keeps its promises in a random walk", arguments: 0..<10)
    func walk(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        var bench = try SlotBench(atBoot: seed % 3 == 0 ? .write : .wait)
        var sequence: UInt64 = 10
        var begun: [InsertionToken: Int] = [:]
        var flashed: [InsertionToken: Int] = [:]
        var retried: Set<InsertionToken> = []
        var finished: Set<JobID> = []
        var last: JobStart?
        for step in 0..<10_000 {
            let note: Comment = "seed \(seed), step \(step)"
            bench.now += Double.random(in: 0...4, using: &random)
            let before = bench.machine
            var effects: [SlotMachine.Effect] = []
            var command: SlotMachine.Command?
            switch Int.random(in: 0..<16, using: &random) {
            case 0, 1:
                sequence += 1
                effects = bench.handle(bench.card(sequence, wasThere: random.chance(percent: 10)))
            case 2, 3: effects = bench.handle(bench.card(sequence, wasThere: random.chance(percent: 30)))
            case 4: effects = bench.handle(.deviceGone)
            case 5: effects = bench.handle(bench.empty)
            case 6:
                effects = bench.handle(
                    bench.refused(sequence, random.chance(percent: 50) ? .slotAmbiguous : .readerChanged))
            case 7:
                command = .assign(
                    random.chance(percent: 50) ? try Samples.assignment() : try Samples.assignment("other", digit: "b"))
            case 8: command = .disarm
            case 9: command = .arm
            case 10:
                command = .flash(
                    random.chance(percent: 50) ? try Samples.assignment() : nil, isDryRun: random.chance(percent: 30))
            case 11: command = random.chance(percent: 20) ? .unassign : .cancel
            case 12:
                // Somebody who is not asked: the job before, or one that never was.
                let stranger = random.chance(percent: 50) ? last?.id ?? JobID() : JobID()
                guard stranger != bench.running?.start.id else { continue }
                effects = bench.handle(.writer(stranger, .ended(JobReport(.passed))))
                #expect(effects == [] && bench.machine.activity == before.activity, note)
            default:
                guard let running = bench.running else { continue }
                last = running.start
                let verdicts: [Verdict] = [
                    .passed, .failed(.dataMismatch), .failed(.cardRemoved), .cancelled, .refused(.sameCard),
                    .refused(.writeProtected), .refused(.permissionDenied), .interrupted,
                ]
                let verdict = try #require(verdicts.randomElement(using: &random))
                effects = try bench.end(verdict, head: random.chance(percent: 50) ? try Samples.digest("d") : nil)
                #expect(effects.ended.count + effects.discarded == 1, note)
                #expect(finished.insert(running.start.id).inserted, note)
            }
            if let command { effects = (try? bench.perform(command)) ?? [] }

            for start in effects.begun {
                if case .flash = command {
                    flashed[start.token, default: 0] += 1
                    #expect(start.trigger == .flash, note)
                } else {
                    #expect(bench.machine.isArmed && bench.machine.assignment == start.assignment, note)
                    begun[start.token, default: 0] += 1
                    // Once more only what udev was late for, and only once.
                    let isRetry =
                        if case .latched(let finished) = before.activity {
                            finished.start.token == start.token
                                && finished.report.verdict == .refused(.permissionDenied)
                                && finished.start.trigger != .flash && retried.insert(start.token).inserted
                        } else { false }
                    #expect(begun[start.token] == 1 && flashed[start.token] == nil || isRetry, note)
                }
                #expect(bench.running?.start == start, note)
            }
            #expect(effects.begun.count <= 1, note)
            if case .running(let running) = before.activity, effects.ended.isEmpty, effects.discarded == 0 {
                #expect(bench.running?.start == running.start, note)
            }
            if case .noCard = bench.machine.activity { #expect(bench.machine.token == nil, note) }
            if let running = bench.running { #expect(running.start.token == bench.machine.token, note) }
        }
    }
}
