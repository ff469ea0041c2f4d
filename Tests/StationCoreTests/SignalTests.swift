import StationCore
import StationTestSupport
import Testing

/// Slots in every state there is, reached as they are reached in life.
private enum Slots {
    static func machine(armed: Bool = true) throws -> SlotMachine {
        SlotMachine(slot: try Samples.slot(), isArmed: armed, assignment: try Samples.assignment())
    }

    /// With a card in, inserted by hand.
    static func inserted(
        _ machine: SlotMachine, wasThere: Bool = false, sequence: UInt64 = 10
    ) throws -> (SlotMachine, JobStart?) {
        var machine = machine
        let effects = machine.handle(
            .device(Samples.card(sequence: sequence), .card(machine.slot.name), bootID: "boot", wasThere: wasThere),
            now: 1)
        for case .begin(let start) in effects { return (machine, start) }
        return (machine, nil)
    }

    /// With the card of a job that ended so.
    static func ended(_ verdict: Verdict, isDryRun: Bool = false) throws -> SlotMachine {
        var (machine, start) = try inserted(machine(armed: !isDryRun))
        if isDryRun {
            let effects = try machine.perform(.flash(nil, isDryRun: true), caller: 0, now: 2)
            for case .begin(let asked) in effects { start = asked }
            _ = try machine.perform(.arm, caller: 0, now: 2)
        }
        let job = try #require(start)
        var report = JobReport(verdict)
        report.readBackSHA256 = job.assignment.sha256
        report.headSHA256 = try Samples.digest("b")
        report.bytesVerified = job.assignment.byteCount
        _ = machine.handle(.writer(job.id, .held), now: 3)
        _ = machine.handle(.writer(job.id, .ended(report)), now: 4)
        return machine
    }

    /// With something in that eligibility refuses.
    static func refused(_ reason: Reason, armed: Bool = true) throws -> SlotMachine {
        var machine = try machine(armed: armed)
        _ = machine.handle(
            .device(Samples.card(), .refused(machine.slot.name, reason), bootID: "boot", wasThere: false), now: 1)
        return machine
    }

    static func disarmed(_ machine: SlotMachine) throws -> SlotMachine {
        var machine = machine
        _ = try machine.perform(.disarm, caller: 0, now: 5)
        return machine
    }
}

@Suite("What a slot's light says")
struct SignalTests {
    /// Written out by hand, one by one: what is the card's own fault.
    private static let cardFaults: Set<Reason> = [
        .writeProtected, .cardTooSmall, .cardTooLarge, .contentTooLarge, .sectorSizeUnsupported, .writeError,
        .shortWrite, .readError, .wipeIncomplete, .capacityFalse, .markerMissing, .dataMismatch,
        .cardSuspect,
    ]

    @Test("an armed slot without a card is ready, with its reader there or not; a disarmed one is dark")
    func noCard() throws {
        var machine = try Slots.machine()
        #expect(Signal(machine) == .ready)
        let reader = Samples.card(byteCount: 0)
        _ = machine.handle(.device(reader, .emptySlot(machine.slot.name), bootID: "boot", wasThere: true), now: 1)
        #expect(SlotStatus(machine).state == "empty" && Signal(machine) == .ready)
        #expect(Signal(try Slots.disarmed(machine)) == .dark)
        _ = try machine.perform(.unassign, caller: 0, now: 2)
        #expect(Signal(machine) == .dark)
        #expect(Signal(SlotMachine(slot: try Samples.slot())) == .dark)
    }

    @Test("a card that waits calls somebody where the slot is armed, and is no business of a disarmed slot")
    func waiting() throws {
        let (atStart, _) = try Slots.inserted(Slots.machine(), wasThere: true)
        #expect(atStart.activity == .waiting(.wasInAlready))
        #expect(Signal(atStart) == .help)
        #expect(Signal(try Slots.disarmed(atStart)) == .dark)

        var (late, _) = try Slots.inserted(Slots.machine(armed: false))
        #expect(late.activity == .waiting(.disarmed) && Signal(late) == .dark)
        _ = try late.perform(.arm, caller: 0, now: 2)
        #expect(late.activity == .waiting(.disarmed) && Signal(late) == .help)

        var (unassigned, _) = try Slots.inserted(SlotMachine(slot: Samples.slot()))
        #expect(unassigned.activity == .waiting(.unassigned) && Signal(unassigned) == .dark)
        _ = try unassigned.perform(.assign(Samples.assignment()), caller: 0, now: 2)
        #expect(Signal(unassigned) == .help)

        var same = try Slots.ended(.passed)
        _ = same.handle(.deviceGone, now: 5)
        let (again, start) = try Slots.inserted(same, sequence: 11)
        same = again
        _ = same.handle(.writer(try #require(start).id, .ended(JobReport(.refused(.sameCard)))), now: 7)
        #expect(same.activity == .waiting(.sameCard) && Signal(same) == .help)
    }

    @Test("a job says: do not touch; one whose card does not answer calls somebody")
    func running() throws {
        var (machine, start) = try Slots.inserted(Slots.machine())
        let job = try #require(start)
        #expect(Signal(machine) == .busy)
        for phase in JobPhase.allCases {
            _ = machine.handle(.writer(job.id, .progress(JobProgress(phase: phase))), now: 2)
            #expect(Signal(machine) == .busy, "\(phase)")
        }
        #expect(Signal(try Slots.disarmed(machine)) == .busy)
        var cancelling = machine
        _ = try cancelling.perform(.cancel, caller: 0, now: 3)
        #expect(Signal(cancelling) == .busy)
        _ = machine.handle(.writerSilent(job.id, seconds: 60), now: 60)
        #expect(SlotStatus(machine).state == "stuck" && Signal(machine) == .help)
    }

    @Test("passed is said of a pass, and stays said when the slot is disarmed")
    func passed() throws {
        let machine = try Slots.ended(.passed)
        #expect(SlotStatus(machine).state == "passed" && Signal(machine) == .passed)
        #expect(Signal(try Slots.disarmed(machine)) == .passed)
    }

    @Test("a failure or refusal is the card's own fault, or somebody is called", arguments: Reason.allCases)
    func verdicts(reason: Reason) throws {
        let wanted: Signal = Self.cardFaults.contains(reason) ? .failed : .help
        let failed = try Slots.ended(.failed(reason))
        #expect(Signal(failed) == wanted)
        #expect(Signal(try Slots.disarmed(failed)) == wanted)
        // A card that is refused as the one before waits; that one has a test of its own.
        let refused = try Slots.ended(.refused(reason))
        #expect(Signal(refused) == (reason == .sameCard ? .help : wanted))
        #expect(Signal(try Slots.refused(reason)) == wanted)
        #expect(Signal(try Slots.refused(reason, armed: false)) == .dark)
    }

    @Test("no verdict but passed shows as passed", arguments: Reason.allCases)
    func neverAFalsePass(reason: Reason) throws {
        let verdicts: [Verdict] = [.failed(reason), .refused(reason), .cancelled, .interrupted]
        for verdict in verdicts {
            for isDryRun in [false, true] { #expect(Signal(try Slots.ended(verdict, isDryRun: isDryRun)) != .passed) }
        }
        #expect(Signal(try Slots.ended(.passed, isDryRun: true)) != .passed)
    }

    @Test("a dry run that found nothing wrong leaves its card as one that waits")
    func dryRun() throws {
        let machine = try Slots.ended(.refused(.dryRun), isDryRun: true)
        #expect(Signal(machine) == .help)
        #expect(Signal(try Slots.disarmed(machine)) == .dark)
        #expect(Signal(try Slots.ended(.refused(.writeProtected), isDryRun: true)) == .failed)
    }

    @Test("an unfinished card calls somebody, also in a slot that was disarmed since")
    func unfinished() throws {
        for verdict: Verdict in [.cancelled, .interrupted] {
            let machine = try Slots.ended(verdict)
            #expect(Signal(machine) == .help)
            #expect(Signal(try Slots.disarmed(machine)) == .help)
        }
    }

    @Test("the next card is ready for again when the last has left")
    func leaves() throws {
        var machine = try Slots.ended(.failed(.writeError))
        _ = machine.handle(.deviceGone, now: 9)
        #expect(Signal(machine) == .ready)
    }
}
